// A stand-in for libcublasLt.so: a test double. It knows no kernels; it keeps what it is told of a product, answers the
// heuristic with algorithms that it makes up, and computes the product on the host, column by column, as the library's
// documentation defines it.
//
// It is told by text, "key=value" separated by ';', given to fake_cublaslt_configure() or in the variable
// FAKE_LIBCUBLASLT, which is read once:
//   version=130100
//   algorithms=3       how many the heuristic has; the i-th has id i, and i - 1 KiB of workspace
//   aligned=0          1: the heuristic has none where a leading dimension is no multiple of 8, as for tensor cores
//   driver=PATH        a stand-in libcuda on which every product is launched too, as the kernel cublaslt_<id>(pppiii)
//                      of A, B, C, m, n, k as the caller of a row-major product names them
//   compute=1          0: nothing is computed
//   fault.NAME=14      the cublasStatus_t that this call gives back
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <numbers>
#include <sstream>
#include <string>

#include "numbers.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fake_cublaslt {
namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, INTERNAL_ERROR = 14, NOT_SUPPORTED = 15 };

constexpr std::uint64_t words_of_an_algorithm = 0xA1;  // in the second word: what another library would not write
constexpr int epilogue_relu = 2;
constexpr int epilogue_bias = 4;
constexpr int epilogue_gelu = 32;

struct Desc {
  int compute = 0;
  int scale = 0;
  std::map<int, std::uint64_t> set = {};  // attributes, in their first bytes
  std::uint64_t of(int attribute) const {
    const auto found = set.find(attribute);
    return found == set.end() ? 0 : found->second;
  }
  template <class T>
  const T* pointer(int attribute) const {
    return reinterpret_cast<const T*>(of(attribute));
  }
};

struct Layout {
  int type;
  std::uint64_t rows, columns;
  std::int64_t pitch;
  std::int32_t batch = 1;
  std::int64_t stride = 0;
};

struct Preference {
  std::uint64_t workspace_bytes = 0;
  std::map<int, std::uint64_t> set = {};
};

struct Algo {
  std::uint64_t words[8];
};

struct Result {
  Algo algo;
  std::size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

struct Machine {
  std::map<std::string, std::string> told;
  std::map<std::string, int> calls;
  std::string product;  // the latest, as fake_cublaslt_product() gives it
  std::string preference;
};

void configure(Machine& machine, const char* text) {
  machine = {};
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ';');) {
    const std::size_t equals = word.find('=');
    if (equals != std::string::npos) machine.told[word.substr(0, equals)] = word.substr(equals + 1);
  }
}

Machine& machine() {
  static Machine state;
  static const bool configured = [] {
    const char* const text = std::getenv("FAKE_LIBCUBLASLT");
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

int told_or(const std::string& key, int usual) {
  const auto found = machine().told.find(key);
  return found == machine().told.end() ? usual : std::stoi(found->second);
}

int played(const char* function) {
  ++machine().calls[function];
  return told_or(std::string("fault.") + function, SUCCESS);
}

std::uint64_t first_bytes(const void* value, std::size_t bytes) {
  std::uint64_t word = 0;
  std::memcpy(&word, value, std::min(bytes, sizeof word));
  return word;
}

std::string shown(const Layout& layout) {
  std::ostringstream text;
  text << layout.type << ':' << layout.rows << 'x' << layout.columns << '/' << layout.pitch;
  if (layout.batch > 1) text << '*' << layout.batch << '+' << layout.stride;
  return text.str();
}

std::string shown(const Desc& desc, const Layout& a, const Layout& b, const Layout& d) {
  std::ostringstream text;
  text << (desc.of(3) != 0 ? 'T' : 'N') << (desc.of(4) != 0 ? 'T' : 'N') << " compute " << desc.compute << " epilogue "
       << desc.of(7) << " sms " << desc.of(15) << ' ' << shown(a) << ' ' << shown(b) << ' ' << shown(d);
  return text.str();
}

/// Do the sizes of D = op(A) op(B) agree, and are the leading dimensions long enough?
bool agrees(const Desc& desc, const Layout& a, const Layout& b, const Layout& d) {
  const bool a_t = desc.of(3) != 0;
  const bool b_t = desc.of(4) != 0;
  const std::uint64_t k = a_t ? a.rows : a.columns;
  for (const Layout* each : {&a, &b, &d}) {
    if (each->pitch < static_cast<std::int64_t>(each->rows) || !is_known(each->type) || each->batch != d.batch) {
      return false;
    }
  }
  return (a_t ? a.columns : a.rows) == d.rows && (b_t ? b.rows : b.columns) == d.columns &&
         (b_t ? b.columns : b.rows) == k;
}

double ended(const Desc& desc, double value, std::size_t row, int type) {
  const auto epilogue = static_cast<int>(desc.of(7));
  if ((epilogue & epilogue_bias) != 0) value += load(type, desc.pointer<void>(8), row);
  if ((epilogue & epilogue_relu) != 0) value = std::max(value, 0.0);
  if ((epilogue & epilogue_gelu) != 0) {
    value *= 0.5 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (value + 0.044715 * value * value * value)));
  }
  return value;
}

