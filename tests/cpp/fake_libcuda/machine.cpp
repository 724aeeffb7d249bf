// What the double is told and asked by tests, and what every part of it stands on.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "fake.hpp"

namespace fake {
namespace {

void release(Machine& machine) {
  for (Stream* stream : machine.streams) delete stream;
  for (Event* event : machine.events) delete event;
  for (GreenContext* green : machine.green_contexts) delete green;
}

double number(const Machine& machine, const std::string& key, double usual) {
  const auto found = machine.told.find(key);
  return found == machine.told.end() || found->second.empty() ? usual : std::stod(found->second);
}

Pace pace_of(const Machine& machine) {
  const Pace usual;
  return {.default_us = number(machine, "default_us", usual.default_us),
          .noise = number(machine, "noise", usual.noise),
          .seed = static_cast<std::uint64_t>(number(machine, "seed", 0)),
          .launch_us = number(machine, "launch_us", usual.launch_us),
          .memset_gbs = number(machine, "memset_gbs", usual.memset_gbs),
          .throttle_ms = number(machine, "throttle_ms", usual.throttle_ms),
          .throttle_to = number(machine, "throttle_to", usual.throttle_to)};
}

void configure(Machine& machine, const std::string& text) {
  release(machine);
  machine = Machine{};
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find(';', start), text.size());
    const std::string item = text.substr(start, end - start);
    if (const std::size_t equals = item.find('='); equals != std::string::npos) {
      machine.told[item.substr(0, equals)] = item.substr(equals + 1);
      machine.faults = machine.faults || item.starts_with("fault.");
    }
    start = end + 1;
  }
  machine.pace = pace_of(machine);
  machine.logs = machine.told["log"] == "1";
  const std::string context = machine.told["context"];
  if (context == "own") machine.contexts[std::this_thread::get_id()] = {1};
  if (context == "other") machine.contexts[std::this_thread::get_id()] = {2};
  if (const std::string times = machine.told["times"]; !times.empty()) read_times(machine, times);
}

}  // namespace

Machine& machine() {
  static Machine state;
  static const bool configured = [] {
    const char* text = std::getenv("FAKE_LIBCUDA");
    configure(state, text != nullptr ? text : "");
    return true;
  }();
  static_cast<void>(configured);
  return state;
}

std::recursive_mutex& turn() {
  static std::recursive_mutex mutex;
  return mutex;
}

#ifdef FAKE_BARE
std::vector<std::uintptr_t>& contexts() {
  static thread_local std::vector<std::uintptr_t> mine;
  return mine;
}
#else
std::vector<std::uintptr_t>& contexts() { return machine().contexts[std::this_thread::get_id()]; }
#endif

int told_or(const std::string& key, int usual) {
  const auto found = machine().told.find(key);
  return found == machine().told.end() || found->second.empty() ? usual : std::stoi(found->second);
}

double told_or(const std::string& key, double usual) { return number(machine(), key, usual); }

int played(const char* function, bool needs_init) {
  Machine& now = machine();
  const auto counted = now.calls.find(function);
  ++(counted == now.calls.end() ? now.calls[function] : counted->second);
  const int fault = now.faults ? told_or(std::string("fault.") + function, SUCCESS) : int{SUCCESS};
  if (fault != SUCCESS) return fault;
  return needs_init && !now.initialised ? NOT_INITIALIZED : SUCCESS;
}

}  // namespace fake

using namespace fake;

EXPORT void fake_configure(const char* text) { configure(machine(), text); }
EXPORT int fake_calls(const char* function) {
  const std::lock_guard playing(turn());
  return machine().calls[function];
}
/// The launch of that number as a line of text: entry, grid, threads, shared memory, stream, context, values.
EXPORT int fake_launched(int which, char* text, int length) {
  const std::lock_guard playing(turn());
  if (which < 0 || which >= static_cast<int>(machine().log.size())) return 0;
  const Launched& launched = machine().log[static_cast<std::size_t>(which)];
  std::ostringstream line;
  line << launched.entry << ' ' << launched.grid[0] << ' ' << launched.grid[1] << ' ' << launched.grid[2] << ' '
       << launched.threads << ' ' << launched.smem_bytes << ' ' << launched.stream << ' ' << launched.context;
  for (const std::uint64_t value : launched.values) line << ' ' << value;
  std::snprintf(text, static_cast<std::size_t>(length), "%s", line.str().c_str());
  return 1;
}
/// Microseconds that the virtual clock of the host shows.
EXPORT double fake_now_us() { return machine().host_us; }
/// Contexts retained or pushed, modules, buffers, streams, events and partitions that were not given back.
EXPORT int fake_leaks() {
  const Machine& now = machine();
  const std::size_t held =
      now.modules.size() + now.buffers.size() + now.streams.size() + now.events.size() + now.green_contexts.size();
  int leaks = static_cast<int>(held);
  for (const auto& [device, count] : now.retained) leaks += count;
  for (const auto& [thread, pushed] : now.contexts) leaks += static_cast<int>(pushed.size());
  const std::string context = machine().told["context"];
  return leaks - (context.empty() || context == "none" ? 0 : 1);
}
