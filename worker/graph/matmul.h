// One matrix product of fixed shape, by oneDNN: the only file that includes it is matmul.cc.
//
//   C [m, n] (+)= op(A) [m, k] op(B) [k, n] + bias [n], then relu
//
// Row-major operands with leading dimensions, so that a block of columns is an operand as it
// stands. oneDNN 2.6.3 runs on libgomp: the thread that creates a product, and each that runs one,
// must have called UseOneThread, or oneDNN starts threads of its own.
//
// MatMul: Thread-safe (const after Create). MatMulCall: **Confined to one thread at a time.**
#ifndef PAGODA_WORKER_GRAPH_MATMUL_H_
#define PAGODA_WORKER_GRAPH_MATMUL_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace pagoda {

struct MatMulShape {
  int m, n, k;
  int64_t lda, ldb, ldc;
  bool transpose_a = false;  // A is stored [k, m].
  bool transpose_b = false;  // B is stored [n, k].
  bool bias = false;
  bool relu = false;
  bool accumulate = false;  // C += ...
};

class MatMul {
 public:
  static absl::StatusOr<std::shared_ptr<const MatMul>> Create(const MatMulShape& shape);
  virtual ~MatMul() = default;
  virtual size_t scratch_bytes() const = 0;
};

// A product with its argument handles: calling it allocates nothing of ours. oneDNN itself makes
// about five small objects a call (65 in 12 calls, counted by the tests' operator new).
class MatMulCall {
 public:
  explicit MatMulCall(std::shared_ptr<const MatMul> product);
  MatMulCall(MatMulCall&&) noexcept;
  ~MatMulCall();

  // `bias` is read if the shape has one; `scratch` [scratch_bytes()], 64-byte aligned.
  void Run(const float* a, const float* b, const float* bias, float* c, void* scratch);

 private:
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

// Tells libgomp that the calling thread computes alone.
void UseOneThread();

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_MATMUL_H_
