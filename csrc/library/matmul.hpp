// A problem as cuBLASLt is told of it, the algorithms that its heuristic has for it, and what runs one of them.
//
// The library thinks in column-major matrices: C = A @ B, row-major, is to it the product C' = B' @ A', whose operands
// lie in memory as they are.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "gemm/algorithm.hpp"
#include "gemm/problem.hpp"
#include "launch/launcher.hpp"
#include "library/cublaslt.hpp"

namespace gemm_tuner {

/// Where A and B are, in elements: from row to row as stored, and from matrix to matrix. C is contiguous.
struct OperandStrides {
  std::int64_t a_pitch = 0;
  std::int64_t b_pitch = 0;
  std::int64_t a_batch = 0;
  std::int64_t b_batch = 0;
};

/// The library on one GPU.
struct LibraryHome {
  /// NoDeviceError, DriverError, LibraryError.
  LibraryHome(const CublasLt& library, Driver driver, int ordinal);

  CublasLt library;
  Home home;
  cublaslt::Handle handle = nullptr;  // never destroyed: at the end of a process the library may be gone before us
};

/// A handle of the library's that ends with its owner.
template <class Handle>
class Described {
 public:
  Described(Handle handle, const CublasLt::Symbol<Handle>& destroy) : handle_(handle, destroy.address) {}
  operator Handle() const { return handle_.get(); }  // NOLINT(google-explicit-constructor)

 private:
  std::unique_ptr<std::remove_pointer_t<Handle>, cublaslt::Status (*)(Handle)> handle_;
};

/// The problem, described. Threads may share it.
class LibraryProduct {
 public:
  /// sm_count: SMs to plan for, 0 for all. std::invalid_argument where the library lacks it.
  LibraryProduct(std::shared_ptr<const LibraryHome> home, const GemmProblem& problem, const OperandStrides& strides,
                 int sm_count);

  /// What the heuristic has, best predicted first, each once; none where the library has nothing for it.
  std::vector<LibraryAlgorithm> algorithms(std::size_t workspace_bytes, int count) const;

  /// std::invalid_argument where the algorithm cannot compute the problem; the workspace it needs, in bytes.
  std::size_t check(const cublaslt::Algo& algo) const;

  /// Names of the operands whose addresses it takes, in order: a, b, c, and where it has them bias, scale_a and
  /// scale_b.
  const std::vector<std::string>& operands() const { return operands_; }
  void enqueue(const cublaslt::Algo& algo, cuda::Stream stream, std::span<const cuda::Address> operands,
               cuda::Address workspace, std::size_t workspace_bytes) const;

 private:
  void describe(const GemmProblem& problem, int sm_count);
  void set_pointer(cublaslt::DescAttribute attribute, cuda::Address address) const;
  Described<cublaslt::MatrixLayout> layout(cublaslt::DataType type, std::int64_t rows, std::int64_t columns,
                                           std::int64_t pitch, std::int64_t batch, std::int64_t stride) const;

  std::shared_ptr<const LibraryHome> home_;
  Described<cublaslt::MatmulDesc> desc_;
  Described<cublaslt::MatrixLayout> left_, right_, out_;  // B', A' and C'
  std::uint32_t alignment_bytes_[2];                      // of the left and of the right operand
  bool is_int_;
  std::vector<std::string> operands_;
  std::vector<cublaslt::DescAttribute> pointers_;  // of the operands from the fourth on
  mutable std::mutex mutex_;                       // the descriptor holds those pointers while work is enqueued
};

/// One algorithm on the operands of one product.
class LibraryKernel : public ReadyWork {
 public:
  /// std::invalid_argument where the algorithm cannot compute the problem.
  LibraryKernel(std::shared_ptr<const LibraryProduct> product, const LibraryAlgorithm& algorithm);

  /// Those of the product, and `parts` where the algorithm needs a workspace.
  const std::vector<std::string>& operands() const override { return operands_; }
  std::size_t workspace_bytes() const { return workspace_bytes_; }
  /// LibraryError where the library fails.
  void enqueue(cuda::Stream stream, std::span<const cuda::Address> addresses) const override;

 private:
  std::shared_ptr<const LibraryProduct> product_;
  cublaslt::Algo algo_;
  std::size_t workspace_bytes_;
  std::vector<std::string> operands_;
};

}  // namespace gemm_tuner
