// The operations of each node kind, forward and backward. A backward function is called for nodes
// whose gradient its pass wants, and only then; pass->gradients of an input that the pass does not
// want is a slot without a buffer.
#include <algorithm>
#include <cstddef>
#include <utility>

#include "worker/graph/dropout.h"
#include "worker/graph/planner.h"

namespace pagoda {
namespace {

bool NeedsActivationOp(Activation activation) {
  return activation == SIGMOID || activation == TANH;
}

}  // namespace

// ------------------------------------------------------------------------------------ forward

void Planner::PlanForward() {
  const std::vector<int> stage_of = ForwardStages();
  const int last = *std::max_element(stage_of.begin(), stage_of.end());
  for (int stage = 0; stage <= last; ++stage) {
    if (stage > 0) EndStage(/*pass=*/-1, plan_.forward.size(), forward_sums_, &plan_.stages);
    forward_sums_ = 1;  // The number of rows.
    for (int n = 1; n < static_cast<int>(nodes_.size()); ++n) {
      if (!IsComputed(n)) continue;
      if (stage_of[n] == stage) ForwardNode(n);
      const bool is_next = nodes_[n].kind == NodeKind::kBatchNorm && stage_of[n] == stage + 1;
      if (is_next) ForwardBatchSums(n);
    }
  }
}

void Planner::ForwardNode(int n) {
  const Graph::Node& node = nodes_[n];
  const Slot x = values_[node.inputs[0].node];
  switch (node.kind) {
    case NodeKind::kInput:
    case NodeKind::kStopGradient:  // Its value is its input's.
      break;
    case NodeKind::kDense:
      if (groups_[group_of_node_[n]].first_node == n) ForwardGroup(groups_[group_of_node_[n]]);
      break;
    case NodeKind::kBlockDense:
      ForwardBlocks(n);
      break;
    case NodeKind::kSoftmax:
      plan_.forward.push_back(SoftmaxOp{x, values_[n], node.width});
      break;
    case NodeKind::kMixture:
      plan_.forward.push_back(MixtureOp{x, values_[n], ExpertsOf(n, values_), node.width});
      break;
    case NodeKind::kColumns:
    case NodeKind::kConcat:
    case NodeKind::kAdd:
    case NodeKind::kMultiply:
    case NodeKind::kSumColumns:
    case NodeKind::kActivation:
    case NodeKind::kLayerNorm:
    case NodeKind::kSelector:
      ForwardRows(n);
      break;
    case NodeKind::kBatchNorm:
      ForwardBatchNorm(n);
      break;
    case NodeKind::kAttention:
      plan_.forward.push_back(AttentionOf(n));
      break;
    case NodeKind::kDropout:
      ForwardDropout(n);
      break;
  }
}

std::vector<Planner::Run> Planner::RunsOf(const Group& group) const {
  std::vector<Run> runs;
  int column = 0;
  for (int n : group.nodes) {
    const Graph::Node& node = nodes_[n];
    if (runs.empty() || runs.back().activation != node.activation ||
        runs.back().bias != node.bias) {
      runs.push_back({column, 0, node.activation, node.bias});
    }
    runs.back().width += node.width;
    column += node.width;
  }
  return runs;
}

void Planner::ForwardGroup(const Group& group) {
  for (const Run& run : RunsOf(group)) {
    const Slot y = {group.y.buffer, run.column};
    plan_.forward.push_back(ProductOp{.kind = ProductOp::kForward,
                                      .x = values_[group.x.node],
                                      .in = graph_.width(group.x),
                                      .y = y,
                                      .out = run.width,
                                      .w = {group.w.offset + run.column, group.w.stride},
                                      .bias = run.bias ? group.bias + run.column : -1,
                                      .relu = run.activation == RELU});
    if (NeedsActivationOp(run.activation)) {
      plan_.forward.push_back(ActivationOp{y, run.width, run.activation});
    }
  }
}

// visit(from, kept, to, width) for each part: what has a name of its own.
template <typename Visit>
void Planner::ForDropoutParts(int n, Slot from, Slot to, Visit visit) const {
  const int parts = static_cast<int>(nodes_[n].draws.size());
  const int width = nodes_[n].width / parts;
  Slot kept = kept_[n];
  for (int part = 0; part < parts; ++part) {
    visit(from, kept, to, width);
    from.column += width;
    kept.column += KeptFloats(width);
    to.column += width;
  }
}

void Planner::ForwardDropout(int n) {
  const Graph::Node& node = nodes_[n];
  int draw = static_cast<int>(plan_.draws.size());
  ForDropoutParts(n, values_[node.inputs[0].node], values_[n],
                  [&](Slot x, Slot kept, Slot y, int width) {
                    plan_.forward.push_back(DropoutOp{x, kept, y, width, node.rate, draw++});
                  });
  plan_.draws.insert(plan_.draws.end(), node.draws.begin(), node.draws.end());
}

ProductOp Planner::BlockProduct(ProductOp::Kind kind, int n, int i, Slot x, Slot y) const {
  const Graph::Node& node = nodes_[n];
  const int in = graph_.width(node.inputs[0]) / node.blocks();
  const int out = node.block_width();
  return ProductOp{.kind = kind,
                   .x = {x.buffer, x.column + i * in},
                   .in = in,
                   .y = {y.buffer, y.column + i * out},
                   .out = out,
                   .w = weights_[n][i]};
}

void Planner::ForwardBlocks(int n) {
  const Graph::Node& node = nodes_[n];
  for (int i = 0; i < node.blocks(); ++i) {
    ProductOp op =
        BlockProduct(ProductOp::kForward, n, i, values_[node.inputs[0].node], values_[n]);
    op.bias = node.bias ? biases_[n][i] : -1;
    op.relu = node.activation == RELU;
    plan_.forward.push_back(op);
  }
  if (NeedsActivationOp(node.activation)) {
    plan_.forward.push_back(ActivationOp{values_[n], node.width, node.activation});
  }
}

// One slot an expert, of a mixture's groups in order.
std::vector<Slot> Planner::ExpertsOf(int n, const std::vector<Slot>& slots) const {
  const Graph::Node& node = nodes_[n];
  std::vector<Slot> experts;
  for (size_t g = 1; g < node.inputs.size(); ++g) {
    const int group = node.inputs[g].node;
    for (int column = 0; column < nodes_[group].width; column += node.width) {
      experts.push_back({slots[group].buffer, slots[group].column + column});
    }
  }
  return experts;
}

// Heads stand at the end of the forward list. Their losses' gradients wait in buffers of their own
// for the passes, each of which seeds its logits with them.
void Planner::PlanHeads() {
  int loss = 0;
  for (int h = 0; h < static_cast<int>(graph_.heads().size()); ++h) {
    const Graph::HeadSpec& head = graph_.heads()[h];
    HeadOp op{.kind = head.kind, .head = h, .x = values_[head.x.node], .y = {}, .dx = {}, .dy = {}};
    op.width = graph_.width(head.x);
    if (head.kind == HeadKind::kProduct) op.y = values_[head.y.node];
    if (head.has_loss) {
      op.loss = loss;
      op.dx = seeds_x_[loss];
      op.dy = seeds_y_[loss];
      ++loss;
    }
    plan_.forward.push_back(op);
  }
  EndStage(/*pass=*/-1, plan_.forward.size(), /*sums=*/0, &plan_.stages);
}

// ------------------------------------------------------------------------------------ backward

void Planner::PlanBackward(Pass* pass) const {
  const std::vector<int> stage_of = BackwardStages(*pass);
  const int last = *std::max_element(stage_of.begin(), stage_of.end());
  pass->sums_of.assign(plan_.batch_norms.size(), -1);
  for (int stage = 0; stage <= last; ++stage) {
    if (stage > 0) EndStage(pass->index, pass->ops.size(), pass->sums, &pass->stages);
    pass->sums = 1;  // The number of rows.
    for (int n = static_cast<int>(nodes_.size()) - 1; n > 0; --n) {
      if (!pass->wants[n]) continue;
      const bool is_next = nodes_[n].kind == NodeKind::kBatchNorm && stage_of[n] == stage + 1;
      if (is_next) BackwardBatchSums(n, pass);
      if (stage_of[n] == stage) BackwardNode(n, pass);
    }
  }
}

void Planner::BackwardNode(int n, Pass* pass) const {
  switch (nodes_[n].kind) {
    case NodeKind::kInput:
    case NodeKind::kStopGradient:
      break;
    case NodeKind::kDense:
      if (groups_[group_of_node_[n]].first_node == n) {
        BackwardGroup(groups_[group_of_node_[n]], pass);
      }
      break;
    case NodeKind::kBlockDense:
      BackwardBlocks(n, pass);
      break;
    case NodeKind::kSoftmax:
      BackwardSoftmax(n, pass);
      break;
    case NodeKind::kMixture:
      BackwardMixture(n, pass);
      break;
    case NodeKind::kColumns:
    case NodeKind::kConcat:
    case NodeKind::kAdd:
    case NodeKind::kMultiply:
    case NodeKind::kSumColumns:
    case NodeKind::kActivation:
    case NodeKind::kLayerNorm:
    case NodeKind::kSelector:
      BackwardRows(n, pass);
      break;
    case NodeKind::kBatchNorm:
      BackwardBatchNorm(n, pass);
      break;
    case NodeKind::kAttention:
      BackwardAttention(n, pass);
      break;
    case NodeKind::kDropout:
      BackwardDropout(n, pass);
      break;
  }
}

// dy of layers side by side becomes the gradient before their activations, and their biases'
// gradients are summed.
void Planner::BackwardActivations(absl::Span<const int> layers, Slot y, Slot dy, Pass* pass) const {
  std::vector<ActivationGradientOp> runs;
  int column = 0;
  for (int n : layers) {
    const Graph::Node& node = nodes_[n];
    for (int i = 0; i < node.blocks(); ++i) {
      const int64_t bias = node.bias && pass->owns_b[n][i] ? biases_[n][i] : -1;
      if (runs.empty() || runs.back().activation != node.activation ||
          (runs.back().bias >= 0) != (bias >= 0)) {
        runs.push_back({{y.buffer, y.column + column},
                        {dy.buffer, dy.column + column},
                        /*width=*/0,
                        node.activation,
                        bias});
      }
      runs.back().width += node.block_width();
      column += node.block_width();
    }
  }
  for (const ActivationGradientOp& run : runs) {
    if (run.activation != IDENTITY || run.bias >= 0) pass->ops.push_back(run);
  }
}

void Planner::BackwardGroup(const Group& group, Pass* pass) const {
  const Slot dy = {pass->gradients[group.first_node].buffer, 0};
  BackwardActivations(group.nodes, group.y, dy, pass);
  BackwardGroupWeights(group, dy, pass);
  if (!pass->wants[group.x.node]) return;
  pass->ops.push_back(ProductOp{.kind = ProductOp::kInputGradient,
                                .x = pass->gradients[group.x.node],
                                .in = graph_.width(group.x),
                                .y = dy,
                                .out = group.width,
                                .w = group.w,
                                .accumulate = pass->MarkWritten(group.x.node)});
}

// One product for each run of blocks that the pass owns: one in all, as a rule.
void Planner::BackwardGroupWeights(const Group& group, Slot dy, Pass* pass) const {
  std::vector<ProductOp> runs;
  int column = 0;
  for (int n : group.nodes) {
    for (int i = 0; i < nodes_[n].blocks(); ++i) {
      const bool extends = !runs.empty() && runs.back().y.column + runs.back().out == column;
      if (pass->owns_w[n][i] && !extends) {
        runs.push_back(ProductOp{.kind = ProductOp::kWeightGradient,
                                 .x = values_[group.x.node],
                                 .in = graph_.width(group.x),
                                 .y = {dy.buffer, column},
                                 .out = 0,
                                 .w = {group.w.offset + column, group.w.stride}});
      }
      if (pass->owns_w[n][i]) runs.back().out += nodes_[n].block_width();
      column += nodes_[n].block_width();
    }
  }
  pass->ops.insert(pass->ops.end(), runs.begin(), runs.end());
}

void Planner::BackwardBlocks(int n, Pass* pass) const {
  if (nodes_[n].is_tied) return BackwardTied(n, pass);
  const int input = nodes_[n].inputs[0].node;
  const Slot dy = pass->gradients[n];
  BackwardActivations({n}, values_[n], dy, pass);
  const bool wants_input = pass->wants[input];
  const bool accumulate = wants_input && pass->MarkWritten(input);
  for (int i = 0; i < nodes_[n].blocks(); ++i) {
    if (pass->owns_w[n][i]) {
      pass->ops.push_back(BlockProduct(ProductOp::kWeightGradient, n, i, values_[input], dy));
    }
    if (!wants_input) continue;
    ProductOp op = BlockProduct(ProductOp::kInputGradient, n, i, pass->gradients[input], dy);
    op.accumulate = accumulate;
    pass->ops.push_back(op);
  }
}

void Planner::BackwardSoftmax(int n, Pass* pass) const {
  const Value input = nodes_[n].inputs[0];
  pass->ops.push_back(SoftmaxGradientOp{values_[n], pass->gradients[n], pass->gradients[input.node],
                                        nodes_[n].width, pass->MarkWritten(input.node)});
}

AttentionOp Planner::AttentionOf(int n) const {
  const Graph::Node& node = nodes_[n];
  const auto slot = [&](int input) { return values_[node.inputs[input].node]; };
  return {{node.parts, node.width, node.heads}, slot(0), slot(1), slot(2), slot(3), values_[n]};
}

void Planner::BackwardAttention(int n, Pass* pass) const {
  AttentionGradientOp op{.of = AttentionOf(n), .dy = pass->gradients[n], .d = {}, .accumulate = {}};
  for (int i = 0; i < 3; ++i) {
    const int input = nodes_[n].inputs[i].node;
    op.d[i] = pass->gradients[input];
    op.accumulate[i] = pass->wants[input] && pass->MarkWritten(input);
  }
  pass->ops.push_back(op);
}

void Planner::BackwardMixture(int n, Pass* pass) const {
  const Graph::Node& node = nodes_[n];
  const int gate = node.inputs[0].node;
  MixtureGradientOp op{.gate = values_[gate],
                       .dgate = pass->gradients[gate],
                       .dy = pass->gradients[n],
                       .experts = ExpertsOf(n, values_),
                       .dexperts = ExpertsOf(n, pass->gradients),
                       .accumulate_expert = {},
                       .accumulate_gate = pass->wants[gate] && pass->MarkWritten(gate),
                       .width = node.width};
  for (size_t g = 1; g < node.inputs.size(); ++g) {
    const int group = node.inputs[g].node;
    const int count = nodes_[group].width / node.width;
    const bool accumulate = pass->wants[group] && pass->MarkWritten(group);
    op.accumulate_expert.insert(op.accumulate_expert.end(), count, accumulate);
  }
  pass->ops.push_back(std::move(op));
}

void Planner::BackwardDropout(int n, Pass* pass) const {
  const int input = nodes_[n].inputs[0].node;
  const double rate = nodes_[n].rate;
  const bool accumulate = pass->MarkWritten(input);
  ForDropoutParts(n, pass->gradients[n], pass->gradients[input],
                  [&](Slot dy, Slot kept, Slot dx, int width) {
                    pass->ops.push_back(DropoutGradientOp{dy, kept, dx, width, rate, accumulate});
                  });
}

}  // namespace pagoda
