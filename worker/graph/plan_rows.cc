// The operations of nodes that work row by row (row_ops.h), and those of tied layers.
#include <glog/logging.h>

#include <utility>

#include "worker/graph/arena.h"
#include "worker/graph/planner.h"

namespace pagoda {
namespace {

Slot Shift(Slot slot, int columns) {
  return slot.buffer < 0 ? slot : Slot{slot.buffer, slot.column + columns};
}

}  // namespace

void Planner::PlaceRowParameters(int n) {
  const Graph::Node& node = nodes_[n];
  const bool is_norm = node.kind != NodeKind::kActivation;
  const int d = is_norm ? node.block_width() : 1;
  for (int i = 0; i < node.blocks(); ++i) {
    weights_[n].push_back({Reserve(d), RoundUp(d, kLineFloats)});
    biases_[n].push_back(is_norm ? Reserve(d) : -1);
  }
}

// ------------------------------------------------------------------------------------ forward

void Planner::ForwardRows(int n) {
  const Graph::Node& node = nodes_[n];
  const Slot x = values_[node.inputs[0].node], y = values_[n];
  switch (node.kind) {
    case NodeKind::kColumns:
      return CopyColumns(n, x, y);
    case NodeKind::kConcat:
      return ForwardConcat(n);
    case NodeKind::kAdd:
      return ForwardAdd(n);
    case NodeKind::kMultiply:
      plan_.forward.push_back(RowOp{.kind = RowOp::kMultiply,
                                    .x = x,
                                    .x2 = values_[node.inputs[1].node],
                                    .out = y,
                                    .width = node.width});
      return;
    case NodeKind::kSumColumns:
      plan_.forward.push_back(RowOp{.kind = RowOp::kSum,
                                    .x = x,
                                    .out = y,
                                    .width = graph_.width(node.inputs[0]) / node.width,
                                    .parts = node.width});
      return;
    case NodeKind::kActivation:
    case NodeKind::kLayerNorm:
      for (int i = 0; i < RowBlocks(n); ++i) plan_.forward.push_back(RowBlockOp(n, i));
      return;
    case NodeKind::kSelector:
      for (int i = 0; i < node.parts; ++i) plan_.forward.push_back(SelectorOp(n, i));
      return;
    default:
      LOG(FATAL) << "node " << n << " is not of rows";
  }
}

void Planner::CopyColumns(int n, Slot x, Slot y) {
  for (const ColumnRange& range : nodes_[n].ranges) {
    plan_.forward.push_back(
        RowOp{.kind = RowOp::kScale, .x = Shift(x, range.begin), .out = y, .width = range.count});
    y = Shift(y, range.count);
  }
}

void Planner::ForwardConcat(int n) {
  Slot y = values_[n];
  for (Value input : nodes_[n].inputs) {
    const int width = graph_.width(input);
    plan_.forward.push_back(
        RowOp{.kind = RowOp::kScale, .x = values_[input.node], .out = y, .width = width});
    y = Shift(y, width);
  }
}

void Planner::ForwardAdd(int n) {
  const Graph::Node& node = nodes_[n];
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    plan_.forward.push_back(RowOp{.kind = RowOp::kScale,
                                  .x = values_[node.inputs[i].node],
                                  .out = values_[n],
                                  .width = node.width,
                                  .scale = static_cast<float>(node.scales[i]),
                                  .accumulate = i > 0});
  }
}

// PReLU and LayerNorm work block by block, other activations on all columns at once.
int Planner::RowBlocks(int n) const {
  return nodes_[n].block_names.empty() ? 1 : nodes_[n].blocks();
}

RowOp Planner::RowBlockOp(int n, int i) const {
  const Graph::Node& node = nodes_[n];
  const int width = node.width / RowBlocks(n);
  const bool is_norm = node.kind == NodeKind::kLayerNorm;
  RowOp op{.kind = is_norm ? RowOp::kNormalize : RowOp::kActivate,
           .x = Shift(values_[node.inputs[0].node], i * width),
           .out = Shift(values_[n], i * width),
           .width = width,
           .activation = node.activation};
  if (!node.block_names.empty()) op.w = weights_[n][i].offset;
  if (is_norm) op.b = biases_[n][i];
  return op;
}

RowOp Planner::SelectorOp(int n, int i) const {
  const Graph::Node& node = nodes_[n];
  const int bits = graph_.width(node.inputs[0]) / node.parts;
  return RowOp{.kind = RowOp::kSelect,
               .x = Shift(values_[node.inputs[0].node], i * bits),
               .out = Shift(values_[n], i << bits),
               .width = bits,
               .scale = static_cast<float>(node.gamma)};
}

// ------------------------------------------------------------------------------------ backward

void Planner::BackwardRows(int n, Pass* pass) const {
  const Graph::Node& node = nodes_[n];
  switch (node.kind) {
    case NodeKind::kColumns:
      return BackwardColumns(n, pass);
    case NodeKind::kConcat:
      return BackwardConcat(n, pass);
    case NodeKind::kAdd:
      return BackwardAdd(n, pass);
    case NodeKind::kMultiply:
      return BackwardMultiply(n, pass);
    case NodeKind::kSumColumns:
      if (!pass->wants[node.inputs[0].node]) return;
      pass->ops.push_back(RowOp{.kind = RowOp::kSpread,
                                .dy = pass->gradients[n],
                                .out = pass->gradients[node.inputs[0].node],
                                .width = graph_.width(node.inputs[0]) / node.width,
                                .parts = node.width,
                                .accumulate = pass->MarkWritten(node.inputs[0].node)});
      return;
    case NodeKind::kActivation:
    case NodeKind::kLayerNorm:
      return BackwardRowBlocks(n, pass);
    case NodeKind::kSelector:
      return BackwardSelector(n, pass);
    default:
      LOG(FATAL) << "node " << n << " is not of rows";
  }
}

