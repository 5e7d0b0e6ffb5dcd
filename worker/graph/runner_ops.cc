#include <algorithm>
#include <cstring>

#include "worker/graph/dropout.h"
#include "worker/graph/heads.h"
#include "worker/graph/runner.h"

namespace pagoda {
namespace {

void Gather(Columns from, int rows, int width, double* to) {
  for (int r = 0; r < rows; ++r) to = std::copy_n(from.data + r * from.ld, width, to);
}

void Scatter(const double* from, int rows, int width, Columns to) {
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < width; ++c) {
      to.data[r * to.ld + c] = static_cast<float>(*from++);
    }
  }
}

// The first `drawn` rows with `of`'s multiplier, the others with 1.
void MultiplyTile(KeptProduct of, int drawn) {
  const int rows = of.rows;
  of.rows = drawn;
  MultiplyKept(of);
  for (Columns* columns : {&of.x, &of.kept, &of.y}) columns->data = columns->Row(drawn);
  of.rows = rows - drawn;
  of.multiplier = 1;
  MultiplyKept(of);
}

}  // namespace

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
      if (op.x.buffer == InputGradientBuffer(pass_) && pass_args_->dx == nullptr) break;
      call->Run(y, w, nullptr, x, scratch_.get());
      break;
    case ProductOp::kWeightGradient:
      call->Run(x, y, nullptr, pass_args_->gradients + op.w.offset, scratch_.get());
      break;
  }
}

void CompiledRunner::Execute(const ActivationOp& op, const Tile& tile) {
  ApplyActivation(op.activation, tile.rows, op.width, At(op.y));
}

void CompiledRunner::Execute(const ActivationGradientOp& op, const Tile& tile) {
  ApplyActivationGradient(op.activation, tile.rows, op.width, At(op.y), At(op.dy));
  if (op.bias < 0) return;
  SumRows(tile.rows, op.width, At(op.dy), !tile.is_first || op.accumulate_bias,
          pass_args_->gradients + op.bias);
}

void CompiledRunner::Execute(const SoftmaxOp& op, const Tile& tile) {
  SoftmaxRows(tile.rows, op.width, At(op.x), At(op.y));
}

void CompiledRunner::Execute(const SoftmaxGradientOp& op, const Tile& tile) {
  SoftmaxRowsGradient(tile.rows, op.width, At(op.y), At(op.dy), At(op.dx), op.accumulate);
}

void CompiledRunner::Execute(const MixtureOp& op, const Tile& tile) {
  for (size_t e = 0; e < op.experts.size(); ++e) {
    AddScaledRows(tile.rows, op.width, Shift(At(op.gate), e), At(op.experts[e]), At(op.y), e > 0);
  }
}

void CompiledRunner::Execute(const MixtureGradientOp& op, const Tile& tile) {
  for (size_t e = 0; e < op.experts.size(); ++e) {
    if (op.dgate.buffer >= 0) {
      DotRows(tile.rows, op.width, At(op.dy), At(op.experts[e]), Shift(At(op.dgate), e),
              op.accumulate_gate);
    }
    if (op.dexperts[e].buffer >= 0) {
      AddScaledRows(tile.rows, op.width, Shift(At(op.gate), e), At(op.dy), At(op.dexperts[e]),
                    op.accumulate_expert[e]);
    }
  }
}

void CompiledRunner::Execute(const RowOp& op, const Tile& tile) {
  RunRowOp(op, {.rows = tile.rows,
                .x = At(op.x),
                .x2 = At(op.x2),
                .y = At(op.y),
                .dy = At(op.dy),
                .out = At(op.out),
                .parameters = tile.args->parameters,
                .gradients = pass_args_ == nullptr ? nullptr : pass_args_->gradients,
                .accumulate_gradients = !tile.is_first});
}

