#include "worker/graph/matmul.h"

#include <glog/logging.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

// libgomp's, declared here because clang finds no omp.h beside Debian's libgomp.
extern "C" void omp_set_num_threads(int);

namespace pagoda {
namespace {

using dnnl::memory;

const dnnl::engine& Engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::desc MatrixDesc(int rows, int columns, int64_t ld, bool transposed) {
  const memory::dims strides = transposed ? memory::dims{1, ld} : memory::dims{ld, 1};
  return memory::desc({rows, columns}, memory::data_type::f32, strides);
}

class DnnlMatMul : public MatMul {
 public:
  // Throws dnnl::error.
  explicit DnnlMatMul(const MatMulShape& shape) : has_bias_(shape.bias) {
    const memory::desc a = MatrixDesc(shape.m, shape.k, shape.lda, shape.transpose_a);
    const memory::desc b = MatrixDesc(shape.k, shape.n, shape.ldb, shape.transpose_b);
    const memory::desc c = MatrixDesc(shape.m, shape.n, shape.ldc, false);
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::post_ops post_ops;
    if (shape.accumulate) post_ops.append_sum(1.0f);
    if (shape.relu) post_ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    attr.set_post_ops(post_ops);
    const auto desc = has_bias_
                          ? dnnl::matmul::desc(a, b, MatrixDesc(1, shape.n, shape.n, false), c)
                          : dnnl::matmul::desc(a, b, c);
    descriptor_ = dnnl::matmul::primitive_desc(desc, attr, Engine());
    primitive_ = dnnl::matmul(descriptor_);
  }

  size_t scratch_bytes() const override { return descriptor_.scratchpad_desc().get_size(); }
  bool has_bias() const { return has_bias_; }
  const dnnl::matmul::primitive_desc& descriptor() const { return descriptor_; }
  const dnnl::matmul& primitive() const { return primitive_; }

 private:
  bool has_bias_;
  dnnl::matmul::primitive_desc descriptor_;
  dnnl::matmul primitive_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const MatMul>> MatMul::Create(const MatMulShape& shape) {
  try {
    return std::make_shared<const DnnlMatMul>(shape);
  } catch (const dnnl::error& error) {
    return absl::InternalError(absl::StrCat("oneDNN: matrix product ", shape.m, " x ", shape.n,
                                            " x ", shape.k, ": ", error.what()));
  }
}

// The memory objects stay; only their data pointers change from call to call.
struct MatMulCall::Handles {
  explicit Handles(std::shared_ptr<const MatMul> matmul)
      : owner(std::move(matmul)),
        product(static_cast<const DnnlMatMul&>(*owner)),
        stream(Engine()),
        a(product.descriptor().src_desc(), Engine(), nullptr),
        b(product.descriptor().weights_desc(), Engine(), nullptr),
        c(product.descriptor().dst_desc(), Engine(), nullptr),
        scratch(product.descriptor().scratchpad_desc(), Engine(), nullptr) {
    arguments = {{DNNL_ARG_SRC, a.get()},
                 {DNNL_ARG_WEIGHTS, b.get()},
                 {DNNL_ARG_DST, c.get()},
                 {DNNL_ARG_SCRATCHPAD, scratch.get()}};
    if (!product.has_bias()) return;
    bias = memory(product.descriptor().bias_desc(), Engine(), nullptr);
    arguments.push_back({DNNL_ARG_BIAS, bias.get()});
  }

  std::shared_ptr<const MatMul> owner;
  const DnnlMatMul& product;
  dnnl::stream stream;
  memory a, b, c, scratch, bias;
  std::vector<dnnl_exec_arg_t> arguments;
};

MatMulCall::MatMulCall(std::shared_ptr<const MatMul> product)
    : handles_(std::make_unique<Handles>(std::move(product))) {}
MatMulCall::MatMulCall(MatMulCall&&) noexcept = default;
MatMulCall::~MatMulCall() = default;

void MatMulCall::Run(const float* a, const float* b, const float* bias, float* c, void* scratch) {
  Handles& h = *handles_;
  const auto point = [](const memory& m, const void* data) {
    CHECK_EQ(dnnl_memory_set_data_handle(m.get(), const_cast<void*>(data)), dnnl_success);
  };
  point(h.a, a);
  point(h.b, b);
  point(h.c, c);
  point(h.scratch, scratch);
  if (h.product.has_bias()) point(h.bias, bias);
  // The C call, because the C++ one builds a map of its arguments each time.
  CHECK_EQ(dnnl_primitive_execute(h.product.primitive().get(), h.stream.get(),
                                  static_cast<int>(h.arguments.size()), h.arguments.data()),
           dnnl_success);
}

void UseOneThread() { omp_set_num_threads(1); }

}  // namespace pagoda
