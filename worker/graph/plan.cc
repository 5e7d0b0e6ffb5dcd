#include "worker/graph/plan.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "worker/graph/arena.h"
#include "worker/graph/dropout.h"
#include "worker/graph/planner.h"

namespace pagoda {
bool IsSeededBy(const Graph::HeadSpec& head, const PassSpec& pass) {
  if (!head.has_loss) return false;
  return pass.tasks.empty() ||
         std::find(pass.tasks.begin(), pass.tasks.end(), head.task) != pass.tasks.end();
}

int LeadingDimension(int width) {
  const int64_t ld = RoundUp(width, kLineFloats);
  return static_cast<int>(ld % 256 == 0 ? ld + kLineFloats : ld);
}

Planner::Planner(const Graph& graph, const PlanOptions& options)
    : graph_(graph),
      nodes_(graph.nodes()),
      values_(nodes_.size()),
      use_(nodes_.size(), Use::kNone) {
  const PassSpec all;
  if (options.passes.empty()) passes_.push_back(MakePass(0, all));
  for (const PassSpec& spec : options.passes) {
    passes_.push_back(MakePass(static_cast<int>(passes_.size()), spec));
  }
  FindUses();
  FormGroups(options.fuse_siblings);
  PlaceBuffers();
  PlaceParameters();
  PlanForward();
  PlanHeads();
  for (Pass& pass : passes_) {
    PlanSeeds(&pass);
    PlanBackward(&pass);
    FinishPass(&pass);
  }
  PlaceArena(&plan_);
}

bool Planner::PassesGradient(int n) const { return nodes_[n].kind != NodeKind::kStopGradient; }

void Planner::FindUses() {
  const auto raise = [this](Value v, Use use) { use_[v.node] = std::max(use_[v.node], use); };
  for (const Graph::HeadSpec& head : graph_.heads()) {
    const Use use = head.has_loss ? Use::kLoss : Use::kOutput;
    raise(head.x, use);
    if (head.kind == HeadKind::kProduct) raise(head.y, use);
  }
  for (int n = static_cast<int>(nodes_.size()) - 1; n >= 0; --n) {
    const Use use = PassesGradient(n) ? use_[n] : std::min(use_[n], Use::kOutput);
    for (Value input : nodes_[n].inputs) raise(input, use);
  }
}

Planner::Pass Planner::MakePass(int index, const PassSpec& spec) const {
  const size_t count = nodes_.size();
  Pass pass{.index = index,
            .spec = &spec,
            .wants = std::vector<bool>(count, false),
            .owns_w = std::vector<std::vector<bool>>(count),
            .owns_b = std::vector<std::vector<bool>>(count)};
  std::vector<bool> is_reached(count, false), leads(count, false);
  for (const Graph::HeadSpec& head : graph_.heads()) {
    if (!IsSeededBy(head, spec)) continue;
    is_reached[head.x.node] = true;
    if (head.kind == HeadKind::kProduct) is_reached[head.y.node] = true;
  }
  for (int n = static_cast<int>(count) - 1; n >= 0; --n) {
    if (!is_reached[n] || !PassesGradient(n)) continue;
    for (Value input : nodes_[n].inputs) is_reached[input.node] = true;
  }
  for (size_t n = 0; n < count; ++n) {
    pass.owns_w[n].assign(nodes_[n].blocks(), false);
    pass.owns_b[n].assign(nodes_[n].blocks(), false);
  }
  for (const ParameterOfNode& parameter : ListParameters(graph_)) {
    if (parameter.view.is_statistic) continue;
    if (spec.owns && !spec.owns(parameter.view.name)) continue;
    auto& owns = parameter.is_bias ? pass.owns_b : pass.owns_w;
    owns[parameter.node][parameter.block] = true;
    leads[parameter.node] = true;
  }
  leads[0] = spec.input_gradient;
  for (size_t n = 1; n < count; ++n) {
    for (Value input : nodes_[n].inputs) {
      if (PassesGradient(n) && leads[input.node]) leads[n] = true;
    }
  }
  for (size_t n = 0; n < count; ++n) pass.wants[n] = is_reached[n] && leads[n];
  return pass;
}

// What the passes want of a layer: layers of which they want the same can be one product.
std::vector<int> Planner::OwnershipOf(int n) const {
  std::vector<int> of_passes;
  const auto kind_of = [n](const std::vector<bool>& owns) {
    const auto count = std::count(owns.begin(), owns.end(), true);
    const bool is_mixed = count > 0 && count < static_cast<int64_t>(owns.size());
    return is_mixed ? 2 + n : static_cast<int>(count > 0);  // Mixed ones stand alone.
  };
  for (const Pass& pass : passes_) {
    of_passes.push_back(pass.wants[n]);
    of_passes.push_back(kind_of(pass.owns_w[n]));
    if (nodes_[n].bias) of_passes.push_back(kind_of(pass.owns_b[n]));
  }
  return of_passes;
}

void Planner::FormGroups(bool fuse_siblings) {
  // Layers of another use stand apart, so that they change no bit of those with a gradient. Whether
  // a layer has a bias is no reason to stand apart.
  using Key = std::tuple<int, Use, std::vector<int>>;
  std::map<Key, int> group_of_input;
  group_of_node_.assign(nodes_.size(), -1);
  for (int n = 0; n < static_cast<int>(nodes_.size()); ++n) {
    const Graph::Node& node = nodes_[n];
    if (node.kind != NodeKind::kDense) continue;
    const int key = fuse_siblings ? node.inputs[0].node : -1 - n;
    const auto [it, is_new] =
        group_of_input.emplace(Key(key, use_[n], OwnershipOf(n)), static_cast<int>(groups_.size()));
    if (is_new) groups_.push_back({.x = node.inputs[0], .nodes = {}, .first_node = n, .y = {}});
    Group& group = groups_[it->second];
    group.nodes.push_back(n);
    group.width += node.width;
    group_of_node_[n] = it->second;
  }
  for (Group& group : groups_) {
    std::stable_sort(group.nodes.begin(), group.nodes.end(), [this](int a, int b) {
      return std::make_tuple(nodes_[a].activation, nodes_[a].bias) <
             std::make_tuple(nodes_[b].activation, nodes_[b].bias);
    });
  }
}

int Planner::AddBuffer(int ld) {
  plan_.buffers.push_back({.ld = ld});
  return static_cast<int>(plan_.buffers.size()) - 1;
}

void Planner::PlaceBuffers() {
  values_[0] = {AddBuffer(nodes_[0].width), 0};                            // kInputBuffer
  for (size_t p = 0; p < passes_.size(); ++p) AddBuffer(nodes_[0].width);  // InputGradientBuffer
  for (Group& group : groups_) {
    group.y = {AddBuffer(LeadingDimension(group.width)), 0};
    int column = 0;
    for (int n : group.nodes) {
      values_[n] = {group.y.buffer, column};
      column += nodes_[n].width;
    }
  }
  for (size_t n = 1; n < nodes_.size(); ++n) {
    const Graph::Node& node = nodes_[n];
    if (node.kind == NodeKind::kDense) continue;
    values_[n] = node.kind == NodeKind::kStopGradient
                     ? values_[node.inputs[0].node]
                     : Slot{AddBuffer(LeadingDimension(node.width)), 0};
  }
  kept_.resize(nodes_.size());
  for (size_t n = 1; n < nodes_.size(); ++n) {
    if (nodes_[n].kind != NodeKind::kDropout) continue;
    const int parts = static_cast<int>(nodes_[n].draws.size());
    kept_[n] = {AddBuffer(LeadingDimension(parts * KeptFloats(nodes_[n].width / parts))), 0};
  }
  for (const Graph::HeadSpec& head : graph_.heads()) {
    if (!head.has_loss) continue;
    seeds_x_.push_back({AddBuffer(LeadingDimension(graph_.width(head.x))), 0});
    seeds_y_.push_back(head.kind == HeadKind::kProduct ? Slot{AddBuffer(kLineFloats), 0} : Slot{});
  }
  for (Pass& pass : passes_) PlaceGradients(&pass);
}

// A group's gradients lie as its values do.
void Planner::PlaceGradients(Pass* pass) {
  pass->gradients.resize(nodes_.size());
  pass->written.assign(nodes_.size(), false);
  if (pass->spec->input_gradient) pass->gradients[0] = {InputGradientBuffer(pass->index), 0};
  for (const Group& group : groups_) {
    if (!pass->wants[group.first_node]) continue;
    const int buffer = AddBuffer(LeadingDimension(group.width));
    for (int n : group.nodes) pass->gradients[n] = {buffer, values_[n].column};
  }
  for (size_t n = 1; n < nodes_.size(); ++n) {
    if (nodes_[n].kind == NodeKind::kDense || !pass->wants[n]) continue;
    pass->gradients[n] = {AddBuffer(LeadingDimension(nodes_[n].width)), 0};
  }
}

// `count` floats of the flat array, on a cache line.
int64_t Planner::Reserve(int64_t count) {
  const int64_t offset = plan_.parameter_count;
  plan_.parameter_count += RoundUp(count, kLineFloats);
  return offset;
}

void Planner::PlaceParameters() {
  weights_.resize(nodes_.size());
  biases_.resize(nodes_.size());
  for (Group& group : groups_) {
    const int stride = LeadingDimension(group.width);
    group.w = {Reserve(int64_t{graph_.width(group.x)} * stride), stride};
    group.bias = Reserve(group.width);
    int column = 0;
    for (int n : group.nodes) {
      for (int i = 0; i < nodes_[n].blocks(); ++i) {
        weights_[n].push_back({group.w.offset + column, stride});
        biases_[n].push_back(group.bias + column);
        column += nodes_[n].block_width();
      }
    }
  }
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const Graph::Node& node = nodes_[n];
    if (node.kind == NodeKind::kActivation || node.kind == NodeKind::kLayerNorm ||
        node.kind == NodeKind::kBatchNorm) {
      PlaceRowParameters(static_cast<int>(n));
    }
    if (node.kind != NodeKind::kBlockDense) continue;
    const int in = graph_.width(node.inputs[0]) / node.blocks();
    const int stride = static_cast<int>(RoundUp(node.block_width(), kLineFloats));
    const int64_t bias = Reserve(node.width);
    for (int i = 0; i < node.blocks(); ++i) {
      if (node.is_tied && i > 0) {
        weights_[n].push_back(weights_[n][0]);
        biases_[n].push_back(bias);
        continue;
      }
      weights_[n].push_back({Reserve(int64_t{in} * stride), stride});
      biases_[n].push_back(bias + i * node.block_width());
    }
  }
  PlaceBatchNorms();
  ListViews();
}

