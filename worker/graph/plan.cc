#include "worker/graph/plan.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "worker/graph/arena.h"

namespace pagoda {
namespace {

// Rows that lie a multiple of 1 KiB apart fall into few of the 64 sets of L1; one more line each
// spreads them.
int LeadingDimension(int width) {
  const int64_t ld = RoundUp(width, kLineFloats);
  return static_cast<int>(ld % 256 == 0 ? ld + kLineFloats : ld);
}

// Layers that share a buffer and a weight matrix.
struct Group {
  Value x;
  std::vector<int> nodes;  // In column order.
  int first_node;          // Where in the graph's order it is computed.
  int width = 0;
  int buffer = -1, gradient_buffer = -1;
  WeightSlot w = {};
  int64_t bias = -1;  // [width], where it has any.
};

// What depends on a value: nothing (it is not computed), a prediction, a loss (it has a gradient).
enum class Use { kNone, kOutput, kLoss };

// Columns of a group with the same activation and bias: [column, column + width).
struct Run {
  int column, width;
  Activation activation;
  bool bias;
};

class Planner {
 public:
  Planner(const Graph& graph, const PlanOptions& options)
      : graph_(graph),
        nodes_(graph.nodes()),
        values_(nodes_.size()),
        gradients_(nodes_.size()),
        written_(nodes_.size(), false),
        use_(nodes_.size(), Use::kNone) {
    FindUses();
    FormGroups(options);
    PlaceBuffers();
    PlaceParameters();
    PlanForward();
    PlanHeads();
    PlanBackward();
    PlaceArena(&plan_);
  }

  Plan Take() { return std::move(plan_); }

 private:
  void FindUses() {
    const auto raise = [this](Value v, Use use) { use_[v.node] = std::max(use_[v.node], use); };
    for (const Graph::HeadSpec& head : graph_.heads()) {
      const Use use = head.has_loss ? Use::kLoss : Use::kOutput;
      raise(head.x, use);
      if (head.kind == HeadKind::kProduct) raise(head.y, use);
    }
    for (int n = static_cast<int>(nodes_.size()) - 1; n >= 0; --n) {
      for (Value input : nodes_[n].inputs) raise(input, use_[n]);
    }
  }

  bool IsComputed(int n) const { return use_[n] != Use::kNone; }
  bool HasGradient(int n) const { return use_[n] == Use::kLoss; }

