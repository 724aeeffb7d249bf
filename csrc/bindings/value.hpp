// Gives a plain C++ struct the whole face of a Python value (keyword constructor, ==, hash, repr, to_dict, from_dict,
// replace, pickle) from one list of its fields. Enums cross as the words that users write.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#include "gemm/types.hpp"

namespace gemm_tuner::bindings {

namespace py = pybind11;

template <class Struct, class Member>
struct Field {
  const char* name;
  Member Struct::* member;
};

template <class Struct, class Member>
Field(const char*, Member Struct::*) -> Field<Struct, Member>;

template <class T>
py::object to_python(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return py::str(std::string(to_string(value)));
  } else {
    return py::cast(value);
  }
}

/// An integer as Python's own protocol gives it: True is 1 nowhere here, 2.0 is no integer, 2**80 is out of range.
template <class Int>
Int integer_from(const char* name, const py::handle& value) {
  const std::string shown = py::repr(value);
  if (PyBool_Check(value.ptr()) != 0 || PyIndex_Check(value.ptr()) == 0) {
    throw py::type_error(std::string(name) + " must be an integer, got " + shown);
  }
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) throw py::error_already_set();
  int overflow = 0;
  const long long wide = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0 || wide > static_cast<long long>(std::numeric_limits<Int>::max()) ||
      wide < static_cast<long long>(std::numeric_limits<Int>::min())) {
    throw py::value_error(std::string(name) + " is out of range, got " + shown);
  }
  return static_cast<Int>(wide);
}

template <class T>
T from_python(const char* name, const py::handle& value) {
  if constexpr (std::is_enum_v<T>) {
    if (!py::isinstance<py::str>(value)) {
      throw py::type_error(std::string(name) + " must be a string, got " + std::string(py::repr(value)));
    }
    return from_string<T>(value.cast<std::string>());
  } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    return integer_from<T>(name, value);
  } else {
    try {
      return value.cast<T>();
    } catch (const py::cast_error&) {
      throw py::type_error(std::string(name) + " has the wrong type, got " + std::string(py::repr(value)));
    }
  }
}

/// Sets the fields named in `kwargs`, and says which name is unknown.
template <class Struct, class... Fields>
void assign(Struct& value, const std::tuple<Fields...>& fields, const py::kwargs& kwargs) {
  for (const auto& [key, given] : kwargs) {
    const auto name = key.template cast<std::string>();
    const auto set = [&](const auto& field) {
      if (name != field.name) return false;
      using Member = std::remove_reference_t<decltype(value.*(field.member))>;
      value.*(field.member) = from_python<Member>(field.name, given);
      return true;
    };
    const bool known = std::apply([&](const auto&... field) { return (set(field) || ...); }, fields);
    if (!known) throw py::type_error("unknown argument '" + name + "'");
  }
}

template <class Struct, class... Fields>
py::dict to_dict(const Struct& value, const std::tuple<Fields...>& fields) {
  py::dict result;
  std::apply([&](const auto&... field) { ((result[field.name] = to_python(value.*(field.member))), ...); }, fields);
  return result;
}

/// Everything but the constructor, which each noun writes for its own defaults and checks.
template <class Struct, class Check, class... Fields>
py::class_<Struct> bind_value(py::module_& module, const char* name, const char* doc, Check check,
                              std::tuple<Fields...> fields) {
  py::class_<Struct> cls(module, name, doc);
  std::apply(
      [&](const auto&... field) {
        (cls.def_property_readonly(field.name,
                                   [member = field.member](const Struct& self) { return to_python(self.*member); }),
         ...);
      },
      fields);
  const auto made = [=](Struct value, const py::kwargs& kwargs) {
    assign(value, fields, kwargs);
    check(value);
    return value;
  };
  cls.def("to_dict", [=](const Struct& self) { return to_dict(self, fields); }, "Every field by name.");
  cls.def_static(
      "from_dict", [=](const py::dict& dict) { return made(Struct{}, py::kwargs(dict)); },
      "The value that to_dict gave.");
  cls.def(
      "replace", [=](const Struct& self, const py::kwargs& kwargs) { return made(self, kwargs); },
      "The same with other values in those fields; no field follows another.");
  cls.def("__eq__", [](const Struct& self, const py::object& other) {
    return py::isinstance<Struct>(other) && self == other.cast<const Struct&>();
  });
  cls.def("__hash__", [=](const Struct& self) {
    return std::apply(
        [&](const auto&... field) { return py::hash(py::make_tuple(py::repr(to_python(self.*(field.member)))...)); },
        fields);
  });
  cls.def("__repr__", [=](const Struct& self) {
    std::string text;
    std::apply(
        [&](const auto&... field) {
          ((text += (text.empty() ? "" : ", ") + std::string(field.name) + "=" +
                    std::string(py::repr(to_python(self.*(field.member))))),
           ...);
        },
        fields);
    return std::string(name) + "(" + text + ")";
  });
  cls.def(py::pickle([=](const Struct& self) { return to_dict(self, fields); },
                     [=](const py::dict& state) { return made(Struct{}, py::kwargs(state)); }));
  return cls;
}

}  // namespace gemm_tuner::bindings
