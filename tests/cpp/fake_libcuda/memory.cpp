// Device memory: the host's, reserved but not touched before it is written.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "fake.hpp"

namespace fake {
namespace {

constexpr std::size_t mib = 1 << 20;
constexpr unsigned poison = 0xffffffff;

std::size_t device_bytes() { return static_cast<std::size_t>(told_or("memory_mb", 12288)) * mib; }

std::size_t used_bytes() {
  std::size_t used = 0;
  for (const auto& [address, buffer] : machine().buffers) used += buffer.bytes;
  return used;
}

/// The start and the state of the buffer that the address is in.
std::pair<const std::uintptr_t, Buffer>& buffer_at(std::uintptr_t address) {
  return *std::prev(machine().buffers.upper_bound(address));
}

/// How many of the bytes at that address, in a buffer, are really written.
std::size_t touched_bytes(std::uintptr_t address, std::size_t bytes) {
  auto& [start, buffer] = buffer_at(address);
  buffer.written = true;
  const std::uintptr_t end = start + static_cast<std::size_t>(told_or("touch_mb", 16)) * mib;
  return address >= end ? 0 : std::min(bytes, end - address);
}

void* host(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

int set_words(std::uintptr_t address, unsigned value, std::size_t count) {
  if (!in_buffer(address, 4 * count)) return INVALID_VALUE;
  if (value == poison) machine().poisoned[address] = ++machine().moment;
  if (value == 0 && !buffer_at(address).second.written) return SUCCESS;
  std::fill_n(static_cast<unsigned*>(host(address)), touched_bytes(address, 4 * count) / 4, value);
  return SUCCESS;
}

}  // namespace

bool in_buffer(std::uintptr_t address, std::size_t bytes) {
  const auto after = machine().buffers.upper_bound(address);
  if (after == machine().buffers.begin()) return false;
  const auto& [start, buffer] = *std::prev(after);
  return address + bytes <= start + buffer.bytes;
}

}  // namespace fake

using namespace fake;

EXPORT int cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  PLAY_IN_CONTEXT(cuMemGetInfo_v2)
  *total = device_bytes();
  *free = device_bytes() - used_bytes();
  return SUCCESS;
}

EXPORT int cuMemAlloc_v2(unsigned long long* address, std::size_t bytes) {
  PLAY_IN_CONTEXT(cuMemAlloc_v2)
  if (bytes == 0) return INVALID_VALUE;
  if (bytes > device_bytes() - used_bytes()) return OUT_OF_MEMORY;
  void* const buffer = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (buffer == MAP_FAILED) return OUT_OF_MEMORY;
  *address = reinterpret_cast<std::uintptr_t>(buffer);
  machine().buffers[*address] = {bytes};
  return SUCCESS;
}

EXPORT int cuMemFree_v2(unsigned long long address) {
  PLAY(cuMemFree_v2)
  const auto buffer = machine().buffers.find(address);
  if (buffer == machine().buffers.end()) return INVALID_VALUE;
  munmap(host(address), buffer->second.bytes);
  machine().buffers.erase(buffer);
  return machine().dead;
}

EXPORT int cuMemsetD32_v2(unsigned long long address, unsigned value, std::size_t count) {
  PLAY_IN_CONTEXT(cuMemsetD32_v2)
  return set_words(address, value, count);
}

EXPORT int cuMemsetD32Async(unsigned long long address, unsigned value, std::size_t count, void*) {
  PLAY_IN_CONTEXT(cuMemsetD32Async)
  enqueue(4 * static_cast<double>(count) / (1e3 * machine().pace.memset_gbs));
  return set_words(address, value, count);
}

EXPORT int cuMemcpyHtoDAsync_v2(unsigned long long target, const void* source, std::size_t bytes, void*) {
  PLAY_IN_CONTEXT(cuMemcpyHtoDAsync_v2)
  if (!in_buffer(target, bytes)) return INVALID_VALUE;
  buffer_at(target).second.written = true;
  std::memcpy(host(target), source, bytes);
  return SUCCESS;
}

EXPORT int cuMemcpyDtoDAsync_v2(unsigned long long target, unsigned long long source, std::size_t bytes, void*) {
  PLAY_IN_CONTEXT(cuMemcpyDtoDAsync_v2)
  if (!in_buffer(target, bytes) || !in_buffer(source, bytes)) return INVALID_VALUE;
  std::memmove(host(target), host(source), touched_bytes(target, bytes));
  return SUCCESS;
}

EXPORT int cuMemcpyDtoH_v2(void* target, unsigned long long source, std::size_t bytes) {
  PLAY_IN_CONTEXT(cuMemcpyDtoH_v2)
  if (!in_buffer(source, bytes)) return INVALID_VALUE;
  if (const int broken = waited(); broken != SUCCESS) return broken;
  std::memcpy(target, host(source), bytes);
  return SUCCESS;
}

EXPORT int cuMemcpyDtoHAsync_v2(void* target, unsigned long long source, std::size_t bytes, void*) {
  PLAY_IN_CONTEXT(cuMemcpyDtoHAsync_v2)
  if (!in_buffer(source, bytes)) return INVALID_VALUE;
  if (const int broken = waited(); broken != SUCCESS) return broken;  // host memory that is not pinned is waited for
  std::memcpy(target, host(source), bytes);
  return SUCCESS;
}
