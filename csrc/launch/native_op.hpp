// An operator of torch that launches kernels without touching Python: torch's dispatcher calls it with the GIL
// released, it reads its arguments through torch's stable C interface, looks up what was found for such a call, and
// launches.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "launch/launch_cache.hpp"
#include "launch/launcher.hpp"
#include "launch/torch_abi.hpp"

namespace gemm_tuner {

/// A tensor that is made anew at every call, row-major. dtype: torch's number.
struct Made {
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
  std::int32_t dtype = 0;
};

/// Where the address of a kernel's operand comes from: an argument of the call, by its place, or a tensor made for it.
using Origin = std::variant<std::size_t, Made>;

/// What a call launches: the origin of each operand of the kernel, and which of them is the result (a Made one).
struct KernelCall {
  std::shared_ptr<const ReadyWork> kernel;
  std::vector<Origin> origins;
  std::size_t result = 0;
};

/// What a call hands on to an operator of torch that has one result, "aten::mm": which arguments, tensors all of them.
struct OperatorCall {
  std::string op;
  std::vector<std::size_t> places;
};

/// What a call is known to have no kernel for: it is given none, and is not told as missed.
struct NothingToLaunch {};

using Answer = std::variant<KernelCall, OperatorCall, NothingToLaunch>;

/// Implements an operator that was defined before and gives back an optional tensor: none where it has no answer to
/// calls of this kind, or the answer is that there is nothing to launch. Threads may call it, and insert answers, at
/// the same time.
class NativeOp {
 public:
  using Key = std::vector<std::int64_t>;

  /// arguments: a letter for each, T a tensor, t an optional one, i an integer or bool, s a text. key: torch's dispatch
  /// key, "CUDA". std::invalid_argument for another letter, or more arguments than are kept; std::runtime_error where
  /// torch refuses, or as many as there is room for are registered already.
  NativeOp(torch_abi::Table table, const std::string& name_space, const std::string& name, const std::string& key,
           std::string arguments);
  ~NativeOp();
  NativeOp(const NativeOp&) = delete;
  NativeOp& operator=(const NativeOp&) = delete;

  const torch_abi::Table& table() const { return table_; }
  /// What the last call of this thread had no answer to; nothing where it had one.
  std::optional<Key> missed() const;
  /// std::invalid_argument where the answer has origins for another number of operands than its kernel, a place that is
  /// no tensor argument, or a result that is not made.
  void insert(const Key& key, Answer answer);
  void clear() { answers_.clear(); }
  std::size_t size() const { return answers_.size(); }

  /// As torch calls it.
  void operator()(torch_abi::Value* stack) const;

 private:
  static constexpr std::size_t max_arguments = 8;
  static constexpr std::size_t max_operands = 16;
  struct Arguments;

  void require_valid(const KernelCall& call) const;
  void require_valid(const OperatorCall& call) const;
  void require_valid(const NothingToLaunch&) const {}
  void require_tensor(std::size_t place) const;
  torch_abi::Tensor launch(const KernelCall& call, const Arguments& arguments) const;
  torch_abi::Tensor hand_on(const OperatorCall& call, Arguments& arguments) const;

  torch_abi::Table table_;
  std::string arguments_;
  LaunchCache<Answer> answers_;
  torch_abi::Registration registration_ = nullptr;
  std::size_t slot_;
};

}  // namespace gemm_tuner