void Planner::ListViews() {
  for (ParameterOfNode& parameter : ListParameters(graph_)) {
    ParameterView& view = parameter.view;
    if (view.is_statistic) {
      const BatchNormLayer& layer =
          plan_.batch_norms[first_batch_norm_[parameter.node] + parameter.block];
      view.offset = view.name == layer.name + kRunningMean ? layer.mean : layer.variance;
    } else if (parameter.is_bias) {
      view.offset = biases_[parameter.node][parameter.block];
    } else {
      const WeightSlot& w = weights_[parameter.node][parameter.block];
      view.offset = w.offset;
      view.stride = w.stride;
    }
    if (!parameter.is_bias && !view.is_statistic && IsComputed(parameter.node)) {
      plan_.multiply_adds_per_row += int64_t{view.rows} * view.columns;
    }
    plan_.parameters.push_back(std::move(view));
  }
}

// The complement of what the pass's weight and bias gradients write.
std::vector<FlatRange> Planner::FindZeroGradients(const Pass& pass) const {
  std::vector<bool> is_written(plan_.parameter_count, false);
  for (const ParameterOfNode& parameter : ListParameters(graph_)) {
    const int n = parameter.node, block = parameter.block;
    if (parameter.view.is_statistic) continue;
    if (!pass.wants[n] || !(parameter.is_bias ? pass.owns_b : pass.owns_w)[n][block]) continue;
    const int64_t begin = parameter.is_bias ? biases_[n][block] : weights_[n][block].offset;
    const int64_t stride = parameter.is_bias ? 0 : weights_[n][block].stride;
    for (int r = 0; r < parameter.view.rows; ++r) {
      const auto row = is_written.begin() + begin + r * stride;
      std::fill(row, row + parameter.view.columns, true);
    }
  }
  std::vector<FlatRange> zeros;
  for (int64_t i = 0; i < plan_.parameter_count; ++i) {
    if (is_written[i]) continue;
    if (i > 0 && !is_written[i - 1]) {
      ++zeros.back().count;
    } else {
      zeros.push_back({i, 1});
    }
  }
  return zeros;
}

