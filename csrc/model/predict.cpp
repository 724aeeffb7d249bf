#include "model/predict.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "model/limits.hpp"
#include "model/product.hpp"

namespace gemm_tuner {
namespace {

constexpr double part_bytes = 4;     // of float32 or int32, which parts of a product are kept in
constexpr double sm_partitions = 4;  // of an SM, each with one tensor core (Volta and later)

double ceil_div(std::int64_t a, std::int64_t b) { return static_cast<double>((a + b - 1) / b); }

/// Bounds that mostly, but not wholly, overlap: the largest, plus a share of the others.
template <class... Rest>
double overlapped(double contention, double first, Rest... rest) {
  const double largest = std::max({first, static_cast<double>(rest)...});
  const double sum = (first + ... + static_cast<double>(rest));
  return largest + contention * (sum - largest);
}

/// Near 0 while the working set is small, 1 when it is far larger than the cache. This form, and no steeper one, keeps
/// the traffic from growing with the number of SMs.
double miss_fraction(double working_set_bytes, double cache_bytes) {
  return working_set_bytes / (working_set_bytes + cache_bytes);
}

/// The output cut into tiles, and k into iterations.
struct Grid {
  double tiles_m;
  double tiles_n;
  double tiles;        // of all batches
  double ctas;         // tiles times split_k, or as many as the config says
  double iterations;   // of one CTA's main loops, over all products
  double ends;         // times that a CTA writes a tile or a part of one
  double parts_bytes;  // of the workspace that is written once and read once
};

Grid grid_of(const GemmProblem& p, const GemmConfig& c) {
  Grid g{};
  g.tiles_m = ceil_div(p.m, c.block_m);
  g.tiles_n = ceil_div(p.n, c.block_n);
  g.tiles = g.tiles_m * g.tiles_n * static_cast<double>(p.batch);
  g.ctas = g.tiles * c.split_k;
  g.iterations = product_count(p.op) * ceil_div((p.k + c.split_k - 1) / c.split_k, c.block_k);
  g.ends = 1;
  if (c.family == Family::split_k) {
    const double elements = static_cast<double>(p.batch) * static_cast<double>(p.m) * static_cast<double>(p.n);
    g.parts_bytes = c.split_k * elements * part_bytes;
  }
  if (c.family == Family::stream_k) {
    g.ctas = c.ctas;
    g.iterations = std::ceil(g.tiles * g.iterations / g.ctas);
    g.ends = std::ceil(g.tiles / g.ctas) + 1;
    // one round and a part of one are cut at each CTA's end: that makes at most two parts of each
    const double rest = std::fmod(g.tiles, g.ctas);
    const double parts = std::min(2 * g.ctas, (g.tiles < g.ctas ? rest : rest + g.ctas) + g.ctas);
    g.parts_bytes = rest > 0 ? parts * c.block_m * c.block_n * part_bytes : 0;
  }
  return g;
}

/// CTAs that the busiest SM runs one after the other; of persistent ones, which never end, their tiles.
double share_of_an_sm(const Grid& g, const GemmConfig& c, double sms) {
  if (c.family != Family::persistent && c.family != Family::persistent_tma) return std::ceil(g.ctas / sms);
  const double rounds = std::ceil(g.tiles / c.ctas);
  const double last_round = g.tiles - (rounds - 1) * c.ctas;
  return (rounds - 1) * std::ceil(c.ctas / sms) + std::ceil(last_round / sms);
}

/// What one k iteration of one CTA costs each unit of its SM, in clocks when it has the SM to itself.
struct Iteration {
  double tensor_clk;
  double smem_clk;
  double l2_clk;
  double latency_clk;  // of the load that the iteration waits for, after prefetching
  double overhead_clk;
  double fill;  // share of the SM's tensor pipelines that one CTA keeps busy; may exceed 1
};

/// Bytes that L2 moves for a tile of `rows` rows of `row_bytes`: short rows use their requests badly.
double requested_bytes(double rows, double row_bytes, const ModelConstants& k) {
  return rows * (row_bytes + k.short_row_bytes * k.short_row_bytes / (row_bytes + k.short_row_bytes));
}

Iteration iteration_of(const GemmProblem& p, const GemmConfig& c, const DeviceSpec& d, const KernelResources& r,
                       const ModelConstants& k) {
  const double element_bytes = bytes_of(p.a_dtype);
  const Product product = product_of(p, c, d.compute_capability);
  const bool warpgroup = product == Product::wgmma;
  const WarpGrid warps = warp_grid(c, product);
  const double a_bytes = c.block_m * c.block_k * element_bytes;
  const double b_bytes = c.block_n * c.block_k * element_bytes;

  Iteration it{};
  // warps beyond the instruction tiles of the block repeat work that others do
  const double covered_m = std::max(c.block_m, warps.warps_m * 16);
  const double covered_n = std::max(c.block_n, warps.warps_n * 8);
  const double gain = warpgroup || d.compute_capability != 90 ? 1.0 : 1.0 / k.warpgroup_gain;
  const double tensor_rate = r.tensor_core_instructions > 0 ? tensor_core_rate(p, d) : 0;
  const double fma_per_clk = tensor_rate > 0 ? tensor_rate : d.fma.fp32;
  it.tensor_clk = covered_m * covered_n * c.block_k / (fma_per_clk * k.tensor_efficiency * d.sustained_fraction * gain);
  // a warp lives in one of the SM's four partitions and uses its tensor core alone, if it has enough independent work
  it.fill = std::min(covered_m * covered_n / (16 * 8) / k.mma_per_sm_in_flight, c.num_warps / sm_partitions);

  // every warp reads its rows of A and its columns of B; wgmma reads each operand once per warp group
  const double a_reads = warps.warps_n;
  const double b_reads = warpgroup ? std::max(1, warps.warps_m / 4) : warps.warps_m;
  const double written = a_bytes + b_bytes;
  it.smem_clk = (a_reads * a_bytes + b_reads * b_bytes + written) / k.smem_bytes_per_clk;

  const double a_row = (a_is_transposed(p.layout) ? c.block_m : c.block_k) * element_bytes;
  const double b_row = (b_is_transposed(p.layout) ? c.block_k : c.block_n) * element_bytes;
  const double requested = requested_bytes(a_bytes / a_row, a_row, k) + requested_bytes(b_bytes / b_row, b_row, k);
  const double load_bytes = std::min<double>(widest_access_bytes, p.alignment * element_bytes);
  const double extra_loads = written / 32 * (1 / load_bytes - 1.0 / widest_access_bytes);
  const double spilled = 2.0 * r.spill_bytes * c.num_warps * 32;  // written and read back, once an iteration
  it.l2_clk = (requested + spilled) / k.l2_bytes_per_clk_per_sm + k.narrow_load_clk * extra_loads;

  const bool async = load_bytes >= narrowest_async_copy_bytes && c.num_stages > 1;
  it.latency_clk = async ? k.memory_latency_clk / (c.num_stages - 1) : k.memory_latency_clk;
  const double loads_per_thread = written / load_bytes / (32.0 * c.num_warps);
  it.overhead_clk = k.iteration_clk + k.load_issue_clk * loads_per_thread;
  return it;
}

/// Clocks that `resident` CTAs on one SM need for one iteration each; never fewer for more of them.
double round_clk(const Iteration& it, double resident, const ModelConstants& k) {
  const double busy = overlapped(k.contention, resident * it.tensor_clk / std::min(1.0, resident * it.fill),
                                 resident * it.smem_clk, resident * it.l2_clk);
  const double alone = std::max(it.latency_clk, it.overhead_clk + it.tensor_clk / std::min(1.0, it.fill));
  return std::max(busy, alone) + k.exposed * it.latency_clk;
}

/// Bytes that DRAM moves: operands, residual and result once, plus what L2 cannot keep between waves that read again.
double dram_bytes_of(const GemmProblem& p, const GemmConfig& c, const DeviceSpec& d, const Grid& g, double resident,
                     const ModelConstants& k) {
  const double element_bytes = bytes_of(p.a_dtype);
  const double depth = static_cast<double>(p.k) / c.split_k;
  const double a_once =
      static_cast<double>(p.batch) * static_cast<double>(p.m) * static_cast<double>(p.k) * element_bytes;
  const double b_once =
      static_cast<double>(p.batch) * static_cast<double>(p.n) * static_cast<double>(p.k) * element_bytes;
  // one wave covers a patch of rows x columns of tiles, at most group_m rows high unless all columns are in it
  const double wave_tiles = std::min(g.tiles, std::max(1.0, resident * d.available_sms / c.split_k));
  const double group_rows = std::min<double>(c.group_m, g.tiles_m);
  const double columns = std::clamp(wave_tiles / group_rows, 1.0, g.tiles_n);
  const double rows = std::clamp(wave_tiles / columns, 1.0, g.tiles_m);
  const double a_loads = std::max(1.0, g.tiles_n / columns);                     // times that a row panel of A is swept
  const double b_loads = std::max(1.0, g.tiles_m / std::max(rows, group_rows));  // times that all of B is swept
  const double cache = static_cast<double>(d.l2_bytes) * k.l2_hit_fraction;
  const double a_panel = group_rows * c.block_m * depth * element_bytes;
  const double b_patch = columns * c.block_n * depth * element_bytes;
  const double b_matrix = b_once / static_cast<double>(p.batch);
  const double a_misses = miss_fraction(a_panel + b_patch, cache);
  const double b_misses = miss_fraction(a_panel + b_matrix, cache);
  const double c_bytes =
      static_cast<double>(p.batch) * static_cast<double>(p.m) * static_cast<double>(p.n) * bytes_of(p.out_dtype);
  const double product = a_once * (1 + (a_loads - 1) * a_misses) + b_once * (1 + (b_loads - 1) * b_misses);
  // one product after the other: they share no operand, only the result
  return product_count(p.op) * product + (adds_residual(p.epilogue) ? 2 : 1) * c_bytes;
}

/// Adding up the parts: a workspace written once and read once, and a second launch.
double reduction_us_of(const GemmConfig& c, const Grid& g, const DeviceSpec& d, const ModelConstants& k) {
  const bool has_second_kernel = c.family == Family::split_k || c.family == Family::stream_k;
  return has_second_kernel ? k.launch_us + through_l2_us(2 * g.parts_bytes, d, k) : 0;
}

}  // namespace

double through_l2_us(double bytes, const DeviceSpec& d, const ModelConstants& k) {
  const double sms = d.available_sms * k.l2_bytes_per_clk_per_sm * d.clock_mhz;  // bytes per microsecond, from L2
  const double dram = d.bandwidth_gbs * k.dram_efficiency * 1e3;
  const double miss = miss_fraction(bytes, static_cast<double>(d.l2_bytes) * k.l2_hit_fraction);
  return bytes / sms + miss * bytes / dram;
}

Prediction predict(const GemmProblem& p, const GemmConfig& c, const DeviceSpec& d,
                   const std::optional<KernelResources>& resources, const ModelConstants& k) {
  Prediction out;
  out.config = c;
  out.resources = resources ? *resources : estimate_resources(p, c, d.compute_capability);
  out.ctas_per_sm = resident_ctas(out.resources, c.num_warps, d);
  if (out.ctas_per_sm < 1) {
    throw std::invalid_argument("config " + to_string(c) + " does not fit on " + d.name + ": it needs " +
                                std::to_string(out.resources.smem_bytes) + " bytes of shared memory and " +
                                std::to_string(out.resources.registers_per_thread) + " registers per thread");
  }
  const Grid g = grid_of(p, c);
  const Iteration it = iteration_of(p, c, d, out.resources, k);
  const double sms = d.available_sms;
  const double clocks_per_us = d.clock_mhz;  // 1 MHz is one clock per microsecond

  // the busiest SM runs `share` CTAs, as many at once as it can hold, the last of them with fewer neighbours
  const double share = share_of_an_sm(g, c, sms);
  const double resident = std::min<double>(out.ctas_per_sm, share);
  const double full_rounds = std::floor(share / resident);
  const double left = share - full_rounds * resident;
  const double rounds_clk = full_rounds * round_clk(it, resident, k) + (left > 0 ? round_clk(it, left, k) : 0);
  const double loop_us = g.iterations * rounds_clk / clocks_per_us;

  const double edge_clk = k.cta_clk + c.block_m * c.block_n * (c.split_k > 1 ? part_bytes : bytes_of(p.out_dtype)) /
                                          k.store_bytes_per_clk_per_sm;
  const double hidden = k.overlap * (1 - 1 / resident);
  out.prologue_epilogue_us = g.ends * edge_clk * (1 + (share - 1) * (1 - hidden)) / clocks_per_us;

  const double per_sm = g.iterations * g.ctas / sms / clocks_per_us;  // clocks of one iteration -> us, evenly spread
  out.tensor_bound_us = per_sm * it.tensor_clk;
  out.smem_bound_us = per_sm * it.smem_clk;
  out.l2_bound_us = per_sm * it.l2_clk;
  out.latency_bound_us = per_sm * it.latency_clk / resident;
  out.dram_bytes = dram_bytes_of(p, c, d, g, resident, k);
  out.dram_bound_us = out.dram_bytes / (d.bandwidth_gbs * k.dram_efficiency * 1e3);
  out.main_loop_us = overlapped(k.contention, loop_us, out.dram_bound_us);
  out.launch_us = k.launch_us;
  out.reduction_us = reduction_us_of(c, g, d, k);
  out.latency_us = out.launch_us + out.prologue_epilogue_us + out.main_loop_us + out.reduction_us;
  out.ctas = c.ctas > 0 ? c.ctas : static_cast<long long>(g.ctas);
  out.waves = g.ctas / (sms * out.ctas_per_sm);
  out.sm_utilization = g.ctas / (share * sms);
  return out;
}

}  // namespace gemm_tuner
