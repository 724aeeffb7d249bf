#include "launch/native_op.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace gemm_tuner {
namespace {

using torch_abi::OwnedTensor;
using torch_abi::Tensor;
using torch_abi::Text;
using torch_abi::Value;

// torch's boxed kernels are plain functions that carry nothing of their own: one function for each operator, which
// finds the operator by its number
constexpr std::size_t slots = 8;
std::array<std::atomic<const NativeOp*>, slots> registered{};

template <std::size_t Slot>
void boxed(Value* stack, std::uint64_t, std::uint64_t) {
  (*registered[Slot].load(std::memory_order_acquire))(stack);
}

template <std::size_t... Slot>
constexpr std::array<torch_abi::Boxed, slots> boxed_functions(std::index_sequence<Slot...>) {
  return {&boxed<Slot>...};
}

std::size_t take_slot(const NativeOp* op) {
  for (std::size_t slot = 0; slot < slots; ++slot) {
    const NativeOp* none = nullptr;
    if (registered[slot].compare_exchange_strong(none, op)) return slot;
  }
  throw std::runtime_error("There is room for " + std::to_string(slots) + " native operators: end one first.");
}

struct Missed {
  const NativeOp* by = nullptr;
  NativeOp::Key key;
};
thread_local Missed missed_here;

TensorView read(const torch_abi::Table& table, Tensor tensor) {
  void* address = nullptr;
  std::int64_t dims = 0;
  std::int64_t* sizes = nullptr;
  std::int64_t* strides = nullptr;
  std::int32_t dtype = 0;
  std::int32_t type = 0;
  std::int32_t ordinal = 0;
  const bool failed =
      (table.get_data_ptr(tensor, &address) | table.get_dim(tensor, &dims) | table.get_sizes(tensor, &sizes) |
       table.get_strides(tensor, &strides) | table.get_dtype(tensor, &dtype) | table.get_device_type(tensor, &type) |
       table.get_device_index(tensor, &ordinal)) != 0;
  table.check(failed ? 1 : 0, "reading a tensor");
  const auto count = static_cast<std::size_t>(dims);
  return {reinterpret_cast<cuda::Address>(address),
          {sizes, count},
          {strides, count},
          dtype,
          std::int64_t{type} << 32 | static_cast<std::uint32_t>(ordinal)};
}

}  // namespace

/// The arguments of one call, which it owns.
struct NativeOp::Arguments {
  Arguments(const torch_abi::Table& given, const std::string& letters, const Value* stack) : table(given) {
    // first everything is owned, then it may fail
    for (std::size_t i = 0; i < letters.size(); ++i) take(letters[i], i, stack[i]);
    for (std::size_t i = 0; i < letters.size(); ++i) add_to_key(letters[i], i, stack[i]);
  }
  ~Arguments() {
    for (std::size_t i = 0; i < max_arguments; ++i) {
      if (tensors[i] != nullptr) table.delete_tensor(tensors[i]);
      if (texts[i] != nullptr) table.delete_text(texts[i]);
    }
  }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;

  const torch_abi::Table& table;
  CallKey key{0};
  std::array<Tensor, max_arguments> tensors{};
  std::array<Text, max_arguments> texts{};
  std::array<cuda::Address, max_arguments> addresses{};
  std::int64_t device = 0;  // of the last tensor: that all are on one is in the answer's making

 private:
  void take(char letter, std::size_t i, Value value) {
    if (letter == 'T') tensors[i] = reinterpret_cast<Tensor>(value);
    if (letter == 's') texts[i] = reinterpret_cast<Text>(value);
    if (letter != 't' || value == 0) return;
    auto* const there = reinterpret_cast<Value*>(value);
    tensors[i] = reinterpret_cast<Tensor>(*there);
    table.free(there);
  }

  void add_to_key(char letter, std::size_t i, Value value) {
    if (tensors[i] != nullptr) {
      const TensorView view = read(table, tensors[i]);
      addresses[i] = view.address;
      device = view.device;
      key.add_tensor(view);
    } else if (letter == 't') {
      key.add_absent();
    } else if (letter == 's') {
      std::size_t length = 0;
      const char* bytes = nullptr;
      table.check(table.text_length(texts[i], &length) | table.text_bytes(texts[i], &bytes), "reading a text");
      key.add_text({bytes, length});
    } else {
      key.add(static_cast<std::int64_t>(value));
    }
  }
};

NativeOp::NativeOp(torch_abi::Table table, const std::string& name_space, const std::string& name,
                   const std::string& key, std::string arguments)
    : table_(table), arguments_(std::move(arguments)) {
  if (arguments_.size() > max_arguments || arguments_.find_first_not_of("Ttis") != std::string::npos) {
    throw std::invalid_argument("arguments must be up to " + std::to_string(max_arguments) +
                                " of the letters T, t, i and s, got '" + arguments_ + "'");
  }
  slot_ = take_slot(this);
  // torch keeps pointers to these two, for its messages
  static constexpr const char* file = "gemm_tuner/csrc/launch/native_op.cpp";
  try {
    table_.check(table_.registration(name_space.c_str(), key.c_str(), file, 1, &registration_),
                 "aoti_torch_library_init_impl");
    table_.check(
        table_.implement(registration_, name.c_str(), boxed_functions(std::make_index_sequence<slots>())[slot_]),
        "aoti_torch_library_impl");
  } catch (...) {
    if (registration_ != nullptr) table_.end_registration(registration_);
    registered[slot_] = nullptr;
    throw;
  }
}

