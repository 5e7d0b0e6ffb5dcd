#include "worker/graph/graph.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pagoda {

Graph::Graph(int input_width) {
  CHECK_GT(input_width, 0);
  AddNode({.kind = NodeKind::kInput, .width = input_width});
}

Value Graph::Dense(const std::string& name, Value x, int width, Activation activation, bool bias) {
  return AddLayers({.kind = NodeKind::kDense, .block_names = {name}, .bias = bias}, x, width,
                   activation);
}

Value Graph::TiedDense(const std::string& name, Value x, int count, int width,
                       Activation activation, bool bias) {
  CHECK_GT(count, 0) << name;
  if (count == 1) return Dense(name, x, width, activation, bias);
  return AddLayers({.kind = NodeKind::kBlockDense,
                    .block_names = std::vector<std::string>(count, name),
                    .bias = bias,
                    .is_tied = true},
                   x, width, activation);
}

Value Graph::Mlp(const std::string& name, Value x, absl::Span<const int> widths,
                 const LayerStyle& style) {
  for (size_t layer = 0; layer < widths.size(); ++layer) {
    x = AddHidden(NodeKind::kDense, {absl::StrCat(name, "/layer", layer)}, x, widths[layer], style);
  }
  return x;
}

ExpertGroup Graph::Experts(const std::string& name, Value x, int count,
                           absl::Span<const int> widths, const LayerStyle& style) {
  CHECK_GE(count, 0) << name;
  CHECK(!widths.empty()) << name << ": an expert needs a layer";
  if (count == 0) return {};
  // The first layers read one input and can be one product; deeper ones read their own columns.
  // One expert reads whole inputs, and its successors may be one product with their siblings.
  NodeKind kind = NodeKind::kDense;
  for (size_t layer = 0; layer < widths.size(); ++layer) {
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.push_back(absl::StrCat(name, "/", i, "/layer", layer));
    x = AddHidden(kind, std::move(names), x, widths[layer], style);
    if (count > 1) kind = NodeKind::kBlockDense;
  }
  return {x, count};
}

Value Graph::Softmax(Value x) {
  return AddNode({.kind = NodeKind::kSoftmax, .width = width(x), .inputs = {x}});
}

Value Graph::Mixture(Value gate, absl::Span<const ExpertGroup> groups) {
  Node node{.kind = NodeKind::kMixture, .inputs = {gate}};
  int count = 0;
  for (const ExpertGroup& group : groups) {
    if (group.count == 0) continue;
    const int d = width(group.value) / group.count;
    CHECK_EQ(d * group.count, width(group.value));
    if (node.width == 0) node.width = d;
    CHECK_EQ(d, node.width) << "experts of one mixture have one width";
    node.inputs.push_back(group.value);
    count += group.count;
  }
  CHECK_EQ(count, width(gate)) << "a gate has one column an expert";
  if (count == 1) return node.inputs[1];
  return AddNode(std::move(node));
}

Value Graph::WeightedSum(Value weights, Value x) {
  const int places = width(weights);
  CHECK_EQ(width(x) % places, 0) << "equal parts of " << width(x) << " columns";
  return AddNode({.kind = NodeKind::kMixture,
                  .width = width(x) / places,
                  .inputs = {weights, x},
                  .is_pooling = true});
}

Value Graph::Attention(Value q, Value k, Value v, Value mask, int heads) {
  const int places = width(mask);
  CHECK(width(q) == width(k) && width(k) == width(v));
  CHECK_EQ(width(q) % places, 0) << "equal parts of " << width(q) << " columns";
  const int d = width(q) / places;
  CHECK(heads > 0 && d % heads == 0) << heads << " heads of " << d << " columns";
  return AddNode({.kind = NodeKind::kAttention,
                  .width = d,
                  .inputs = {q, k, v, StopGradient(mask)},
                  .parts = places,
                  .heads = heads});
}

Value Graph::Columns(Value x, std::vector<ColumnRange> ranges) {
  int next = 0;
  for (const ColumnRange& range : ranges) {
    if (range.begin != next) return CopyColumns(x, std::move(ranges));
    next += range.count;
  }
  return next == width(x) ? x : CopyColumns(x, std::move(ranges));
}

Value Graph::CopyColumns(Value x, std::vector<ColumnRange> ranges) {
  Node node{.kind = NodeKind::kColumns, .inputs = {x}};
  for (const ColumnRange& range : ranges) {
    CHECK(range.begin >= 0 && range.count > 0 && range.begin + range.count <= width(x))
        << "columns [" << range.begin << ", +" << range.count << ") of " << width(x);
    node.width += range.count;
    // Neighbours are one copy.
    if (!node.ranges.empty() &&
        node.ranges.back().begin + node.ranges.back().count == range.begin) {
      node.ranges.back().count += range.count;
    } else {
      node.ranges.push_back(range);
    }
  }
  return AddNode(std::move(node));
}