void compute(const Desc& desc, const void* a, const Layout& of_a, const void* b, const Layout& of_b, void* d,
             const Layout& of_d) {
  const bool a_t = desc.of(3) != 0;
  const bool b_t = desc.of(4) != 0;
  const std::uint64_t k = a_t ? of_a.rows : of_a.columns;
  const auto* const a_scale = desc.pointer<float>(17);
  const auto* const b_scale = desc.pointer<float>(18);
  const double scale = (a_scale != nullptr ? *a_scale : 1.0) * (b_scale != nullptr ? *b_scale : 1.0);
  const auto place = [](const Layout& layout, std::uint64_t matrix, std::uint64_t row, std::uint64_t column) {
    return static_cast<std::size_t>(static_cast<std::int64_t>(matrix) * layout.stride +
                                    static_cast<std::int64_t>(column) * layout.pitch + static_cast<std::int64_t>(row));
  };
  for (std::uint64_t matrix = 0; matrix < static_cast<std::uint64_t>(of_d.batch); ++matrix) {
    for (std::uint64_t column = 0; column < of_d.columns; ++column) {
      for (std::uint64_t row = 0; row < of_d.rows; ++row) {
        double sum = 0;
        for (std::uint64_t i = 0; i < k; ++i) {
          sum += load(of_a.type, a, a_t ? place(of_a, matrix, i, row) : place(of_a, matrix, row, i)) *
                 load(of_b.type, b, b_t ? place(of_b, matrix, column, i) : place(of_b, matrix, i, column));
        }
        store(of_d.type, d, place(of_d, matrix, row, column), ended(desc, sum * scale, row, of_d.type));
      }
    }
  }
}

/// The product as a launch of the stand-in libcuda; its result, where that is not a success.
int launched(const Algo& algo, const void* a, const void* b, void* c, const Layout& of_d, std::uint64_t k,
             void* stream) {
  const auto found = machine().told.find("driver");
  if (found == machine().told.end()) return SUCCESS;
  void* const driver = dlopen(found->second.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return NOT_INITIALIZED;
  const auto load_module = reinterpret_cast<int (*)(void**, const void*)>(dlsym(driver, "cuModuleLoadData"));
  const auto function_of = reinterpret_cast<int (*)(void**, void*, const char*)>(dlsym(driver, "cuModuleGetFunction"));
  const auto launch = reinterpret_cast<int (*)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                               unsigned, void*, void**, void**)>(dlsym(driver, "cuLaunchKernel"));
  const auto unload = reinterpret_cast<int (*)(void*)>(dlsym(driver, "cuModuleUnload"));
  const std::string entry = "cublaslt_" + std::to_string(algo.words[0]);
  void* module = nullptr;
  void* function = nullptr;
  auto m = static_cast<std::int32_t>(of_d.columns);
  auto n = static_cast<std::int32_t>(of_d.rows);
  auto depth = static_cast<std::int32_t>(k);
  void* arguments[] = {&a, &b, &c, &m, &n, &depth};
  int result = load_module(&module, ("FAKECUBIN " + entry + "(pppiii)").c_str());
  if (result == SUCCESS) result = function_of(&function, module, entry.c_str());
  if (result == SUCCESS) result = launch(function, 1, 1, 1, 128, 1, 1, 0, stream, arguments, nullptr);
  if (module != nullptr) unload(module);
  return result;
}

