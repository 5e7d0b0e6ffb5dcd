#include "worker/graph/program.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/random.h"
#include "worker/graph/compiled_program.h"
#include "worker/graph/plain_nodes.h"

namespace pagoda {
namespace {

MatMulShape ShapeOf(const ProductOp& op, const std::vector<ArenaBuffer>& buffers, int rows,
                    bool is_first_tile) {
  const int64_t ldx = buffers[op.x.buffer].ld, ldy = buffers[op.y.buffer].ld;
  switch (op.kind) {
    case ProductOp::kForward:
      return {.m = rows,
              .n = op.out,
              .k = op.in,
              .lda = ldx,
              .ldb = op.w.stride,
              .ldc = ldy,
              .bias = op.bias >= 0,
              .relu = op.relu};
    case ProductOp::kInputGradient:
      return {.m = rows,
              .n = op.in,
              .k = op.out,
              .lda = ldy,
              .ldb = op.w.stride,
              .ldc = ldx,
              .transpose_b = true,
              .accumulate = op.accumulate};
    case ProductOp::kWeightGradient:
      return {.m = op.in,
              .n = op.out,
              .k = rows,
              .lda = ldx,
              .ldb = ldy,
              .ldc = op.w.stride,
              .transpose_a = true,
              .accumulate = !is_first_tile || op.accumulate};
  }
  return {};
}

// What all elements of a parameter start at, if they are not drawn.
std::optional<float> ConstantStart(const std::string& name) {
  if (absl::EndsWith(name, "/gain")) return 1.0f;
  if (absl::EndsWith(name, "/slope")) return kPreluStart;
  if (absl::EndsWith(name, kRunningMean)) return 0.0f;
  if (absl::EndsWith(name, kRunningVariance)) return 1.0f;
  return std::nullopt;
}

}  // namespace

absl::Status CompiledProgram::CreateProducts() {
  UseOneThread();
  for (size_t h = 0; h < std::size(kHeights); ++h) {
    RETURN_IF_ERROR(CreateProducts(plan_.forward, kHeights[h], &forward_[h]));
    for (const PassPlan& pass : plan_.passes) {
      RETURN_IF_ERROR(CreateProducts(pass.ops, kHeights[h], &passes_[h].emplace_back()));
    }
  }
  return absl::OkStatus();
}

absl::Status CompiledProgram::CreateProducts(const std::vector<Op>& ops, int rows,
                                             Products* products) {
  for (const Op& op : ops) {
    products->first.emplace_back();
    products->later.emplace_back();
    const auto* product = std::get_if<ProductOp>(&op);
    if (product == nullptr) continue;
    RETURN_IF_ERROR(
        CreateProduct(ShapeOf(*product, plan_.buffers, rows, true), &products->first.back()));
    products->later.back() = products->first.back();
    if (product->kind != ProductOp::kWeightGradient) continue;
    RETURN_IF_ERROR(
        CreateProduct(ShapeOf(*product, plan_.buffers, rows, false), &products->later.back()));
  }
  return absl::OkStatus();
}

absl::Status CompiledProgram::CreateProduct(const MatMulShape& shape,
                                            std::shared_ptr<const MatMul>* product) {
  ASSIGN_OR_RETURN(*product, MatMul::Create(shape));
  scratch_bytes_ = std::max(scratch_bytes_, (*product)->scratch_bytes());
  return absl::OkStatus();
}

void CompiledProgram::InitParameters(uint64_t seed, float* parameters) const {
  std::fill(parameters, parameters + plan_.parameter_count, 0.0f);
  for (const ParameterView& view : plan_.parameters) {
    if (absl::EndsWith(view.name, "/b")) continue;
    if (const std::optional<float> start = ConstantStart(view.name); start.has_value()) {
      std::fill_n(parameters + view.offset, view.columns, *start);
      continue;
    }
    const uint64_t key = StreamKey(seed, absl::StrCat("dense/", view.name));
    const float limit = std::sqrt(6.0f / static_cast<float>(view.rows + view.columns));
    for (int r = 0; r < view.rows; ++r) {
      for (int c = 0; c < view.columns; ++c) {
        const uint64_t i = static_cast<uint64_t>(r) * view.columns + c;
        const float u = ToUnitFloat(Philox(key, 0, i / 4)[i % 4]);
        parameters[view.offset + r * view.stride + c] = limit * (2 * u - 1);
      }
    }
  }
}

absl::StatusOr<std::unique_ptr<Program>> Program::Compile(Graph graph, const Options& options) {
  auto program = std::make_unique<CompiledProgram>(std::move(graph), options);
  RETURN_IF_ERROR(program->CreateProducts());
  return program;
}

absl::StatusOr<std::unique_ptr<Program>> Program::Compile(Graph graph) {
  return Compile(std::move(graph), Options());
}

int SliceCount(int rows) { return rows < 128 ? 1 : rows < 1024 ? 2 : 4; }

}  // namespace pagoda
