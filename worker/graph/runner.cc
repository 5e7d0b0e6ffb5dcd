// Runs a compiled program over a slice, tile by tile.
#include <glog/logging.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "worker/graph/compiled_program.h"
#include "worker/graph/heads.h"
#include "worker/graph/kernels.h"

namespace pagoda {
namespace {

int HeightFor(int rows_left) {
  for (int height : kHeights) {
    if (height <= rows_left) return height;
  }
  return kHeights[std::size(kHeights) - 1];
}

// 64-byte aligned memory of a fixed size, zeros at first.
class AlignedFloats {
 public:
  explicit AlignedFloats(size_t count)
      : data_(static_cast<float*>(
            std::aligned_alloc(64, std::max<size_t>(64, (count * sizeof(float) + 63) / 64 * 64)))) {
    CHECK(data_ != nullptr) << "no memory for " << count << " floats";
    std::fill(data_.get(), data_.get() + count, 0.0f);
  }
  float* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };
  std::unique_ptr<float, Free> data_;
};

class CompiledRunner : public Runner {
 public:
  explicit CompiledRunner(const CompiledProgram& program)
      : program_(program),
        plan_(program.plan()),
        input_width_(program.input_width()),
        arena_(plan_.arena_floats_per_row * Program::kTileRows),
        scratch_((program.scratch_bytes() + sizeof(float) - 1) / sizeof(float)) {
    bases_.resize(plan_.buffers.size());
    for (size_t h = 0; h < std::size(kHeights); ++h) {
      AddCalls(program.forward(h).first, &calls_[h].forward);
      AddCalls(program.backward(h).first, &calls_[h].backward_first);
      AddCalls(program.backward(h).later, &calls_[h].backward_later);
    }
    for (const Graph::HeadSpec& head : program.heads()) loss_count_ += head.has_loss;
  }

  void Run(const RunArgs& args) override;

 private:
  using Calls = std::vector<std::unique_ptr<MatMulCall>>;  // [op], null for other operations
  struct CallsOfHeight {
    Calls forward, backward_first, backward_later;
  };

  // A tile: rows [begin, begin + valid) of the slice; the rest of `rows` is padding.
  struct Tile {
    const RunArgs* args;
    int begin, valid, rows;
    bool is_first;
  };

  static void AddCalls(const std::vector<std::shared_ptr<const MatMul>>& products, Calls* calls) {
    for (const auto& product : products) {
      calls->push_back(product ? std::make_unique<MatMulCall>(product) : nullptr);
    }
  }

  void RunTile(const Tile& tile);
  void PlaceTile(const Tile& tile);
  void TakeInputGradient(const Tile& tile);
  void RunOps(const std::vector<Op>& ops, const Calls& calls, const Tile& tile);

  void Execute(const ProductOp& op, const Tile& tile, MatMulCall* call);
  void Execute(const HeadOp& op, const Tile& tile);
  void Execute(const ActivationOp& op, const Tile& tile) {
    ApplyActivation(op.activation, tile.rows, op.width, At(op.y));
  }
  void Execute(const ActivationGradientOp& op, const Tile& tile) {
    ApplyActivationGradient(op.activation, tile.rows, op.width, At(op.y), At(op.dy));
    if (op.bias < 0) return;
    SumRows(tile.rows, op.width, At(op.dy), !tile.is_first, tile.args->gradients + op.bias);
  }
  void Execute(const SoftmaxOp& op, const Tile& tile) {
    SoftmaxRows(tile.rows, op.width, At(op.x), At(op.y));
  }
  void Execute(const SoftmaxGradientOp& op, const Tile& tile) {
    SoftmaxRowsGradient(tile.rows, op.width, At(op.y), At(op.dy), At(op.dx), op.accumulate);
  }
  void Execute(const MixtureOp& op, const Tile& tile);
  void Execute(const MixtureGradientOp& op, const Tile& tile);
  void Execute(const ZeroOp& op, const Tile& tile) {
    const Columns x = At(op.x);
    for (int r = 0; r < tile.rows; ++r) {
      std::fill(x.data + r * x.ld, x.data + r * x.ld + op.width, 0.0f);
    }
  }

