// Modules, streams, events and launches, on a virtual clock. How long a kernel takes is looked up in a table (times=),
// one line a kernel, tab between the columns:
//   hash of the image (FNV-1a, 16 hexadecimal digits)
//   what it was launched for: "m,n,k", its first three 4-byte parameters (fewer where it has fewer), or "*" for all;
//     "@16" behind it: in a partition of 16 SMs only
//   microseconds
//   how it behaves, if not well: wrong (writes garbage), fault=719 (breaks the context with that error), oom (is
//   refused
//     for want of memory), hang (never ends), exit (takes the process with it, as a lost GPU may)
// The closest line counts: sizes in that partition, sizes, all in that partition, all.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numbers>
#include <sstream>

#include "fake.hpp"

namespace fake {
namespace {

std::string hexadecimal(std::uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

/// The first three parameters of 4 bytes: the sizes, in the kernels that are timed here.
std::string sizes_of(const Function& function, void** arguments) {
  std::string sizes;
  int found = 0;
  for (std::size_t i = 0; i < function.parameters.size() && found < 3; ++i) {
    if (function.parameters[i].bytes != 4) continue;
    std::int32_t value = 0;
    std::memcpy(&value, arguments[i], sizeof value);
    sizes += (found++ == 0 ? "" : ",") + std::to_string(value);
  }
  return sizes;
}

Played looked_up(const Function& function, void** arguments, const Stream* stream) {
  const Played unlisted{machine().pace.default_us, ""};
  if (machine().times.empty()) return unlisted;
  const std::string hash = hexadecimal(function.image_hash) + " ";
  const bool partitioned = stream != nullptr && stream->green != nullptr;
  const std::string there = "@" + std::to_string(partitioned ? stream->green->sms : attribute(multiprocessors));
  const std::string sizes = sizes_of(function, arguments);
  for (const std::string& key : {sizes + there, sizes, "*" + there, std::string("*")}) {
    if (const auto found = machine().times.find(hash + key); found != machine().times.end()) return found->second;
  }
  return unlisted;
}

/// Standard normal, from the seed and the number of the launch alone.
double normal(std::uint64_t seed, std::uint64_t launch) {
  const auto uniform = [&](std::uint64_t which) {
    std::uint64_t z = (seed * 0x9e3779b97f4a7c15 + 2 * launch + which) * 0xbf58476d1ce4e5b9 + 0x94d049bb133111eb;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (static_cast<double>((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
  };
  return std::sqrt(-2 * std::log(uniform(0))) * std::cos(2 * std::numbers::pi * uniform(1));
}

/// A kernel named `compare` gets (c, expected, verdict, ...): it finds c right where a kernel that behaves was given it
/// after it was last poisoned, and some kernel was given what is expected; else 7 elements are wrong.
void play_compare(void** arguments) {
  std::uintptr_t c = 0;
  std::uintptr_t expected = 0;
  std::uintptr_t verdict = 0;
  std::memcpy(&c, arguments[0], sizeof c);
  std::memcpy(&expected, arguments[1], sizeof expected);
  std::memcpy(&verdict, arguments[2], sizeof verdict);
  Machine& now = machine();
  const auto moment = [](const auto& moments, std::uintptr_t address) {
    const auto found = moments.find(address);
    return found == moments.end() ? 0LL : found->second;
  };
  const long long poisoned = moment(now.poisoned, c);
  const bool right = poisoned > 0 && moment(now.passed_to, c) > poisoned && now.wrong_at < poisoned &&
                     moment(now.passed_to, expected) > 0;
  const std::uint32_t wrong_elements = right ? 0 : 7;
  const float largest_error = right ? 0.0F : 1.0F;
  if (!in_buffer(verdict, 8)) return;
  std::memcpy(reinterpret_cast<void*>(verdict), &wrong_elements, 4);
  std::memcpy(reinterpret_cast<void*>(verdict + 4), &largest_error, 4);
}

/// What the launch does to memory; nothing runs.
void play(const Function& function, unsigned grid_x, void** arguments) {
  if (function.entry == "gemm_tuner_mark_sm") return play_mark_sm(grid_x, arguments);
  if (function.entry == "compare" && function.parameters.size() >= 3) return play_compare(arguments);
  ++machine().moment;
  for (std::size_t i = 0; i < function.parameters.size(); ++i) {
    if (function.parameters[i].bytes != 8) continue;
    std::uintptr_t address = 0;
    std::memcpy(&address, arguments[i], sizeof address);
    machine().passed_to[address] = machine().moment;
  }
}

/// What the launch gives back. A kernel that breaks does so later, as on a GPU: the next call tells.
int behave(const std::string& behaviour) {
  constexpr const char* fault = "fault=";
  if (behaviour == "oom") return OUT_OF_MEMORY;
  if (behaviour == "exit") raise(SIGKILL);
  if (behaviour == "hang") machine().hung = true;
  if (behaviour == "wrong") machine().wrong_at = machine().moment + 1;
  if (behaviour.starts_with(fault)) machine().dead = std::stoi(behaviour.substr(std::strlen(fault)));
  return SUCCESS;
}

Launched launched_as(const Function& function, void** arguments) {
  Launched launched{};
  launched.entry = function.entry;
  for (std::size_t i = 0; i < function.parameters.size(); ++i) {
    std::memcpy(&launched.values.emplace_back(0), arguments[i], function.parameters[i].bytes);
  }
  return launched;
}

/// The function of that name; SUCCESS, or why there is none.
int function_of(Function** function, void* handle, const char* name, std::uintptr_t context) {
  const auto found = machine().modules.find(handle);
  if (found == machine().modules.end()) return INVALID_HANDLE;
  Module& loaded = *found->second;
  const auto entry = loaded.image.entries.find(name);
  if (entry == loaded.image.entries.end()) return NOT_FOUND;
  auto& made = loaded.functions[name];
  if (!made) made = std::make_unique<Function>(Function{name, loaded.image.hash, entry->second, context});
  *function = made.get();
  return SUCCESS;
}

int load(void** handle, const void* image) {
  std::optional<Image> read = read_image(static_cast<const char*>(image));
  if (!read) return INVALID_IMAGE;
  auto loaded = std::make_unique<Module>(Module{std::move(*read), {}});
  *handle = loaded.get();
  machine().modules[*handle] = std::move(loaded);
  return SUCCESS;
}

int set_attribute(Function* function, int which, int value) {
  constexpr int max_dynamic_smem_bytes = 8;
  if (which != max_dynamic_smem_bytes || value > attribute(smem_per_block_optin_bytes)) return INVALID_VALUE;
  function->max_dynamic_smem_bytes = value;
  return SUCCESS;
}

}  // namespace

void read_times(Machine& machine, const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    std::fprintf(stderr, "the stand-in libcuda cannot read the times that it was told of: %s\n", path.c_str());
    std::abort();
  }
  for (std::string line; std::getline(file, line);) {
    std::istringstream columns(line);
    std::string hash, sizes, us, behaviour;
    if (!std::getline(columns, hash, '\t') || !std::getline(columns, sizes, '\t') || !std::getline(columns, us, '\t')) {
      continue;
    }
    std::getline(columns, behaviour, '\t');
    machine.times[hash + " " + sizes] = {std::stod(us), behaviour};
  }
}

double clock_fraction() {
  const Pace& pace = machine().pace;
  return pace.throttle_ms >= 0 && machine().busy_us >= 1e3 * pace.throttle_ms ? pace.throttle_to : 1;
}

void enqueue(double us) {
  Machine& now = machine();
  now.host_us += now.pace.launch_us;
  now.gpu_us = std::max(now.gpu_us, now.host_us) + us;
}

int waited() {
  Machine& now = machine();
  while (now.hung) sleep(1);
  now.host_us = std::max(now.host_us, now.gpu_us);
  return now.dead;
}

/// Plays gemm_tuner_mark_sm(marks, slots, hold_ns): CTAs in turn on every second SM number, as in a partition with
/// gaps.
void play_mark_sm(unsigned grid_x, void** arguments) {
  auto* const marks = *static_cast<unsigned**>(arguments[0]);
  const unsigned slots = *static_cast<unsigned*>(arguments[1]);
  const auto reachable = static_cast<unsigned>(told_or("reachable_sms", attribute(multiprocessors)));
  const auto lost = static_cast<unsigned>(told_or("lost_marks", 0));
  for (unsigned cta = lost; cta < grid_x; ++cta) {
    if (const unsigned sm = cta % reachable * 2; sm < slots) ++marks[sm];
  }
}

}  // namespace fake

using namespace fake;

EXPORT int cuModuleLoadData(void** module, const void* image) {
  PLAY_IN_CONTEXT(cuModuleLoadData)
  return load(module, image);
}

EXPORT int cuModuleUnload(void* module) {
  PLAY(cuModuleUnload)
  if (contexts().empty()) return INVALID_CONTEXT;
  return machine().modules.erase(module) == 0 ? int{INVALID_HANDLE} : machine().dead;
}

EXPORT int cuModuleGetFunction(Function** function, void* module, const char* name) {
  PLAY_IN_CONTEXT(cuModuleGetFunction)
  return function_of(function, module, name, contexts().back());
}

EXPORT int cuFuncSetAttribute(Function* function, int which, int value) {
  PLAY_IN_CONTEXT(cuFuncSetAttribute)
  return set_attribute(function, which, value);
}

#ifndef FAKE_WITHOUT_OPTIONAL
EXPORT int cuLibraryLoadData(void** library, const void* image, void*, void*, unsigned, void*, void*, unsigned) {
  PLAY(cuLibraryLoadData)
  return load(library, image);
}

EXPORT int cuLibraryUnload(void* library) {
  PLAY(cuLibraryUnload)
  return machine().modules.erase(library) == 0 ? int{INVALID_HANDLE} : machine().dead;
}

/// The kernel of the double is its function, which no context owns.
EXPORT int cuLibraryGetKernel(Function** kernel, void* library, const char* name) {
  PLAY(cuLibraryGetKernel)
  return function_of(kernel, library, name, 0);
}

EXPORT int cuKernelGetFunction(Function** function, Function* kernel) {
  PLAY_IN_CONTEXT(cuKernelGetFunction)
  *function = kernel;
  return SUCCESS;
}

EXPORT int cuKernelSetAttribute(int which, int value, Function* kernel, int) {
  PLAY(cuKernelSetAttribute)
  return set_attribute(kernel, which, value);
}
#endif

EXPORT int cuLaunchKernel(Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned smem_bytes, Stream* stream, void** arguments,
                          void**) {
#ifdef FAKE_BARE
  return SUCCESS;
#endif
  PLAY_IN_CONTEXT(cuLaunchKernel)
  constexpr unsigned max_threads = 1024;
  if (function->context != 0 && function->context != contexts().back()) return INVALID_HANDLE;
  const unsigned threads = block_x * block_y * block_z;
  if (grid_x * grid_y * grid_z == 0 || threads == 0 || threads > max_threads) return INVALID_VALUE;
  if (smem_bytes > static_cast<unsigned>(function->max_dynamic_smem_bytes)) return INVALID_VALUE;
  const Played told = looked_up(*function, arguments, stream);
  if (const int refused = behave(told.behaviour); refused != SUCCESS) return refused;
  const std::optional<double> probed = play_probe(*function, grid_x, arguments);
  if (!probed) play(*function, grid_x, arguments);
  if (machine().logs) {
    Launched launched = launched_as(*function, arguments);
    const unsigned grid[] = {grid_x, grid_y, grid_z};
    std::copy(grid, grid + 3, launched.grid);
    launched.threads = threads;
    launched.smem_bytes = smem_bytes;
    launched.stream = reinterpret_cast<std::uintptr_t>(stream);
    launched.context = contexts().back();
    machine().log.push_back(std::move(launched));
  }
  const Pace& pace = machine().pace;
  const auto launch = static_cast<std::uint64_t>(machine().launches++);
  const double noise = pace.noise > 0 ? std::exp(pace.noise * normal(pace.seed, launch)) : 1;
  const double us = probed ? *probed : told.us * noise / clock_fraction();
  machine().busy_us += us;
  enqueue(us);
  return SUCCESS;
}

EXPORT int cuStreamCreate(Stream** stream, unsigned) {
  PLAY_IN_CONTEXT(cuStreamCreate)
  *stream = new Stream{nullptr};
  machine().streams.insert(*stream);
  return SUCCESS;
}

EXPORT int cuStreamDestroy_v2(Stream* stream) {
  PLAY(cuStreamDestroy_v2)
  if (machine().streams.erase(stream) == 0) return INVALID_HANDLE;
  delete stream;
  return machine().dead;
}

EXPORT int cuStreamSynchronize(Stream*) {
  PLAY_IN_CONTEXT(cuStreamSynchronize)
  return waited();
}

EXPORT int cuEventCreate(Event** event, unsigned) {
  PLAY_IN_CONTEXT(cuEventCreate)
  *event = new Event;
  machine().events.insert(*event);
  return SUCCESS;
}

EXPORT int cuEventDestroy_v2(Event* event) {
  PLAY(cuEventDestroy_v2)
  if (machine().events.erase(event) == 0) return INVALID_HANDLE;
  delete event;
  return machine().dead;
}

EXPORT int cuEventRecord(Event* event, const Stream* stream) {
  PLAY_IN_CONTEXT(cuEventRecord)
  const bool green = stream != nullptr && stream->green != nullptr;
  if (green && machine().told["green_events"] != "stream") return INVALID_HANDLE;
  event->at_us = std::max(machine().gpu_us, machine().host_us);
  return SUCCESS;
}

EXPORT int cuEventSynchronize(const Event*) {
  PLAY_IN_CONTEXT(cuEventSynchronize)
  return waited();
}

EXPORT int cuEventElapsedTime(float* milliseconds, const Event* start, const Event* end) {
  PLAY_IN_CONTEXT(cuEventElapsedTime)
  if (start->at_us < 0 || end->at_us < 0) return INVALID_HANDLE;
  if (end->at_us > machine().host_us) return NOT_READY;
  *milliseconds = static_cast<float>((end->at_us - start->at_us) / 1e3);
  return SUCCESS;
}