Value Graph::Concat(absl::Span<const Value> values) {
  CHECK(!values.empty());
  if (values.size() == 1) return values[0];
  Node node{.kind = NodeKind::kConcat, .inputs = {values.begin(), values.end()}};
  for (Value value : values) node.width += width(value);
  return AddNode(std::move(node));
}

Value Graph::Add(absl::Span<const Value> values, absl::Span<const double> scales) {
  CHECK(!values.empty());
  Node node{.kind = NodeKind::kAdd,
            .width = width(values[0]),
            .inputs = {values.begin(), values.end()},
            .scales = {scales.begin(), scales.end()}};
  if (scales.empty()) node.scales.assign(values.size(), 1.0);
  CHECK_EQ(node.scales.size(), values.size());
  for (Value value : values) CHECK_EQ(width(value), node.width) << "values of one sum";
  return AddNode(std::move(node));
}

Value Graph::Multiply(Value a, Value b) {
  CHECK_EQ(width(a), width(b)) << "factors of one product";
  return AddNode({.kind = NodeKind::kMultiply, .width = width(a), .inputs = {a, b}});
}

Value Graph::Dropout(Value x, std::vector<std::string> names, double rate) {
  CHECK(rate >= 0 && rate < 1) << rate;
  CHECK(!names.empty());
  CHECK_EQ(width(x) % names.size(), 0u) << names[0];
  if (rate == 0) return x;
  for (const std::string& name : names) ClaimNames({name + "/dropout"});
  return AddNode({.kind = NodeKind::kDropout,
                  .width = width(x),
                  .inputs = {x},
                  .rate = rate,
                  .draws = std::move(names)});
}

Value Graph::StopGradient(Value x) {
  return AddNode({.kind = NodeKind::kStopGradient, .width = width(x), .inputs = {x}});
}

Value Graph::SumColumns(Value x, int groups) {
  CHECK_GT(groups, 0);
  CHECK_EQ(width(x) % groups, 0) << "equal parts of " << width(x) << " columns";
  return AddNode({.kind = NodeKind::kSumColumns, .width = groups, .inputs = {x}});
}

Value Graph::Activate(Value x, Activation activation, std::vector<std::string> names) {
  if (activation == IDENTITY) return x;
  CHECK_EQ(activation == PRELU, !names.empty()) << "PReLU, and it alone, has parameters";
  if (!names.empty()) CHECK_EQ(width(x) % names.size(), 0u) << names[0];
  ClaimNames(names);
  return AddNode({.kind = NodeKind::kActivation,
                  .width = width(x),
                  .inputs = {x},
                  .block_names = std::move(names),
                  .activation = activation});
}

Value Graph::LayerNorm(Value x, std::vector<std::string> names) {
  CHECK(!names.empty());
  CHECK_EQ(width(x) % names.size(), 0u) << names[0];
  ClaimNames(names);
  return AddNode({.kind = NodeKind::kLayerNorm,
                  .width = width(x),
                  .inputs = {x},
                  .block_names = std::move(names)});
}

Value Graph::BatchNorm(Value x, std::vector<std::string> names, const BatchNormConfig& config) {
  CHECK(!names.empty());
  CHECK_EQ(width(x) % names.size(), 0u) << names[0];
  CHECK(config.epsilon() > 0 && config.momentum() > 0 && config.momentum() <= 1) << names[0];
  ClaimNames(names);
  return AddNode({.kind = NodeKind::kBatchNorm,
                  .width = width(x),
                  .inputs = {x},
                  .block_names = std::move(names),
                  .batch_norm = config});
}

Value Graph::Selector(Value x, int count, double gamma) {
  CHECK_GT(count, 0);
  CHECK_EQ(width(x) % count, 0);
  CHECK_GT(gamma, 0);
  const int bits = width(x) / count;
  CHECK_LE(bits, 12) << "a choice of one of 2^" << bits;
  return AddNode({.kind = NodeKind::kSelector,
                  .width = count << bits,
                  .inputs = {x},
                  .parts = count,
                  .gamma = gamma});
}

void Graph::Head(const std::string& task, HeadKind kind, Value x, Value y) {
  AddHead({.name = task, .kind = kind, .x = x, .y = y, .has_loss = true, .task = task});
}

void Graph::Output(const std::string& name, HeadKind kind, Value x, Value y) {
  AddHead({.name = name, .kind = kind, .x = x, .y = y, .has_loss = false});
}