  Columns At(Slot slot) const {
    if (slot.buffer < 0) return {};
    return {bases_[slot.buffer] + slot.column, plan_.buffers[slot.buffer].ld};
  }
  static Columns Shift(Columns columns, int by) { return {columns.data + by, columns.ld}; }

  const CompiledProgram& program_;
  const Plan& plan_;
  const int input_width_;
  int loss_count_ = 0;
  AlignedFloats arena_, scratch_;
  std::vector<float*> bases_;  // [buffer], of the running tile
  CallsOfHeight calls_[std::size(kHeights)];
};

void CompiledRunner::Run(const RunArgs& args) {
  UseOneThread();
  const FlushDenormals flush;
  const bool has_loss = args.losses != nullptr || args.gradients != nullptr;
  if (has_loss) {
    CHECK_EQ(static_cast<int>(args.labels.size()), loss_count_);
    CHECK_EQ(static_cast<int>(args.loss_weights.size()), loss_count_);
  }
  CHECK(args.predictions.empty() || args.predictions.size() == program_.heads().size());
  CHECK(args.dx == nullptr || args.gradients != nullptr);
  if (args.losses != nullptr) std::fill(args.losses, args.losses + loss_count_, 0.0);
  if (args.gradients != nullptr) {
    for (const FlatRange& range : plan_.zero_gradients) {
      std::memset(args.gradients + range.offset, 0, range.count * sizeof(float));
    }
    if (args.rows == 0) {
      std::memset(args.gradients, 0, plan_.parameter_count * sizeof(float));
    }
  }
  for (int begin = 0; begin < args.rows;) {
    const int left = args.rows - begin, height = HeightFor(left);
    const int valid = std::min(left, height);
    RunTile({&args, begin, valid, height, begin == 0});
    begin += valid;
  }
}

void CompiledRunner::RunTile(const Tile& tile) {
  PlaceTile(tile);
  const auto index = std::find(std::begin(kHeights), std::end(kHeights), tile.rows);
  const CallsOfHeight& calls = calls_[index - std::begin(kHeights)];
  RunOps(plan_.forward, calls.forward, tile);
  if (tile.args->gradients == nullptr) return;
  RunOps(plan_.backward, tile.is_first ? calls.backward_first : calls.backward_later, tile);
  TakeInputGradient(tile);
}

// Full tiles read x and write dx where they are; a short one goes through the arena.
void CompiledRunner::PlaceTile(const Tile& tile) {
  for (size_t b = 0; b < bases_.size(); ++b) {
    bases_[b] = arena_.get() + plan_.buffers[b].offset * tile.rows;
  }
  const int64_t first = int64_t{tile.begin} * input_width_;
  if (tile.valid == tile.rows) {
    bases_[kInputBuffer] = const_cast<float*>(tile.args->x) + first;
    if (tile.args->dx != nullptr) bases_[kInputGradientBuffer] = tile.args->dx + first;
    return;
  }
  const int64_t valid_floats = int64_t{tile.valid} * input_width_;
  std::copy_n(tile.args->x + first, valid_floats, bases_[kInputBuffer]);
  std::fill(bases_[kInputBuffer] + valid_floats,
            bases_[kInputBuffer] + int64_t{tile.rows} * input_width_, 0.0f);
}

void CompiledRunner::TakeInputGradient(const Tile& tile) {
  if (tile.args->dx == nullptr || tile.valid == tile.rows) return;
  std::copy_n(bases_[kInputGradientBuffer], int64_t{tile.valid} * input_width_,
              tile.args->dx + int64_t{tile.begin} * input_width_);
}

void CompiledRunner::RunOps(const std::vector<Op>& ops, const Calls& calls, const Tile& tile) {
  for (size_t i = 0; i < ops.size(); ++i) {
    if (const auto* product = std::get_if<ProductOp>(&ops[i])) {
      Execute(*product, tile, calls[i].get());
      continue;
    }
    std::visit(
        [&](const auto& op) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(op)>, ProductOp>) Execute(op, tile);
        },
        ops[i]);
  }
}