void Planner::FinishPass(Pass* pass) {
  if (pass->spec->input_gradient && !pass->written[0]) {
    pass->ops.push_back(ZeroOp{pass->gradients[0], nodes_[0].width});
  }
  EndStage(pass->index, pass->ops.size(), /*sums=*/0, &pass->stages);
  plan_.stages.insert(plan_.stages.end(), pass->stages.begin(), pass->stages.end());
  plan_.passes.push_back({std::move(pass->ops), FindZeroGradients(*pass)});
}

void Planner::PlanSeeds(Pass* pass) const {
  int loss = -1;
  for (const Graph::HeadSpec& head : graph_.heads()) {
    loss += head.has_loss;
    if (!IsSeededBy(head, *pass->spec)) continue;
    const auto seed = [&](Value logit, Slot from) {
      if (!pass->wants[logit.node]) return;
      pass->ops.push_back(SeedOp{loss, from, pass->gradients[logit.node], graph_.width(logit),
                                 pass->MarkWritten(logit.node)});
    };
    seed(head.x, seeds_x_[loss]);
    if (head.kind == HeadKind::kProduct) seed(head.y, seeds_y_[loss]);
  }
}

Plan MakePlan(const Graph& graph, const PlanOptions& options) {
  return Planner(graph, options).Take();
}

}  // namespace pagoda
