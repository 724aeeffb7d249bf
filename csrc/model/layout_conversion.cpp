#include "model/layout_conversion.hpp"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

namespace gemm_tuner {
namespace {

constexpr int bank_row_bits = 32 * 32;  // 32 banks of 32 bits
constexpr int widest_access_bits = 128;

/// An access to shared memory: lanes whose data lie side by side, and lanes that give one address each.
struct Access {
  std::array<int, 3> adjoining;
  int adjoining_count;
  std::array<int, 3> addressing;
  int addressing_count;

  int lanes() const { return adjoining_count + addressing_count; }
};

constexpr Access plain{{}, 0, {0, 1, 2}, 3};                  // ld.shared.v4, st.shared.v4
constexpr Access matrix{{0, 1}, 2, {2, 3, 4}, 3};             // ldmatrix.x4, stmatrix.x4
constexpr Access matrix_transposed{{2, 3, 4}, 3, {0, 1}, 2};  // the same, .trans, 16-bit elements only

bool contains(const BitList& list, BitSet bit) { return (list.all() & bit) != 0; }

/// Bits that one access covers on both sides, or nothing where the pair of accesses does not fit the layouts.
std::optional<BitList> shared_vector(const TileLayout& a, const Access& access_a, const TileLayout& b,
                                     const Access& access_b, int total) {
  const int registers_a = total - access_a.adjoining_count;
  const int registers_b = total - access_b.adjoining_count;
  if (registers_a < registers_b) return shared_vector(b, access_b, a, access_a, total);
  BitList vector;
  for (int i = 0; i < a.registers.size && vector.size < registers_b; ++i) {
    if (contains(b.registers, a.registers[i])) vector.push(a.registers[i]);
  }
  if (vector.size < registers_b) return std::nullopt;
  const int ahead = registers_a - registers_b;  // lanes of b that meet registers of a; the others meet lanes
  for (int i = 0; i < access_b.adjoining_count; ++i) {
    const BitSet lane = b.lanes[access_b.adjoining[static_cast<std::size_t>(i)]];
    if (lane == 0) return std::nullopt;
    const bool meets = i < ahead ? contains(a.registers, lane)
                                 : lane == a.lanes[access_a.adjoining[static_cast<std::size_t>(i - ahead)]];
    if (!meets) return std::nullopt;
    vector.push(lane);
  }
  return vector;
}

/// Bits that one round of an access spreads over the banks: spare registers first, then its addressing lanes.
std::optional<BitList> spread(const Access& access, const TileLayout& layout, BitSet vector) {
  BitList tile;
  const int wanted = 3 - access.addressing_count;
  for (int i = 0; i < layout.registers.size && tile.size < wanted; ++i) {
    if ((layout.registers[i] & vector) == 0) tile.push(layout.registers[i]);
  }
  if (tile.size < wanted) return std::nullopt;
  for (int i = 0; i < access.addressing_count; ++i) {
    tile.push(layout.lanes[access.addressing[static_cast<std::size_t>(i)]]);
  }
  return tile;
}

/// What chooses the row of banks: bits that neither side spreads, then pairs of one bit of each side.
BitList rows_of_banks(BitSet banks_from, BitSet banks_to, int tile_bits, int length) {
  BitList rows;
  for (int i = 0; i < tile_bits && rows.size < length; ++i) {
    if (((banks_from | banks_to) >> i & 1) == 0) rows.push(BitSet{1} << i);
  }
  BitList few;
  BitList many;
  for (int i = 0; i < tile_bits; ++i) {
    const BitSet bit = BitSet{1} << i;
    if ((banks_from & ~banks_to & bit) != 0) few.push(bit);
    if ((banks_to & ~banks_from & bit) != 0) many.push(bit);
  }
  if (few.size > many.size) std::swap(few, many);
  const int colliding = std::clamp(length - few.size - rows.size, 0, few.size);
  for (int i = colliding; i < few.size && rows.size < length; ++i) rows.push(few[i] ^ many[i]);
  for (int i = 0; i < colliding && rows.size < length; ++i) rows.push(few[i]);
  for (int i = 0; i < colliding && rows.size < length; ++i) rows.push(many[i]);
  return rows;
}

/// Vectors kept reduced against each other, as exclusive or adds them.
int rank_of(const BitList& first, const BitList& second) {
  std::array<BitSet, 32> pivots{};
  int rank = 0;
  const auto add = [&](BitSet vector) {
    while (vector != 0) {
      BitSet& pivot = pivots[static_cast<std::size_t>(std::bit_width(vector) - 1)];
      if (pivot == 0) {
        pivot = vector;
        ++rank;
        return;
      }
      vector ^= pivot;
    }
  };
  for (int i = 0; i < first.size; ++i) add(first[i]);
  for (int i = 0; i < second.size; ++i) add(second[i]);
  return rank;
}

int bank_conflicts(const BitList& rows, const BitList& tile) {
  const BitList none;
  return (1 << (rank_of(rows, none) + rank_of(tile, none) - rank_of(rows, tile))) - 1;
}

struct Plan {
  int conflicts;
  int log2_rounds;
};

std::optional<Plan> plan(const TileLayout& from, const Access& writing, const TileLayout& to, const Access& reading,
                         int element_bits) {
  const int total = std::countr_zero(static_cast<unsigned>(widest_access_bits / element_bits));
  const auto vector = shared_vector(from, writing, to, reading, total);
  if (!vector) return std::nullopt;
  const auto written = spread(writing, from, vector->all());
  const auto read = spread(reading, to, vector->all());
  if (!written || !read) return std::nullopt;
  const int bank_bits =
      std::min(std::countr_zero(static_cast<unsigned>(bank_row_bits / ((1 << vector->size) * element_bits))),
               from.tile_bits - vector->size);
  const BitList rows = rows_of_banks(vector->all() | written->all(), vector->all() | read->all(), from.tile_bits,
                                     from.tile_bits - bank_bits - vector->size);
  // a matrix instruction on both sides keeps two of them to itself
  int kept = std::min(writing.lanes() - 3, reading.lanes() - 3);
  Plan result{bank_conflicts(rows, *written) + bank_conflicts(rows, *read), 0};
  const BitSet repeating = from.registers.all() & to.registers.all();
  for (int i = 0; i < rows.size; ++i) {
    const bool repeats = std::has_single_bit(rows[i]) && (rows[i] & repeating) != 0;
    if (repeats && kept-- <= 0) ++result.log2_rounds;
  }
  return result;
}

}  // namespace

int conversion_bytes(const TileLayout& from, const TileLayout& to, int element_bytes, int compute_capability) {
  if (from == to) return 0;
  const int element_bits = 8 * element_bytes;
  const bool stores_matrices = compute_capability >= 90;
  const bool loads_matrices = compute_capability >= 75;
  const bool transposes = element_bits == 16;
  std::optional<Plan> best;
  for (const Access* writing : {&plain, &matrix, &matrix_transposed}) {
    if (writing != &plain && !stores_matrices) continue;
    if (writing == &matrix_transposed && !transposes) continue;
    for (const Access* reading : {&plain, &matrix, &matrix_transposed}) {
      if (reading != &plain && !loads_matrices) continue;
      if (reading == &matrix_transposed && !transposes) continue;
      const auto found = plan(from, *writing, to, *reading, element_bits);
      const auto cost = [](const Plan& p) { return std::pair(p.conflicts, -p.log2_rounds); };
      if (found && (!best || cost(*found) < cost(*best))) best = found;
    }
  }
  const int tile_bytes = (1 << from.tile_bits) * element_bytes;
  return best ? tile_bytes >> best->log2_rounds : tile_bytes;
}

}  // namespace gemm_tuner