bool is_ours(const Algo& algo) {
  return algo.words[1] == words_of_an_algorithm &&
         algo.words[2] == static_cast<std::uint64_t>(told_or("version", 130100)) && algo.words[0] >= 1 &&
         algo.words[0] <= static_cast<std::uint64_t>(told_or("algorithms", 3));
}

std::size_t workspace_of(const Algo& algo) { return (algo.words[0] - 1) << 10; }

}  // namespace
}  // namespace fake_cublaslt

using namespace fake_cublaslt;

#define PLAY(function)                   \
  const std::lock_guard playing(turn()); \
  if (const int fault = played(#function); fault != SUCCESS) return fault;

EXPORT void fake_cublaslt_configure(const char* text) { configure(machine(), text); }
EXPORT int fake_cublaslt_calls(const char* function) { return machine().calls[function]; }
/// The product that was asked about last: "TN compute 68 epilogue 1 sms 0 type:rowsxcolumns/ld*batch+stride" of A, B,
/// D.
EXPORT const char* fake_cublaslt_product() { return machine().product.c_str(); }
/// What was preferred at the last heuristic: workspace bytes, then "attribute:value" of the others.
EXPORT const char* fake_cublaslt_preference() { return machine().preference.c_str(); }

EXPORT std::size_t cublasLtGetVersion() { return static_cast<std::size_t>(told_or("version", 130100)); }
EXPORT const char* cublasLtGetStatusName(int status) {
  return status == NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_INTERNAL_ERROR";
}

EXPORT int cublasLtCreate(void** handle) {
  PLAY(cublasLtCreate)
  *handle = &machine();
  return SUCCESS;
}

EXPORT int cublasLtMatmulDescCreate(Desc** desc, int compute, int scale) {
  PLAY(cublasLtMatmulDescCreate)
  *desc = new Desc{compute, scale};
  return SUCCESS;
}

EXPORT int cublasLtMatmulDescDestroy(const Desc* desc) {
  delete desc;
  return SUCCESS;
}

EXPORT int cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* value, std::size_t bytes) {
  PLAY(cublasLtMatmulDescSetAttribute)
  desc->set[attribute] = first_bytes(value, bytes);
  return SUCCESS;
}

EXPORT int cublasLtMatrixLayoutCreate(Layout** layout, int type, std::uint64_t rows, std::uint64_t columns,
                                      std::int64_t pitch) {
  PLAY(cublasLtMatrixLayoutCreate)
  *layout = new Layout{type, rows, columns, pitch};
  return SUCCESS;
}

EXPORT int cublasLtMatrixLayoutDestroy(const Layout* layout) {
  delete layout;
  return SUCCESS;
}

EXPORT int cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value, std::size_t bytes) {
  PLAY(cublasLtMatrixLayoutSetAttribute)
  if (attribute == 5) layout->batch = static_cast<std::int32_t>(first_bytes(value, bytes));
  if (attribute == 6) layout->stride = static_cast<std::int64_t>(first_bytes(value, bytes));
  return SUCCESS;
}

EXPORT int cublasLtMatmulPreferenceCreate(Preference** preference) {
  PLAY(cublasLtMatmulPreferenceCreate)
  *preference = new Preference;
  return SUCCESS;
}

EXPORT int cublasLtMatmulPreferenceDestroy(const Preference* preference) {
  delete preference;
  return SUCCESS;
}

EXPORT int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value,
                                                std::size_t bytes) {
  PLAY(cublasLtMatmulPreferenceSetAttribute)
  if (attribute == 1) preference->workspace_bytes = first_bytes(value, bytes);
  preference->set[attribute] = first_bytes(value, bytes);
  return SUCCESS;
}

