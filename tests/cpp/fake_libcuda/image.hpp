// What the double reads out of a module's image: cubins as ptxas writes them, PTX, and a text form of its own for tests
// that have no compiler, "FAKECUBIN tiled(pppil)": entries with a letter for each parameter, p and l of 8 bytes, i
// of 4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fake {

struct Parameter {
  std::size_t offset;
  std::size_t bytes;
};
using Parameters = std::vector<Parameter>;

struct Image {
  std::string bytes;
  std::uint64_t hash;  // FNV-1a of the bytes, 64 bits
  std::map<std::string, Parameters> entries;
};

/// None where it is no image.
std::optional<Image> read_image(const char* image);

}  // namespace fake
