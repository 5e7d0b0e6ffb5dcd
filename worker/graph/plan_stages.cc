// Which stage a node is of, and the operations of BatchNorm nodes, whose layers take two: sums over
// the lane's rows at the end of a stage, and what needs them in the next.
#include <algorithm>

#include "worker/graph/arena.h"
#include "worker/graph/planner.h"

namespace pagoda {

void Planner::PlaceBatchNorms() {
  first_batch_norm_.assign(nodes_.size(), -1);
  int column = 0;
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const Graph::Node& node = nodes_[n];
    if (node.kind != NodeKind::kBatchNorm) continue;
    first_batch_norm_[n] = static_cast<int>(plan_.batch_norms.size());
    for (int i = 0; i < node.blocks(); ++i) {
      const int width = node.block_width();
      plan_.batch_norms.push_back({.name = node.block_names[i],
                                   .width = width,
                                   .gain = weights_[n][i].offset,
                                   .b = biases_[n][i],
                                   .mean = Reserve(width),
                                   .variance = Reserve(width),
                                   .momentum = node.batch_norm.momentum(),
                                   .epsilon = node.batch_norm.epsilon(),
                                   .is_synced = node.batch_norm.sync(),
                                   .column = column,
                                   .stage = -1});
      column += width;
    }
  }
}

void Planner::EndStage(int pass, size_t op_count, int sums, std::vector<Stage>* stages) {
  const bool is_first = stages->empty() || stages->back().pass != pass;
  stages->push_back({.pass = pass,
                     .sums = sums,
                     .begin = is_first ? 0 : stages->back().end,
                     .end = static_cast<int>(op_count)});
}

// ------------------------------------------------------------------------------------ forward

// [node]: how many BatchNorms lie between it and the input, itself included.
std::vector<int> Planner::ForwardStages() const {
  std::vector<int> stages(nodes_.size(), 0);
  for (size_t n = 1; n < nodes_.size(); ++n) {
    if (!IsComputed(static_cast<int>(n))) continue;
    for (Value input : nodes_[n].inputs) stages[n] = std::max(stages[n], stages[input.node]);
    stages[n] += nodes_[n].kind == NodeKind::kBatchNorm;
  }
  return stages;
}

void Planner::ForwardBatchSums(int n) {
  Slot x = values_[nodes_[n].inputs[0].node];
  for (int i = 0; i < nodes_[n].blocks(); ++i) {
    BatchNormLayer& layer = plan_.batch_norms[first_batch_norm_[n] + i];
    layer.stage = static_cast<int>(plan_.stages.size());
    layer.sums = forward_sums_;
    forward_sums_ += 2 * layer.width;
    plan_.forward.push_back(BatchSumsOp{first_batch_norm_[n] + i, x});
    x.column += layer.width;
  }
}

void Planner::ForwardBatchNorm(int n) {
  Slot x = values_[nodes_[n].inputs[0].node], y = values_[n];
  for (int i = 0; i < nodes_[n].blocks(); ++i) {
    plan_.forward.push_back(BatchNormOp{first_batch_norm_[n] + i, x, y});
    x.column += nodes_[n].block_width();
    y.column += nodes_[n].block_width();
  }
}

// ------------------------------------------------------------------------------------ backward

// [node]: how many BatchNorms lie between its gradient and the losses, itself included. Layers that
// are one product are of one stage.
std::vector<int> Planner::BackwardStages(const Pass& pass) const {
  std::vector<int> stages(nodes_.size(), 0);
  for (int n = static_cast<int>(nodes_.size()) - 1; n > 0; --n) {
    if (!pass.wants[n] || !PassesGradient(n)) continue;
    stages[n] += nodes_[n].kind == NodeKind::kBatchNorm;
    if (nodes_[n].kind == NodeKind::kDense) {
      const Group& group = groups_[group_of_node_[n]];
      if (group.first_node != n) continue;
      for (int member : group.nodes) stages[n] = std::max(stages[n], stages[member]);
      for (int member : group.nodes) stages[member] = stages[n];
    }
    for (Value input : nodes_[n].inputs) {
      stages[input.node] = std::max(stages[input.node], stages[n]);
    }
  }
  stages[0] = 0;  // No operation is its.
  return stages;
}

void Planner::BackwardBatchSums(int n, Pass* pass) const {
  Slot x = values_[nodes_[n].inputs[0].node], dy = pass->gradients[n];
  for (int i = 0; i < nodes_[n].blocks(); ++i) {
    const int layer = first_batch_norm_[n] + i;
    pass->sums_of[layer] = pass->sums;
    pass->ops.push_back(
        BatchGradientSumsOp{layer, pass->sums, x, dy, pass->owns_w[n][i], pass->owns_b[n][i]});
    pass->sums += 2 * nodes_[n].block_width();
    x.column += nodes_[n].block_width();
    dy.column += nodes_[n].block_width();
  }
}

void Planner::BackwardBatchNorm(int n, Pass* pass) const {
  const int input = nodes_[n].inputs[0].node;
  if (!pass->wants[input]) return;
  Slot x = values_[input], dx = pass->gradients[input], dy = pass->gradients[n];
  const bool accumulate = pass->MarkWritten(input);
  for (int i = 0; i < nodes_[n].blocks(); ++i) {
    const int layer = first_batch_norm_[n] + i;
    pass->ops.push_back(BatchNormGradientOp{layer, pass->sums_of[layer], x, dy, dx, accumulate});
    for (Slot* slot : {&x, &dx, &dy}) slot->column += nodes_[n].block_width();
  }
}

}  // namespace pagoda
