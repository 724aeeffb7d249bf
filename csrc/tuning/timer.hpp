// Runs compiled kernels on a device and times them with events, under the same rules for each: on operands that are not
// in L2, after a warm-up, with so many launches between two events that the clock's grain does not matter, and with the
// device kept busy until the host has put them all on the stream.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tuning/kernel.hpp"
#include "tuning/nvml.hpp"
#include "tuning/partition.hpp"

namespace gemm_tuner {

/// Works in the device's primary context, which other libraries of the process share, on a stream of its own; on the
/// thread that made it. A kernel that breaks the context (an illegal address) breaks the Timer, and only a new process
/// has a whole one.
class Timer {
 public:
  /// sm_count: as Partition takes it. nvml_path: of the library that tells clocks.
  Timer(Driver driver, int ordinal, int sm_count, std::string nvml_path = "libnvidia-ml.so.1");
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  int sm_count() const { return state_->partition.sm_count(); }
  long long l2_bytes() const { return l2_bytes_; }
  cuda::Stream stream() const { return state_->partition.stream(); }

  /// Allocates and fills operand sets, and gives their number. Earlier operands, and what was loaded with them, are
  /// gone.
  int allocate(std::vector<Operand> operands, std::uint64_t seed);
  cuda::Address address(const std::string& name, int set) const;
  void fill(const std::string& name, const std::string& fill, int set);
  std::string read(const std::string& name, int set);

  /// Loads launches that together are one piece of work, and gives the handle that it goes by.
  int load(const std::vector<Launch>& launches);
  /// The same for work that a function puts on the stream itself, given the operand set.
  int add(std::function<void(int)> enqueue);
  void unload(int handle);

  /// Does it once, on that set, and waits: DriverError says what broke.
  void run(int handle, int set);
  /// Microseconds per launch, `repeats` times. launches: between two events; by default as many as span enough time.
  std::vector<double> time(int handle, int repeats, std::optional<int> launches);

  std::optional<Clocks> clocks() const { return nvml_.clocks(); }

 private:
  struct Work {
    std::vector<Kernel> kernels;
    std::function<void(int)> enqueue;  // where there are no kernels
    bool warm = false;
    int launches = 0;     // that span enough time; 0: not found yet
    double host_us = 0;   // that the host takes to put one on the stream
    double least_us = 0;  // that one was seen to take; 0: not seen yet
  };
  /// What needs the context to be current when it ends.
  struct State {
    State(const Driver& driver, cuda::Device device, int sm_count);
    Partition partition;
    Owned<cuda::Event> begin, end;
    Owned<cuda::Address> head_start;
    double head_start_bytes_per_us = 0;
    std::unique_ptr<Arena> arena;
    std::map<int, Work> work;
  };

  Current enter() const;
  Arena& arena() const;
  Work& at(int handle);
  int sets() const { return state_->arena ? state_->arena->sets() : 1; }
  int keep(Work work);
  void enqueue(Work& work, int set);
  static double usual_host_us(const Work& work);
  static double head_start_us(const Work& work, int launches);
  void take_head_start(double us);
  double span_us(Work& work, int launches);
  int launches_to_span(Work& work);
  void warm_up(Work& work);

  Driver driver_;
  std::thread::id thread_ = std::this_thread::get_id();
  cuda::Context context_ = nullptr;
  Owned<cuda::Device> retained_;
  long long l2_bytes_ = 0;
  std::unique_ptr<State> state_;
  Nvml nvml_;
  int next_handle_ = 0;
  int next_set_ = 0;
};

}  // namespace gemm_tuner
