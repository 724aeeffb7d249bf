// A stand-in for libcuda.so.1 and libnvidia-ml.so.1: a test double, no driver. It has no GPU and runs no code; it
// answers as a driver would for the device that it is told to be, fails the calls that it is told to fail, and plays
// time on a virtual clock: a kernel takes as long as a table says, never as long as a model predicts.
//
// It is told by text, "key=value" separated by ';', given to fake_configure() or in the variable FAKE_LIBCUDA:
//   devices=1                  how many there are
//   driver_version=13000
//   name=NVIDIA GeForce RTX 3060
//   attribute.16=28            any CUdevice_attribute by number; "attribute.16=" makes it unknown to the driver
//   context=none               none | own (of device 0) | other (of device 1)
//   affinity_sms=, resource_sms=   what the current context is limited to; unset: all SMs
//   sm_granularity=2           SM partitions have a multiple of so many SMs
//   green_events=context       stream: cuEventRecord takes a partition's streams | context: only cuGreenCtxRecordEvent
//   reachable_sms=             how many SMs a launch gets; unset: all
//   lost_marks=0               CTAs of the SM probe whose mark goes missing
//   probe.*                    what our calibration finds, see probes.cpp
//   memory_mb=12288            of the device
//   touch_mb=16                memsets and copies within the device write only the first so many MiB of an allocation
//   fault.cuInit=999           the CUresult that this call gives back, nvmlReturn_t for a call of NVML
//   times=PATH                 how long kernels take, see execution.cpp
//   default_us=10              a kernel that the table does not list
//   noise=0, seed=0            times are multiplied by exp(noise * a standard normal number)
//   launch_us=3                what a launch costs the host, in virtual time
//   memset_gbs=360             how fast memory is set
//   throttle_ms=               kernels have run for so long, and the clock drops ...
//   throttle_to=0.7            ... to so much of what it was
//   log=0                      1: fake_launched() tells of every launch
// FAKE_LIBCUDA is read once, at the first call; fake_configure() starts from nothing. Any thread may call: one call is
// played at a time, and each thread has contexts of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "image.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fake {

enum Result {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_READY = 600,
  NOT_SUPPORTED = 801,
  INVALID_RESOURCE_CONFIGURATION = 915,
};

struct Function {
  std::string entry;
  std::uint64_t image_hash;
  Parameters parameters;
  std::uintptr_t context;  // that it was loaded in; 0: it is of a library, which all contexts share
  int max_dynamic_smem_bytes = 48 << 10;
};

struct Module {
  Image image;
  std::map<std::string, std::unique_ptr<Function>> functions;
};

/// A launch as it arrived. values: of the parameters, each in its first bytes.
struct Launched {
  std::string entry;
  unsigned grid[3];
  unsigned threads;
  unsigned smem_bytes;
  std::uintptr_t stream;
  std::uintptr_t context;
  std::vector<std::uint64_t> values;
};

struct GreenContext {
  int sms;
};

struct Stream {
  GreenContext* green;  // null: of the primary context
};

struct Event {
  double at_us = -1;  // virtual; below 0: never recorded
};

struct Buffer {
  std::size_t bytes;
  bool written = false;  // by the host or by a copy; until then it is zeros
};

struct Played {
  double us;
  std::string behaviour;
};

/// What is asked at every launch, read out of what was told once.
struct Pace {
  double default_us = 10;
  double noise = 0;
  std::uint64_t seed = 0;
  double launch_us = 3;
  double memset_gbs = 360;
  double throttle_ms = -1;
  double throttle_to = 0.7;
};

struct Machine {
  std::map<std::string, std::string> told;
  bool faults = false;  // was any told?
  Pace pace;
  std::map<std::string, int, std::less<>> calls;
  bool initialised = false;
  std::map<std::thread::id, std::vector<std::uintptr_t>> contexts;  // the stack of each thread; device + 1
  std::map<int, int> retained;                                      // primary contexts, by device
  std::map<void*, std::unique_ptr<Module>> modules;
  std::map<std::uintptr_t, Buffer> buffers;  // by address
  std::set<Stream*> streams;
  std::set<Event*> events;
  std::set<GreenContext*> green_contexts;

  std::map<std::string, Played> times;  // by "hash sizes"
  double host_us = 0;                   // virtual time that the host has come to
  double gpu_us = 0;                    // virtual time when the work that was enqueued ends
  double busy_us = 0;                   // how long kernels have run
  long long launches = 0;
  bool logs = false;
  std::vector<Launched> log;
  int dead = SUCCESS;  // the error of a kernel: every later call in the context gives it
  bool hung = false;

  // for the verdict of the comparison kernel: moments, counted in launches and memsets
  long long moment = 0;
  long long wrong_at = 0;                         // when a kernel last wrote garbage
  std::map<std::uintptr_t, long long> poisoned;   // when this address was last poisoned
  std::map<std::uintptr_t, long long> passed_to;  // when a kernel was last given it
};

Machine& machine();
/// One call at a time.
std::recursive_mutex& turn();
/// The contexts of this thread.
std::vector<std::uintptr_t>& contexts();
int told_or(const std::string& key, int usual);
double told_or(const std::string& key, double usual);

/// Counts the call, and gives the fault that it was told to have; calls before cuInit fail as a driver's do.
int played(const char* function, bool needs_init = true);

int attribute(int which);
inline constexpr int multiprocessors = 16;
inline constexpr int clock_khz = 13;
inline constexpr int memory_clock_khz = 36;
inline constexpr int smem_per_block_optin_bytes = 97;

/// What a kernel has broken, where the host waits for it; a hang is waited for without end.
int waited();
/// How much of the full clock is left.
double clock_fraction();
/// The work that takes so long begins when what is before it ends, and not before the host has asked for it.
void enqueue(double us);

bool in_buffer(std::uintptr_t address, std::size_t bytes);
void read_times(Machine& machine, const std::string& path);
void play_mark_sm(unsigned grid_x, void** arguments);
/// Microseconds that a launch of one of our own probes takes, having written what it finds; none where it is another.
std::optional<double> play_probe(const Function& function, unsigned grid_x, void** arguments);

}  // namespace fake

// Built with FAKE_BARE, for a benchmark that wants to know what a launch costs beyond the driver's part: no call is
// counted, faulted or kept from overlapping with another, and a launch is taken and forgotten.
#ifdef FAKE_BARE
#define PLAY(function)
#define PLAY_IN_CONTEXT(function)
#else
#define PLAY(function)                                                 \
  const std::lock_guard playing(fake::turn());                         \
  if (const int result = fake::played(#function); result != SUCCESS) { \
    return result;                                                     \
  }
#define PLAY_IN_CONTEXT(function)                               \
  PLAY(function)                                                \
  if (fake::contexts().empty()) return INVALID_CONTEXT;         \
  if (const int dead = fake::machine().dead; dead != SUCCESS) { \
    return dead;                                                \
  }
#endif