void CompiledRunner::Execute(const ProductOp& op, const Tile& tile, MatMulCall* call) {
  const float* w = tile.args->parameters + op.w.offset;
  float* x = At(op.x).data;
  float* y = At(op.y).data;
  switch (op.kind) {
    case ProductOp::kForward: {
      const float* bias = op.bias >= 0 ? tile.args->parameters + op.bias : nullptr;
      call->Run(x, w, bias, y, scratch_.get());
      break;
    }
    case ProductOp::kInputGradient:
      if (op.x.buffer == kInputGradientBuffer && tile.args->dx == nullptr) break;
      call->Run(y, w, nullptr, x, scratch_.get());
      break;
    case ProductOp::kWeightGradient:
      call->Run(x, y, nullptr, tile.args->gradients + op.w.offset, scratch_.get());
      break;
  }
}

void CompiledRunner::Execute(const MixtureOp& op, const Tile& tile) {
  for (size_t e = 0; e < op.experts.size(); ++e) {
    AddScaledRows(tile.rows, op.width, Shift(At(op.gate), e), At(op.experts[e]), At(op.y), e > 0);
  }
}

void CompiledRunner::Execute(const MixtureGradientOp& op, const Tile& tile) {
  for (size_t e = 0; e < op.experts.size(); ++e) {
    DotRows(tile.rows, op.width, At(op.dy), At(op.experts[e]), Shift(At(op.dgate), e),
            op.accumulate_gate);
    AddScaledRows(tile.rows, op.width, Shift(At(op.gate), e), At(op.dy), At(op.dexperts[e]),
                  op.accumulate_expert[e]);
  }
}

// In double: a few values a row, and the loss is a sum over a whole slice.
void CompiledRunner::Execute(const HeadOp& op, const Tile& tile) {
  const RunArgs& args = *tile.args;
  const bool is_product = op.kind == HeadKind::kProduct;
  const Columns x = At(op.x), y = At(op.y), dx = At(op.dx), dy = At(op.dy);
  const auto logit = [](Columns columns, int r) {
    return static_cast<double>(columns.data[r * columns.ld]);
  };
  const auto put = [](Columns columns, int r, double value, bool accumulate) {
    float& out = columns.data[r * columns.ld];
    out = accumulate ? out + static_cast<float>(value) : static_cast<float>(value);
  };
  float* predictions = args.predictions.empty() ? nullptr : args.predictions[op.head];
  if (predictions != nullptr) {
    for (int r = 0; r < tile.valid; ++r) {
      predictions[tile.begin + r] = static_cast<float>(
          HeadPrediction<double>(op.kind, logit(x, r), is_product ? logit(y, r) : 0));
    }
  }
  if (op.loss < 0 || (args.losses == nullptr && args.gradients == nullptr)) return;
  double loss = 0;
  for (int r = 0; r < tile.rows; ++r) {
    const float weight = r < tile.valid ? args.loss_weights[op.loss][tile.begin + r] : 0.0f;
    HeadLoss<double> l;
    if (weight != 0) {
      l = LossOfHead<double>(op.kind, logit(x, r), is_product ? logit(y, r) : 0,
                             args.labels[op.loss][tile.begin + r]);
      loss += weight * l.loss;
    }
    if (args.gradients == nullptr) continue;
    put(dx, r, weight * l.dx, op.accumulate_x);
    if (is_product) put(dy, r, weight * l.dy, op.accumulate_y);
  }
  if (args.losses != nullptr) args.losses[op.loss] += loss;
}

}  // namespace

std::unique_ptr<Runner> CompiledProgram::NewRunner() const {
  UseOneThread();
  return std::make_unique<CompiledRunner>(*this);
}

}  // namespace pagoda