// In double: a few values a row, and the loss is a sum over a whole slice.
void CompiledRunner::Execute(const HeadOp& op, const Tile& tile) {
  const RunArgs& args = *tile.args;
  const Graph::HeadSpec& head = program_.heads()[op.head];
  const bool is_product = head.kind == HeadKind::kProduct;
  const bool has_loss = op.loss >= 0 && NeedsLosses(args);
  if (args.predictions.empty() && !has_loss) return;
  HeadBuffers& in = head_buffers_;
  Gather(At(op.x), tile.rows, op.width, in.x.data());
  if (is_product) Gather(At(op.y), tile.rows, 1, in.y.data());
  float* predictions = args.predictions.empty() ? nullptr : args.predictions[op.head];
  for (int r = 0; predictions != nullptr && r < tile.valid; ++r) {
    predictions[tile.begin + r] = static_cast<float>(
        PredictionOfRow(head, in.x.data() + r * op.width, op.width, is_product ? in.y[r] : 0.0));
  }
  if (!has_loss) return;
  for (int r = 0; r < tile.rows; ++r) {
    const bool is_valid = r < tile.valid;
    in.weights[r] = is_valid ? args.loss_weights[op.loss][tile.begin + r] : 0.0f;
    in.labels[r] = is_valid ? args.labels[op.loss][tile.begin + r] : 0.0f;
  }
  double loss = 0;
  const int step = head.kind == HeadKind::kPairwise ? kPairRows : tile.rows;
  for (int begin = 0; begin < tile.rows; begin += step) {
    loss += LossOfRows<double>(head, {.rows = step,
                                      .width = op.width,
                                      .x = in.x.data() + begin * op.width,
                                      .y = is_product ? in.y.data() + begin : nullptr,
                                      .labels = in.labels.data() + begin,
                                      .weights = in.weights.data() + begin,
                                      .dx = in.dx.data() + begin * op.width,
                                      .dy = is_product ? in.dy.data() + begin : nullptr});
  }
  if (args.losses != nullptr) args.losses[op.loss] += loss;
  Scatter(in.dx.data(), tile.rows, op.width, At(op.dx));
  if (is_product) Scatter(in.dy.data(), tile.rows, 1, At(op.dy));
}

void CompiledRunner::Execute(const SeedOp& op, const Tile& tile) {
  const std::vector<float>& scales = pass_args_->head_scales;
  const float scale = scales.empty() ? 1.0f : scales[op.loss];
  const Columns seed = At(op.seed), dx = At(op.dx);
  for (int r = 0; r < tile.rows; ++r) {
    for (int c = 0; c < op.width; ++c) {
      const float value = scale * seed.data[r * seed.ld + c];
      float& out = dx.data[r * dx.ld + c];
      out = op.accumulate ? out + value : value;
    }
  }
}

// Rows of padding, and all while not training, keep everything: multipliers of 1.
void CompiledRunner::Execute(const DropoutOp& op, const Tile& tile) {
  const StepContext& context = tile.args->context;
  const int drawn = context.training ? tile.valid : 0;
  const Columns kept = At(op.kept);
  if (drawn > 0) {
    DrawKept({draw_keys_[op.draw], context.step, op.rate},
             absl::MakeConstSpan(context.global_rows + tile.begin, drawn), op.width, kept);
  }
  for (int r = drawn; r < tile.rows; ++r) {
    std::memset(kept.Row(r), 0xFF, KeptFloats(op.width) * sizeof(float));
  }
  MultiplyTile({.rows = tile.rows,
                .width = op.width,
                .x = At(op.x),
                .kept = kept,
                .y = At(op.y),
                .multiplier = KeptMultiplier<float>(op.rate),
                .accumulate = false},
               drawn);
}

void CompiledRunner::Execute(const DropoutGradientOp& op, const Tile& tile) {
  MultiplyTile({.rows = tile.rows,
                .width = op.width,
                .x = At(op.dy),
                .kept = At(op.kept),
                .y = At(op.dx),
                .multiplier = KeptMultiplier<float>(op.rate),
                .accumulate = op.accumulate},
               tile.args->context.training ? tile.valid : 0);
}