void Graph::OrderHeads(absl::Span<const std::string> names) {
  auto next = heads_.begin();
  for (const std::string& name : names) {
    const auto head =
        std::find_if(next, heads_.end(), [&](const HeadSpec& spec) { return spec.name == name; });
    CHECK(head != heads_.end()) << "no head is called " << name;
    std::rotate(next, head, head + 1);
    ++next;
  }
}

int Graph::width(Value v) const {
  CHECK_GE(v.node, 0);
  CHECK_LT(v.node, static_cast<int>(nodes_.size()));
  return nodes_[v.node].width;
}

Value Graph::AddNode(Node node) {
  CHECK_GT(node.width, 0);
  nodes_.push_back(std::move(node));
  return Value{static_cast<int>(nodes_.size()) - 1};
}

void Graph::ClaimNames(absl::Span<const std::string> names) {
  for (const std::string& name : names) {
    CHECK(names_.insert(name).second) << "two layers are called " << name;
  }
}

// GELU and PReLU are nodes of their own behind the layer.
Value Graph::AddLayers(Node node, Value x, int block_width, Activation activation) {
  const int blocks = node.blocks();
  if (node.kind == NodeKind::kBlockDense) CHECK_EQ(width(x) % blocks, 0);
  width(x);  // Checks the handle.
  std::vector<std::string> names = node.block_names;
  if (node.is_tied) names.resize(1);
  ClaimNames(names);
  const bool in_place = activation != GELU && activation != PRELU;
  node.width = blocks * block_width;
  node.inputs = {x};
  if (in_place) node.activation = activation;
  const Value y = AddNode(std::move(node));
  if (in_place) return y;
  if (activation == GELU) return Activate(y, GELU);
  for (std::string& name : names) name += "/act";
  return Activate(y, PRELU, std::move(names));
}

Value Graph::Normalize(Value x, const std::vector<std::string>& names, const LayerStyle& style) {
  if (style.normalization == ModelConfig::BATCH) return BatchNorm(x, names, style.batch_norm);
  return LayerNorm(x, names);
}

Value Graph::AddHidden(NodeKind kind, std::vector<std::string> names, Value x, int block_width,
                       const LayerStyle& style) {
  const auto named = [&](const char* what) {
    std::vector<std::string> all = names;
    for (std::string& name : all) name += what;
    return all;
  };
  const bool is_normalized = style.normalization != ModelConfig::NONE;
  // BatchNorm takes a bias away again (Ioffe and Szegedy, section 3.2), and leaves it rounding
  // errors for a gradient.
  const bool bias = style.normalization != ModelConfig::BATCH;
  Value y = AddLayers({.kind = kind, .block_names = names, .bias = bias}, x, block_width,
                      is_normalized ? IDENTITY : style.activation);
  if (is_normalized) {
    y = Normalize(y, named("/norm"), style);
    y = Activate(y, style.activation,
                 style.activation == PRELU ? named("/act") : std::vector<std::string>());
  }
  y = Dropout(y, names, style.dropout);
  if (!style.residual) return y;
  // The blocks of a kDense node read x each.
  const std::vector<Value> read(kind == NodeKind::kDense ? names.size() : 1, x);
  if (static_cast<int>(read.size()) * width(x) != width(y)) return y;
  return Add({y, Concat(read)});
}

void Graph::AddHead(HeadSpec head) {
  const auto columns = [](HeadKind kind) {  // 0: any number.
    switch (kind) {
      case HeadKind::kClasses:
      case HeadKind::kClass:
      case HeadKind::kElement:
      case HeadKind::kEntropy:
        return 0;
      case HeadKind::kInversePropensity:
        return 2;
      case HeadKind::kDoublyRobust:
        return 3;
      default:
        return 1;
    }
  }(head.kind);
  CHECK(columns == 0 || width(head.x) == columns)
      << head.name << ": its logit takes so many columns: " << columns;
  CHECK(!IsAuxiliary(head.kind) || !head.reported) << head.name << " is no prediction";
  const bool is_output = head.kind == HeadKind::kClass || head.kind == HeadKind::kElement;
  CHECK(!is_output || !head.has_loss) << head.name << ": an output has no loss";
  if (head.kind == HeadKind::kProduct) {
    CHECK_EQ(width(head.y), 1) << head.name << ": a logit is one column";
  }
  if (head.has_loss) CHECK(!head.task.empty()) << head.name << ": a loss belongs to a task";
  for (const HeadSpec& other : heads_) CHECK_NE(other.name, head.name) << "two heads of one name";
  heads_.push_back(std::move(head));
}

}  // namespace pagoda