  void FormGroups(const PlanOptions& options) {
    // Layers of another use stand apart, so that they change no bit of those with a gradient.
    std::map<std::pair<int, Use>, int> group_of_input;
    group_of_node_.assign(nodes_.size(), -1);
    for (int n = 0; n < static_cast<int>(nodes_.size()); ++n) {
      const Graph::Node& node = nodes_[n];
      if (node.kind != NodeKind::kDense) continue;
      const int key = options.fuse_siblings ? node.inputs[0].node : -1 - n;
      const auto [it, is_new] =
          group_of_input.emplace(std::make_pair(key, use_[n]), static_cast<int>(groups_.size()));
      if (is_new) groups_.push_back({.x = node.inputs[0], .nodes = {}, .first_node = n});
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

  int AddBuffer(int ld) {
    plan_.buffers.push_back({.ld = ld});
    return static_cast<int>(plan_.buffers.size()) - 1;
  }

  void PlaceBuffers() {
    values_[0] = {AddBuffer(nodes_[0].width), 0};     // kInputBuffer
    gradients_[0] = {AddBuffer(nodes_[0].width), 0};  // kInputGradientBuffer
    for (Group& group : groups_) {
      group.buffer = AddBuffer(LeadingDimension(group.width));
      group.gradient_buffer = AddBuffer(LeadingDimension(group.width));
      int column = 0;
      for (int n : group.nodes) {
        values_[n] = {group.buffer, column};
        gradients_[n] = {group.gradient_buffer, column};
        column += nodes_[n].width;
      }
    }
    for (size_t n = 1; n < nodes_.size(); ++n) {
      if (nodes_[n].kind == NodeKind::kDense) continue;
      values_[n] = {AddBuffer(LeadingDimension(nodes_[n].width)), 0};
      gradients_[n] = {AddBuffer(LeadingDimension(nodes_[n].width)), 0};
    }
  }

  // `count` floats of the flat array, on a cache line.
  int64_t Reserve(int64_t count) {
    const int64_t offset = plan_.parameter_count;
    plan_.parameter_count += RoundUp(count, kLineFloats);
    return offset;
  }

  void PlaceParameters() {
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
      if (node.kind != NodeKind::kBlockDense) continue;
      const int in = graph_.width(node.inputs[0]) / node.blocks();
      const int stride = static_cast<int>(RoundUp(node.block_width(), kLineFloats));
      const int64_t bias = Reserve(node.width);
      for (int i = 0; i < node.blocks(); ++i) {
        weights_[n].push_back({Reserve(int64_t{in} * stride), stride});
        biases_[n].push_back(bias + i * node.block_width());
      }
    }
    ListViews();
  }

  void ListViews() {
    for (ParameterOfNode& parameter : ListParameters(graph_)) {
      ParameterView& view = parameter.view;
      if (parameter.is_bias) {
        view.offset = biases_[parameter.node][parameter.block];
      } else {
        const WeightSlot& w = weights_[parameter.node][parameter.block];
        view.offset = w.offset;
        view.stride = w.stride;
      }
      if (!parameter.is_bias && IsComputed(parameter.node)) {
        plan_.multiply_adds_per_row += int64_t{view.rows} * view.columns;
      }
      plan_.parameters.push_back(std::move(view));
    }
    FindZeroGradients();
  }

  // The complement of what the weight and bias gradients write.
  void FindZeroGradients() {
    std::vector<bool> is_written(plan_.parameter_count, false);
    for (const ParameterOfNode& parameter : ListParameters(graph_)) {
      const int n = parameter.node;
      if (!HasGradient(n)) continue;
      const int64_t begin =
          parameter.is_bias ? biases_[n][parameter.block] : weights_[n][parameter.block].offset;
      const int64_t stride = parameter.is_bias ? 0 : weights_[n][parameter.block].stride;
      for (int r = 0; r < parameter.view.rows; ++r) {
        const auto row = is_written.begin() + begin + r * stride;
        std::fill(row, row + parameter.view.columns, true);
      }
    }
    for (int64_t i = 0; i < plan_.parameter_count; ++i) {
      if (is_written[i]) continue;
      if (i > 0 && !is_written[i - 1]) {
        ++plan_.zero_gradients.back().count;
      } else {
        plan_.zero_gradients.push_back({i, 1});
      }
    }
  }

  std::vector<Run> RunsOf(const Group& group) const {
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

  static bool NeedsActivationOp(Activation activation) {
    return activation == SIGMOID || activation == TANH;
  }

  void PlanForward() {
    for (int n = 1; n < static_cast<int>(nodes_.size()); ++n) {
      if (!IsComputed(n)) continue;
      const Graph::Node& node = nodes_[n];
      const Slot x = values_[node.inputs[0].node];
      switch (node.kind) {
        case NodeKind::kInput:
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
      }
    }
  }

  void ForwardGroup(const Group& group) {
    for (const Run& run : RunsOf(group)) {
      const Slot y = {group.buffer, run.column};
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

  ProductOp BlockProduct(ProductOp::Kind kind, int n, int i, Slot x, Slot y) const {
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

  void ForwardBlocks(int n) {
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
  std::vector<Slot> ExpertsOf(int n, const std::vector<Slot>& slots) const {
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

  // True if the value's gradient has been written already: the next writer accumulates.
  bool MarkWritten(int n) {
    const bool was_written = written_[n];
    written_[n] = true;
    return was_written;
  }

  // Heads stand at the end of the forward list and write the logits' gradients.
  void PlanHeads() {
    int loss = 0;
    for (int h = 0; h < static_cast<int>(graph_.heads().size()); ++h) {
      const Graph::HeadSpec& head = graph_.heads()[h];
      HeadOp op{
          .kind = head.kind, .head = h, .x = values_[head.x.node], .y = {}, .dx = {}, .dy = {}};
      const bool is_product = head.kind == HeadKind::kProduct;
      if (is_product) op.y = values_[head.y.node];
      if (head.has_loss) {
        op.loss = loss++;
        op.dx = gradients_[head.x.node];
        op.accumulate_x = MarkWritten(head.x.node);
        if (is_product) {
          op.dy = gradients_[head.y.node];
          op.accumulate_y = MarkWritten(head.y.node);
        }
      }
      plan_.forward.push_back(op);
    }
  }

  void PlanBackward() {
    for (int n = static_cast<int>(nodes_.size()) - 1; n > 0; --n) {
      if (!HasGradient(n)) continue;
      switch (nodes_[n].kind) {
        case NodeKind::kInput:
          break;
        case NodeKind::kDense:
          if (groups_[group_of_node_[n]].first_node == n) BackwardGroup(groups_[group_of_node_[n]]);
          break;
        case NodeKind::kBlockDense:
          BackwardBlocks(n);
          break;
        case NodeKind::kSoftmax:
          BackwardSoftmax(n);
          break;
        case NodeKind::kMixture:
          BackwardMixture(n);
          break;
      }
    }
    if (!written_[0]) plan_.backward.push_back(ZeroOp{gradients_[0], nodes_[0].width});
  }

  void BackwardActivation(Slot y, Slot dy, int width, Activation activation, int64_t bias) {
    if (activation == IDENTITY && bias < 0) return;
    plan_.backward.push_back(ActivationGradientOp{y, dy, width, activation, bias});
  }

  void BackwardGroup(const Group& group) {
    for (const Run& run : RunsOf(group)) {
      BackwardActivation({group.buffer, run.column}, {group.gradient_buffer, run.column}, run.width,
                         run.activation, run.bias ? group.bias + run.column : -1);
    }
    ProductOp op{.kind = ProductOp::kWeightGradient,
                 .x = values_[group.x.node],
                 .in = graph_.width(group.x),
                 .y = {group.gradient_buffer, 0},
                 .out = group.width,
                 .w = group.w};
    plan_.backward.push_back(op);
    op.kind = ProductOp::kInputGradient;
    op.x = gradients_[group.x.node];
    op.accumulate = MarkWritten(group.x.node);
    plan_.backward.push_back(op);
  }

  void BackwardBlocks(int n) {
    const Graph::Node& node = nodes_[n];
    const int input = node.inputs[0].node;
    BackwardActivation(values_[n], gradients_[n], node.width, node.activation,
                       node.bias ? biases_[n][0] : -1);
    const bool accumulate = MarkWritten(input);
    for (int i = 0; i < node.blocks(); ++i) {
      plan_.backward.push_back(
          BlockProduct(ProductOp::kWeightGradient, n, i, values_[input], gradients_[n]));
      ProductOp op =
          BlockProduct(ProductOp::kInputGradient, n, i, gradients_[input], gradients_[n]);
      op.accumulate = accumulate;
      plan_.backward.push_back(op);
    }
  }

  void BackwardSoftmax(int n) {
    const int input = nodes_[n].inputs[0].node;
    plan_.backward.push_back(SoftmaxGradientOp{values_[n], gradients_[n], gradients_[input],
                                               nodes_[n].width, MarkWritten(input)});
  }

  void BackwardMixture(int n) {
    const Graph::Node& node = nodes_[n];
    const int gate = node.inputs[0].node;
    MixtureGradientOp op{.gate = values_[gate],
                         .dgate = gradients_[gate],
                         .dy = gradients_[n],
                         .experts = ExpertsOf(n, values_),
                         .dexperts = ExpertsOf(n, gradients_),
                         .accumulate_expert = {},
                         .accumulate_gate = MarkWritten(gate),
                         .width = node.width};
    for (size_t g = 1; g < node.inputs.size(); ++g) {
      const int group = node.inputs[g].node;
      const int count = nodes_[group].width / node.width;
      op.accumulate_expert.insert(op.accumulate_expert.end(), count, MarkWritten(group));
    }
    plan_.backward.push_back(std::move(op));
  }

  const Graph& graph_;
  const std::vector<Graph::Node>& nodes_;
  Plan plan_;
  std::vector<Group> groups_;
  std::vector<int> group_of_node_;                // -1: none
  std::vector<Slot> values_, gradients_;          // [node]
  std::vector<bool> written_;                     // [node] its gradient
  std::vector<Use> use_;                          // [node]
  std::vector<std::vector<WeightSlot>> weights_;  // [node][block]
  std::vector<std::vector<int64_t>> biases_;      // [node][block]
};

}  // namespace

Plan MakePlan(const Graph& graph, const PlanOptions& options) {
  return Planner(graph, options).Take();
}

}  // namespace pagoda