void Planner::BackwardColumns(int n, Pass* pass) const {
  const Value input = nodes_[n].inputs[0];
  if (!pass->wants[input.node]) return;
  const Slot dx = pass->gradients[input.node];
  if (!pass->MarkWritten(input.node)) pass->ops.push_back(ZeroOp{dx, graph_.width(input)});
  Slot dy = pass->gradients[n];
  for (const ColumnRange& range : nodes_[n].ranges) {
    pass->ops.push_back(RowOp{.kind = RowOp::kScale,
                              .x = dy,
                              .out = Shift(dx, range.begin),
                              .width = range.count,
                              .accumulate = true});
    dy = Shift(dy, range.count);
  }
}

void Planner::AddScaled(Slot dy, float scale, Value input, Pass* pass) const {
  if (!pass->wants[input.node]) return;
  pass->ops.push_back(RowOp{.kind = RowOp::kScale,
                            .x = dy,
                            .out = pass->gradients[input.node],
                            .width = graph_.width(input),
                            .scale = scale,
                            .accumulate = pass->MarkWritten(input.node)});
}

void Planner::BackwardConcat(int n, Pass* pass) const {
  Slot dy = pass->gradients[n];
  for (Value input : nodes_[n].inputs) {
    AddScaled(dy, 1, input, pass);
    dy = Shift(dy, graph_.width(input));
  }
}

void Planner::BackwardAdd(int n, Pass* pass) const {
  const Graph::Node& node = nodes_[n];
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    AddScaled(pass->gradients[n], static_cast<float>(node.scales[i]), node.inputs[i], pass);
  }
}

void Planner::BackwardMultiply(int n, Pass* pass) const {
  const Graph::Node& node = nodes_[n];
  for (int i = 0; i < 2; ++i) {
    const Value factor = node.inputs[i], other = node.inputs[1 - i];
    if (!pass->wants[factor.node]) continue;
    pass->ops.push_back(RowOp{.kind = RowOp::kMultiply,
                              .x = pass->gradients[n],
                              .x2 = values_[other.node],
                              .out = pass->gradients[factor.node],
                              .width = node.width,
                              .accumulate = pass->MarkWritten(factor.node)});
  }
}

void Planner::BackwardRowBlocks(int n, Pass* pass) const {
  const Graph::Node& node = nodes_[n];
  const Value input = node.inputs[0];
  const int width = node.width / RowBlocks(n);
  const Slot dx = pass->gradients[input.node];
  const bool accumulate = dx.buffer >= 0 && pass->MarkWritten(input.node);
  for (int i = 0; i < RowBlocks(n); ++i) {
    RowOp op = RowBlockOp(n, i);
    const bool is_norm = op.kind == RowOp::kNormalize;
    op.kind = is_norm ? RowOp::kNormalizeGradient : RowOp::kActivateGradient;
    if (!is_norm) op.y = op.out;
    op.dy = Shift(pass->gradients[n], i * width);
    op.out = Shift(dx, i * width);
    op.wants_dw = op.w >= 0 && pass->owns_w[n][i];
    op.wants_db = op.b >= 0 && pass->owns_b[n][i];
    op.accumulate = accumulate;
    pass->ops.push_back(op);
  }
}

void Planner::BackwardSelector(int n, Pass* pass) const {
  const Graph::Node& node = nodes_[n];
  const Value input = node.inputs[0];
  if (!pass->wants[input.node]) return;
  const bool accumulate = pass->MarkWritten(input.node);
  for (int i = 0; i < node.parts; ++i) {
    RowOp op = SelectorOp(n, i);
    op.kind = RowOp::kSelectGradient;
    op.dy = Shift(pass->gradients[n], i << op.width);
    op.out = Shift(pass->gradients[input.node], i * op.width);
    op.accumulate = accumulate;
    pass->ops.push_back(op);
  }
}

// Each block adds to the gradients that the first wrote.
void Planner::BackwardTied(int n, Pass* pass) const {
  const Graph::Node& node = nodes_[n];
  const int input = node.inputs[0].node, width = node.block_width();
  const bool wants_input = pass->wants[input];
  const bool accumulate = wants_input && pass->MarkWritten(input);
  for (int i = 0; i < node.blocks(); ++i) {
    const Slot y = Shift(values_[n], i * width), dy = Shift(pass->gradients[n], i * width);
    const int64_t bias = node.bias && pass->owns_b[n][0] ? biases_[n][0] : -1;
    if (node.activation != IDENTITY || bias >= 0) {
      pass->ops.push_back(ActivationGradientOp{y, dy, width, node.activation, bias, i > 0});
    }
    if (pass->owns_w[n][0]) {
      ProductOp op =
          BlockProduct(ProductOp::kWeightGradient, n, i, values_[input], pass->gradients[n]);
      op.accumulate = i > 0;
      pass->ops.push_back(op);
    }
    if (!wants_input) continue;
    ProductOp op =
        BlockProduct(ProductOp::kInputGradient, n, i, pass->gradients[input], pass->gradients[n]);
    op.accumulate = accumulate;
    pass->ops.push_back(op);
  }
}

}  // namespace pagoda