EXPORT int cublasLtMatmulAlgoGetHeuristic(void* handle, const Desc* desc, const Layout* a, const Layout* b,
                                          const Layout* c, const Layout* d, const Preference* preference, int wanted,
                                          Result* results, int* found) {
  PLAY(cublasLtMatmulAlgoGetHeuristic)
  if (handle != &machine() || c != d || !agrees(*desc, *a, *b, *d)) return INVALID_VALUE;
  machine().product = shown(*desc, *a, *b, *d);
  machine().preference = std::to_string(preference->workspace_bytes);
  for (const auto& [attribute, value] : preference->set) {
    if (attribute != 1) machine().preference += ' ' + std::to_string(attribute) + ':' + std::to_string(value);
  }
  *found = 0;
  const bool ragged = a->pitch % 8 != 0 || b->pitch % 8 != 0 || d->pitch % 8 != 0;
  if (ragged && told_or("aligned", 0) != 0) return NOT_SUPPORTED;
  for (int id = 1; id <= told_or("algorithms", 3) && *found < wanted; ++id) {
    const Algo algo{{static_cast<std::uint64_t>(id), words_of_an_algorithm,
                     static_cast<std::uint64_t>(told_or("version", 130100)), 0, 0, 0, 0, 0}};
    if (workspace_of(algo) > preference->workspace_bytes) continue;
    results[(*found)++] = {algo, workspace_of(algo), SUCCESS, 0.5F, {}};
  }
  return *found > 0 ? SUCCESS : NOT_SUPPORTED;
}

EXPORT int cublasLtMatmulAlgoCheck(void* handle, const Desc* desc, const Layout* a, const Layout* b, const Layout* c,
                                   const Layout* d, const Algo* algo, Result* result) {
  PLAY(cublasLtMatmulAlgoCheck)
  if (handle != &machine() || c != d || !agrees(*desc, *a, *b, *d)) return INVALID_VALUE;
  if (!is_ours(*algo)) return NOT_SUPPORTED;
  *result = {*algo, workspace_of(*algo), SUCCESS, 0.5F, {}};
  return SUCCESS;
}

EXPORT int cublasLtMatmulAlgoConfigGetAttribute(const Algo* algo, int attribute, void* value, std::size_t bytes,
                                                std::size_t* written) {
  PLAY(cublasLtMatmulAlgoConfigGetAttribute)
  const auto id = static_cast<std::int32_t>(algo->words[0]);
  // id, tile, split_k, reduction, swizzle, custom option, stages
  const std::int32_t says[] = {id, 14 + id, id, id > 1 ? 2 : 0, 0, 0, 7};
  if (attribute < 0 || attribute > 6 || bytes < 4) return INVALID_VALUE;
  std::memcpy(value, &says[attribute], 4);
  *written = 4;
  return SUCCESS;
}

EXPORT int cublasLtMatmul(void* handle, const Desc* desc, const void* alpha, const void* a, const Layout* of_a,
                          const void* b, const Layout* of_b, const void* beta, const void* c, const Layout* of_c,
                          void* d, const Layout* of_d, const Algo* algo, void* workspace, std::size_t workspace_bytes,
                          void* stream) {
  PLAY(cublasLtMatmul)
  const double one = load(desc->scale, alpha, 0);
  const double nothing = load(desc->scale, beta, 0);
  if (handle != &machine() || c != d || of_c != of_d || one != 1 || nothing != 0) return INVALID_VALUE;
  if (!agrees(*desc, *of_a, *of_b, *of_d) || !is_ours(*algo)) return INVALID_VALUE;
  if (workspace_bytes < workspace_of(*algo) || (workspace_bytes > 0 && workspace == nullptr)) return INVALID_VALUE;
  machine().product = shown(*desc, *of_a, *of_b, *of_d);
  const std::uint64_t k = desc->of(3) != 0 ? of_a->rows : of_a->columns;
  // what it calls B is the A of the row-major product
  if (const int result = launched(*algo, b, a, d, *of_d, k, stream); result != SUCCESS) return INTERNAL_ERROR;
  if (told_or("compute", 1) != 0) compute(*desc, a, *of_a, b, *of_b, d, *of_d);
  return SUCCESS;
}