NativeOp::~NativeOp() {
  table_.end_registration(registration_);
  registered[slot_] = nullptr;
}

std::optional<NativeOp::Key> NativeOp::missed() const {
  if (missed_here.by != this) return std::nullopt;
  return missed_here.key;
}

void NativeOp::require_tensor(std::size_t place) const {
  if (place < arguments_.size() && (arguments_[place] == 'T' || arguments_[place] == 't')) return;
  throw std::invalid_argument("argument " + std::to_string(place) + " of the operator ('" + arguments_ +
                              "') is no tensor");
}

void NativeOp::require_valid(const OperatorCall& call) const {
  for (const std::size_t place : call.places) {
    require_tensor(place);
    if (std::count(call.places.begin(), call.places.end(), place) > 1) {
      throw std::invalid_argument("argument " + std::to_string(place) + " can be handed on only once");
    }
  }
  if (call.op.empty() || call.places.empty() || call.places.size() > max_arguments) {
    throw std::invalid_argument("a call is handed on to an operator with 1 to " + std::to_string(max_arguments) +
                                " arguments, got '" + call.op + "' with " + std::to_string(call.places.size()));
  }
}

void NativeOp::require_valid(const KernelCall& call) const {
  const std::size_t operands = call.kernel->operands().size();
  if (call.origins.size() != operands || operands > max_operands) {
    throw std::invalid_argument("the kernel takes " + std::to_string(operands) + " operands (up to " +
                                std::to_string(max_operands) + " are possible), and the origins of " +
                                std::to_string(call.origins.size()) + " are given");
  }
  for (const Origin& origin : call.origins) {
    if (const auto* place = std::get_if<std::size_t>(&origin)) require_tensor(*place);
  }
  if (call.result >= operands || !std::holds_alternative<Made>(call.origins[call.result])) {
    throw std::invalid_argument("the result must be an operand that is made for the call");
  }
}

void NativeOp::insert(const Key& key, Answer answer) {
  std::visit([&](const auto& call) { require_valid(call); }, answer);
  answers_.insert(key, std::make_shared<const Answer>(std::move(answer)));
}

void NativeOp::operator()(Value* stack) const {
  Arguments arguments(table_, arguments_, stack);
  const std::shared_ptr<const Answer> answer = answers_.find(arguments.key);
  missed_here.by = nullptr;
  stack[0] = 0;
  if (answer == nullptr) {
    if (!arguments.key.whole()) return;
    const auto words = arguments.key.words();
    missed_here.key.assign(words.begin(), words.end());
    missed_here.by = this;
    return;
  }
  if (std::holds_alternative<NothingToLaunch>(*answer)) return;
  const auto* kernel = std::get_if<KernelCall>(answer.get());
  OwnedTensor result(
      table_, kernel != nullptr ? launch(*kernel, arguments) : hand_on(std::get<OperatorCall>(*answer), arguments));
  Value* const optional = table_.boxed(reinterpret_cast<Value>(result.get()));
  result.release();
  stack[0] = reinterpret_cast<Value>(optional);
}

Tensor NativeOp::launch(const KernelCall& call, const Arguments& arguments) const {
  const auto type = static_cast<std::int32_t>(arguments.device >> 32);
  const auto ordinal = static_cast<std::int32_t>(arguments.device);
  std::array<cuda::Address, max_operands> addresses{};
  std::vector<OwnedTensor> made;  // workspace may go once the launch is on the stream, whose order keeps its memory
  std::size_t result = 0;
  for (std::size_t i = 0; i < call.origins.size(); ++i) {
    if (const auto* place = std::get_if<std::size_t>(&call.origins[i])) {
      addresses[i] = arguments.addresses[*place];
      continue;
    }
    const Made& wanted = std::get<Made>(call.origins[i]);
    Tensor tensor = nullptr;
    table_.check(table_.empty_strided(static_cast<std::int64_t>(wanted.sizes.size()), wanted.sizes.data(),
                                      wanted.strides.data(), wanted.dtype, type, ordinal, &tensor),
                 "allocating a tensor");
    if (i == call.result) result = made.size();
    made.emplace_back(table_, tensor);
    void* address = nullptr;
    table_.check(table_.get_data_ptr(tensor, &address), "reading a tensor");
    addresses[i] = reinterpret_cast<cuda::Address>(address);
  }
  void* stream = nullptr;
  if (type != table_.cpu() && table_.current_stream != nullptr) {
    table_.check(table_.current_stream(ordinal, &stream), "asking for the current stream");
  }
  call.kernel->enqueue(static_cast<cuda::Stream>(stream), {addresses.data(), call.origins.size()});
  return made[result].release();
}

Tensor NativeOp::hand_on(const OperatorCall& call, Arguments& arguments) const {
  std::array<Value, max_arguments> stack{};
  for (std::size_t i = 0; i < call.places.size(); ++i) {
    if (arguments.tensors[call.places[i]] == nullptr) {
      throw std::invalid_argument("argument " + std::to_string(call.places[i]) + " is absent: " + call.op +
                                  " cannot be given it");
    }
    // it takes what it is given
    stack[i] = reinterpret_cast<Value>(std::exchange(arguments.tensors[call.places[i]], nullptr));
  }
  table_.check(table_.call(call.op.c_str(), "", stack.data()), call.op.c_str());
  return reinterpret_cast<Tensor>(stack[0]);
}

}  // namespace gemm_tuner
