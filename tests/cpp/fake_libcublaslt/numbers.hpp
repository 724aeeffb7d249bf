// Numbers of the library's data types in memory, read and written one at a time.
#pragma once

#include <cstddef>

namespace fake_cublaslt {

// cudaDataType
inline constexpr int real_32f = 0;
inline constexpr int real_16f = 2;
inline constexpr int real_8i = 3;
inline constexpr int real_32i = 10;
inline constexpr int real_16bf = 14;
inline constexpr int real_8f_e4m3 = 28;

double load(int type, const void* memory, std::size_t index);
void store(int type, void* memory, std::size_t index, double value);
bool is_known(int type);

}  // namespace fake_cublaslt
