// Drives the stand-in libcuda.so.1 (a test double, see fake_libcuda/) from a test.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>

#include "device/driver.hpp"

namespace gemm_tuner::testing {

class StandIn {
 public:
  explicit StandIn(const std::string& told, const char* path = FAKE_LIBCUDA)
      : path_(path), handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    function<void(const char*)>("fake_configure")(told.c_str());
  }
  Driver open() const { return Driver(path_); }
  int calls(const char* of) const { return function<int(const char*)>("fake_calls")(of); }
  /// The launch of that number, where it was told log=1: "entry x y z threads smem stream context values...".
  std::string launched(int which) const {
    char text[1024] = "";
    function<int(int, char*, int)>("fake_launched")(which, text, sizeof text);
    return text;
  }
  int leaks() const { return function<int()>("fake_leaks")(); }

 private:
  template <class Signature>
  Signature* function(const char* name) const {
    return reinterpret_cast<Signature*>(dlsym(handle_, name));
  }
  std::string path_;
  void* handle_;
};

/// The sentence of the Error that `act` throws.
template <class Error, class Act>
std::string sentence_of(Act act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

inline void expect_says(const std::string& sentence, const std::string& part) {
  EXPECT_NE(sentence.find(part), std::string::npos) << "'" << part << "' is not in: " << sentence;
}

}  // namespace gemm_tuner::testing