void CompiledRunner::Execute(const AttentionOp& op, const Tile& tile) {
  const Columns q = At(op.q), k = At(op.k), v = At(op.v), mask = At(op.mask), y = At(op.y);
  for (int r = 0; r < tile.rows; ++r) {
    AttendRow(op.shape, {q.Row(r), k.Row(r), v.Row(r), mask.Row(r)}, &attention_scratch_, y.Row(r));
  }
}

void CompiledRunner::Execute(const AttentionGradientOp& op, const Tile& tile) {
  const AttentionOp& of = op.of;
  const Columns q = At(of.q), k = At(of.k), v = At(of.v), mask = At(of.mask), dy = At(op.dy);
  const Columns d[3] = {At(op.d[0]), At(op.d[1]), At(op.d[2])};
  for (int r = 0; r < tile.rows; ++r) {
    float* row_of[3];
    for (int i = 0; i < 3; ++i) {
      row_of[i] = d[i].data == nullptr ? nullptr : d[i].Row(r);
      if (row_of[i] == nullptr || op.accumulate[i]) continue;
      std::fill_n(row_of[i], of.shape.places * of.shape.width, 0.0f);
    }
    AttendRowGradient(of.shape, {q.Row(r), k.Row(r), v.Row(r), mask.Row(r)}, dy.Row(r),
                      &attention_scratch_, {row_of[0], row_of[1], row_of[2]});
  }
}

void CompiledRunner::Execute(const BatchSumsOp& op, const Tile& tile) {
  if (!tile.args->context.training) return;
  const BatchNormLayer& layer = plan_.batch_norms[op.layer];
  AddMoments(tile.valid, layer.width, At(op.x), own_sums_ + layer.sums);
}

void CompiledRunner::Execute(const BatchNormOp& op, const Tile& tile) {
  const BatchNormLayer& layer = plan_.batch_norms[op.layer];
  NormalizeColumns(tile.rows, layer.width, At(op.x), NormalizerOf(layer),
                   tile.args->parameters + layer.gain, tile.args->parameters + layer.b, At(op.y));
}

// The gradients of gain and b are this slice's sums so far.
void CompiledRunner::Execute(const BatchGradientSumsOp& op, const Tile& tile) {
  const BatchNormLayer& layer = plan_.batch_norms[op.layer];
  double* const db = own_sums_ + op.sums;
  double* const dgain = db + layer.width;
  AddGradientMoments(tile.valid, layer.width, At(op.x), NormalizerOf(layer), At(op.dy), db);
  const auto store = [&](bool is_wanted, const double* sums, int64_t offset) {
    if (is_wanted) std::copy_n(sums, layer.width, pass_args_->gradients + offset);
  };
  store(op.wants_db, db, layer.b);
  store(op.wants_dgain, dgain, layer.gain);
}

void CompiledRunner::Execute(const BatchNormGradientOp& op, const Tile& tile) {
  const BatchNormLayer& layer = plan_.batch_norms[op.layer];
  const int sums = 2 * layer.width;  // Of dy, and of dy xhat.
  std::fill_n(gradient_means_.begin(), sums, 0.0f);
  for (int i = 0; lane_sums_ != nullptr && i < sums; ++i) {
    gradient_means_[i] = static_cast<float>(lane_sums_[op.sums + i] / lane_sums_[0]);
  }
  NormalizeColumnsGradient({.rows = tile.valid,
                            .padded_rows = tile.rows,
                            .width = layer.width,
                            .normalizer = NormalizerOf(layer),
                            .gain = tile.args->parameters + layer.gain,
                            .mean_dy = gradient_means_.data(),
                            .mean_product = gradient_means_.data() + layer.width},
                           At(op.x), At(op.dy), At(op.dx), op.accumulate);
}

void CompiledRunner::Execute(const ZeroOp& op, const Tile& tile) {
  const Columns x = At(op.x);
  for (int r = 0; r < tile.rows; ++r) {
    std::fill(x.data + r * x.ld, x.data + r * x.ld + op.width, 0.0f);
  }
}

}  // namespace pagoda
