// Shared memory that Triton needs to move a tile from one register layout to another.
#pragma once

#include "model/tile_layout.hpp"

namespace gemm_tuner {

/// Bytes of scratch for elements of `element_bytes`, as Triton 3.4 and later swizzle them (its GenericSwizzling): the
/// tile, divided by the rounds that it takes where registers repeat alike on both sides.
int conversion_bytes(const TileLayout& from, const TileLayout& to, int element_bytes, int compute_capability);

}  // namespace gemm_tuner
