// The dense network by plain loops: the oracle of program.cc. It shares with it the graph and the
// heads' formulas (heads.h), which the numeric-gradient tests check by themselves.
//
// Letters: R rows, `in` and `out` columns of a layer, g experts, d width of one. A `d` before a
// name is the gradient of the loss with respect to it.
#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "worker/graph/dropout.h"
#include "worker/graph/heads.h"
#include "worker/graph/plain_nodes.h"
#include "worker/graph/plan.h"
#include "worker/graph/program.h"

namespace pagoda {
namespace {

// R rows: every value and, of one pass, every gradient in full.
template <typename T>
class Pass {
 public:
  Pass(const Graph& graph, const std::vector<ParameterView>& views, int rows,
       const std::vector<T>& parameters, const StepContext& context)
      : graph_(graph),
        rows_(rows),
        parameters_(parameters),
        context_(context),
        gradients_(parameters.size(), T{0}),
        statistics_(parameters.size(), T{0}) {
    for (const ParameterView& view : views) offsets_[view.name] = view.offset;
    for (const Graph::Node& node : graph.nodes()) {
      values_.emplace_back(size_t(rows) * node.width, T{0});
      derivatives_.emplace_back(size_t(rows) * node.width, T{0});
    }
  }

  std::vector<T>& value(int node) { return values_[node]; }
  std::vector<T>& derivative(int node) { return derivatives_[node]; }
  std::vector<T>& gradients() { return gradients_; }
  const std::vector<T>& statistics() const { return statistics_; }

  // All derivatives and gradients are zeros again.
  void Clear() {
    for (std::vector<T>& derivative : derivatives_) {
      std::fill(derivative.begin(), derivative.end(), T{0});
    }
    std::fill(gradients_.begin(), gradients_.end(), T{0});
  }

  void Forward() {
    for (int n = 1; n < static_cast<int>(graph_.nodes().size()); ++n) {
      const Graph::Node& node = graph_.nodes()[n];
      if (node.kind == NodeKind::kBatchNorm) ForwardBatchNorm(n);
      for (int r = 0; r < rows_; ++r) {
        ForwardRow(node.kind, n, r);
      }
    }
  }

  // The head's loss; the logits' derivatives grow by `scale` times its gradient. labels, weights
  // [R].
  T AddHeadLoss(const Graph::HeadSpec& head, const T* labels, const T* weights, T scale) {
    const int width = graph_.width(head.x);
    const bool is_product = head.kind == HeadKind::kProduct;
    std::vector<T> dx(size_t(rows_) * width), dy(rows_);
    const int step = head.kind == HeadKind::kPairwise ? kPairRows : std::max(1, rows_);
    T loss = 0;
    for (int begin = 0; begin < rows_; begin += step) {
      loss += LossOfRows<T>(head, {.rows = std::min(step, rows_ - begin),
                                   .width = width,
                                   .x = values_[head.x.node].data() + size_t(begin) * width,
                                   .y = is_product ? values_[head.y.node].data() + begin : nullptr,
                                   .labels = labels + begin,
                                   .weights = weights + begin,
                                   .dx = dx.data() + size_t(begin) * width,
                                   .dy = is_product ? dy.data() + begin : nullptr});
    }
    for (size_t i = 0; i < dx.size(); ++i) derivatives_[head.x.node][i] += scale * dx[i];
    for (int r = 0; is_product && r < rows_; ++r) derivatives_[head.y.node][r] += scale * dy[r];
    return loss;
  }

  void AddPredictions(const Graph::HeadSpec& head, std::vector<T>* predictions) {
    const int width = graph_.width(head.x);
    for (int r = 0; r < rows_; ++r) {
      const T y = head.kind == HeadKind::kProduct ? values_[head.y.node][r] : T{0};
      predictions->push_back(PredictionOfRow(head, Row(values_, head.x.node, r), width, y));
    }
  }

  void Backward() {
    for (int n = static_cast<int>(graph_.nodes().size()) - 1; n > 0; --n) {
      const Graph::Node& node = graph_.nodes()[n];
      if (node.kind == NodeKind::kBatchNorm) BackwardBatchNorm(n);
      for (int r = 0; r < rows_; ++r) {
        BackwardRow(node.kind, n, r);
      }
    }
  }

 private:
  T* Row(std::vector<std::vector<T>>& of, int node, int r) {
    return of[node].data() + size_t(r) * graph_.nodes()[node].width;
  }

  void ForwardRow(NodeKind kind, int n, int r) {
    switch (kind) {
      case NodeKind::kInput:
      case NodeKind::kBatchNorm:  // ForwardBatchNorm: of all rows at once.
        break;
      case NodeKind::kDense:
      case NodeKind::kBlockDense:
        return ForwardLayers(n, r);
      case NodeKind::kSoftmax:
        return ForwardSoftmax(n, r);
      case NodeKind::kMixture:
        return ForwardMixture(n, r);
      case NodeKind::kColumns:
        return ForEachColumn(
            n, [&](int from, int to) { Row(values_, n, r)[to] = Input(values_, n, 0, r)[from]; });
      case NodeKind::kConcat:
        return ForwardConcat(n, r);
      case NodeKind::kAdd:
        return ForwardAdd(n, r);
      case NodeKind::kMultiply:
        return ForwardMultiply(n, r);
      case NodeKind::kStopGradient:
        std::copy_n(Input(values_, n, 0, r), graph_.nodes()[n].width, Row(values_, n, r));
        break;
      case NodeKind::kSumColumns:
        return ForwardSumColumns(n, r);
      case NodeKind::kActivation:
        return ForwardActivation(n, r);
      case NodeKind::kLayerNorm:
        return ForwardLayerNorm(n, r);
      case NodeKind::kAttention:
        return Attend(n, r).Forward(Row(values_, n, r));
      case NodeKind::kSelector:
        return ForwardSelector(n, r);
      case NodeKind::kDropout:
        return ForEachKept(
            n, r, [&](int i, T m) { Row(values_, n, r)[i] = m * Input(values_, n, 0, r)[i]; });
    }
  }

  void BackwardRow(NodeKind kind, int n, int r) {
    switch (kind) {
      case NodeKind::kInput:
      case NodeKind::kStopGradient:
      case NodeKind::kBatchNorm:  // BackwardBatchNorm
        break;
      case NodeKind::kDense:
      case NodeKind::kBlockDense:
        return BackwardLayers(n, r);
      case NodeKind::kSoftmax:
        return BackwardSoftmax(n, r);
      case NodeKind::kMixture:
        return BackwardMixture(n, r);
      case NodeKind::kColumns:
        return ForEachColumn(n, [&](int from, int to) {
          Input(derivatives_, n, 0, r)[from] += Row(derivatives_, n, r)[to];
        });
      case NodeKind::kConcat:
        return BackwardConcat(n, r);
      case NodeKind::kAdd:
        return BackwardAdd(n, r);
      case NodeKind::kMultiply:
        return BackwardMultiply(n, r);
      case NodeKind::kSumColumns:
        return BackwardSumColumns(n, r);
      case NodeKind::kActivation:
        return BackwardActivation(n, r);
      case NodeKind::kLayerNorm:
        return BackwardLayerNorm(n, r);
      case NodeKind::kAttention:
        return Attend(n, r).Backward(Row(derivatives_, n, r), Input(derivatives_, n, 0, r),
                                     Input(derivatives_, n, 1, r), Input(derivatives_, n, 2, r));
      case NodeKind::kSelector:
        return BackwardSelector(n, r);
      case NodeKind::kDropout:
        return ForEachKept(n, r, [&](int i, T m) {
          Input(derivatives_, n, 0, r)[i] += m * Row(derivatives_, n, r)[i];
        });
    }
  }

  // Row r of input i of node n.
  T* Input(std::vector<std::vector<T>>& of, int n, int i, int r) {
    return Row(of, graph_.nodes()[n].inputs[i].node, r);
  }
  const T* Parameter(const std::string& name) const {
    return parameters_.data() + offsets_.at(name);
  }
  T* Gradient(const std::string& name) { return gradients_.data() + offsets_.at(name); }

  // visit(column of the input, column of the output) for each column of a kColumns node.
  template <typename Visit>
  void ForEachColumn(int n, Visit visit) {
    int to = 0;
    for (const ColumnRange& range : graph_.nodes()[n].ranges) {
      for (int i = 0; i < range.count; ++i) visit(range.begin + i, to++);
    }
  }

  // visit(column, multiplier) for each column of a kDropout node.
  template <typename Visit>
  void ForEachKept(int n, int r, Visit visit) {
    const Graph::Node& node = graph_.nodes()[n];
    const int width = node.width / static_cast<int>(node.draws.size());
    std::vector<T> m(width, T{1});
    for (size_t part = 0; part < node.draws.size(); ++part) {
      if (context_.training) {
        const uint64_t key = DropoutKey(context_.seed, node.draws[part]);
        DrawDropout(key, context_.step, context_.global_rows[r], node.rate, width, m.data());
      }
      for (int i = 0; i < width; ++i) visit(static_cast<int>(part) * width + i, m[i]);
    }
  }

  void ForwardConcat(int n, int r) {
    T* y = Row(values_, n, r);
    for (Value input : graph_.nodes()[n].inputs) {
      y = std::copy_n(Row(values_, input.node, r), graph_.width(input), y);
    }
  }

  void BackwardConcat(int n, int r) {
    const T* dy = Row(derivatives_, n, r);
    for (Value input : graph_.nodes()[n].inputs) {
      T* dx = Row(derivatives_, input.node, r);
      for (int i = 0; i < graph_.width(input); ++i) dx[i] += *dy++;
    }
  }

  void ForwardAdd(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    T* y = Row(values_, n, r);
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      const T* x = Input(values_, n, k, r);
      for (int i = 0; i < node.width; ++i) y[i] += T(node.scales[k]) * x[i];
    }
  }

  void BackwardAdd(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const T* dy = Row(derivatives_, n, r);
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      T* dx = Input(derivatives_, n, k, r);
      for (int i = 0; i < node.width; ++i) dx[i] += T(node.scales[k]) * dy[i];
    }
  }

  void ForwardMultiply(int n, int r) {
    const T *a = Input(values_, n, 0, r), *b = Input(values_, n, 1, r);
    T* y = Row(values_, n, r);
    for (int i = 0; i < graph_.nodes()[n].width; ++i) y[i] = a[i] * b[i];
  }

  void BackwardMultiply(int n, int r) {
    const T *a = Input(values_, n, 0, r), *b = Input(values_, n, 1, r);
    T *da = Input(derivatives_, n, 0, r), *db = Input(derivatives_, n, 1, r);
    const T* dy = Row(derivatives_, n, r);
    for (int i = 0; i < graph_.nodes()[n].width; ++i) {
      da[i] += dy[i] * b[i];
      db[i] += dy[i] * a[i];
    }
  }

  void ForwardSumColumns(int n, int r) {
    const int groups = graph_.nodes()[n].width;
    const int part = graph_.width(graph_.nodes()[n].inputs[0]) / groups;
    const T* x = Input(values_, n, 0, r);
    T* y = Row(values_, n, r);
    for (int i = 0; i < groups * part; ++i) y[i / part] += x[i];
  }

  void BackwardSumColumns(int n, int r) {
    const int groups = graph_.nodes()[n].width;
    const int part = graph_.width(graph_.nodes()[n].inputs[0]) / groups;
    T* dx = Input(derivatives_, n, 0, r);
    const T* dy = Row(derivatives_, n, r);
    for (int i = 0; i < groups * part; ++i) dx[i] += dy[i / part];
  }

  void ForwardActivation(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const T* x = Input(values_, n, 0, r);
    T* y = Row(values_, n, r);
    for (int i = 0; i < node.width; ++i) {
      y[i] = Activate(node.activation, x[i], SlopeOf(node, i));
    }
  }

  void BackwardActivation(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const T *x = Input(values_, n, 0, r), *y = Row(values_, n, r);
    const T* dy = Row(derivatives_, n, r);
    T* dx = Input(derivatives_, n, 0, r);
    for (int i = 0; i < node.width; ++i) {
      dx[i] += dy[i] * ActivationSlope(node.activation, x[i], y[i], SlopeOf(node, i));
      if (node.activation != PRELU || x[i] > 0) continue;
      *Gradient(node.block_names[i / node.block_width()] + "/slope") += dy[i] * x[i];
    }
  }

  // PReLU's slope in column i.
  T SlopeOf(const Graph::Node& node, int i) const {
    if (node.activation != PRELU) return 0;
    return *Parameter(node.block_names[i / node.block_width()] + "/slope");
  }

  void ForwardLayerNorm(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int d = node.block_width();
    for (int i = 0; i < node.blocks(); ++i) {
      LayerNormRow(Input(values_, n, 0, r) + i * d, Parameter(node.block_names[i] + "/gain"),
                   Parameter(node.block_names[i] + "/b"), d, Row(values_, n, r) + i * d);
    }
  }

  void BackwardLayerNorm(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int d = node.block_width();
    for (int i = 0; i < node.blocks(); ++i) {
      LayerNormRowGradient(
          Input(values_, n, 0, r) + i * d, Parameter(node.block_names[i] + "/gain"),
          Row(derivatives_, n, r) + i * d, d, Input(derivatives_, n, 0, r) + i * d,
          Gradient(node.block_names[i] + "/gain"), Gradient(node.block_names[i] + "/b"));
    }
  }

  AttentionRow<T> Attend(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    scratch_.resize(std::max<size_t>(scratch_.size(), 3 * node.parts));
    const auto in = [&](int i) { return Input(values_, n, i, r); };
    return AttentionRow<T>({node.parts, node.width, node.heads}, {in(0), in(1), in(2), in(3)},
                           scratch_.data());
  }

  // Column i of a kBatchNorm node over the lane's rows.
  struct BatchColumn {
    std::string name;
    int column;  // Of the parameters called `name`.
    T gain = 0, b = 0, mean = 0, scale = 0;
  };
  BatchColumn ColumnOf(int n, int i) {
    const Graph::Node& node = graph_.nodes()[n];
    BatchColumn column{.name = node.block_names[i / node.block_width()],
                       .column = i % node.block_width()};
    const auto at = [&](const char* what) { return Parameter(column.name + what)[column.column]; };
    column.gain = at("/gain");
    column.b = at("/b");
    column.mean = at(kRunningMean);
    T variance = std::max(T{0}, at(kRunningVariance));
    if (context_.training && rows_ > 0) {
      column.mean = variance = 0;
      for (int r = 0; r < rows_; ++r) column.mean += Input(values_, n, 0, r)[i] / rows_;
      for (int r = 0; r < rows_; ++r) {
        const T off = Input(values_, n, 0, r)[i] - column.mean;
        variance += off * off / rows_;
      }
      statistics_[offsets_.at(column.name + kRunningMean) + column.column] = column.mean;
      statistics_[offsets_.at(column.name + kRunningVariance) + column.column] =
          rows_ > 1 ? variance * rows_ / (rows_ - 1) : variance;
    }
    column.scale = 1 / std::sqrt(variance + T(node.batch_norm.epsilon()));
    return column;
  }

  void ForwardBatchNorm(int n) {
    for (int i = 0; i < graph_.nodes()[n].width; ++i) {
      const BatchColumn of = ColumnOf(n, i);
      for (int r = 0; r < rows_; ++r) {
        const T xhat = (Input(values_, n, 0, r)[i] - of.mean) * of.scale;
        Row(values_, n, r)[i] = xhat * of.gain + of.b;
      }
    }
  }

  void BackwardBatchNorm(int n) {
    for (int i = 0; i < graph_.nodes()[n].width; ++i) {
      const BatchColumn of = ColumnOf(n, i);
      const auto xhat = [&](int r) { return (Input(values_, n, 0, r)[i] - of.mean) * of.scale; };
      T db = 0, dgain = 0;
      for (int r = 0; r < rows_; ++r) {
        db += Row(derivatives_, n, r)[i];
        dgain += Row(derivatives_, n, r)[i] * xhat(r);
      }
      Gradient(of.name + "/b")[of.column] += db;
      Gradient(of.name + "/gain")[of.column] += dgain;
      for (int r = 0; r < rows_; ++r) {
        T centred = Row(derivatives_, n, r)[i];
        if (context_.training) centred -= (db + xhat(r) * dgain) / rows_;
        Input(derivatives_, n, 0, r)[i] += of.gain * of.scale * centred;
      }
    }
  }

  void ForwardSelector(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int m = graph_.width(node.inputs[0]) / node.parts;
    for (int i = 0; i < node.parts; ++i) {
      SelectorRow(Input(values_, n, 0, r) + i * m, m, T(node.gamma), Row(values_, n, r) + (i << m));
    }
  }

  void BackwardSelector(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int m = graph_.width(node.inputs[0]) / node.parts;
    for (int i = 0; i < node.parts; ++i) {
      SelectorRowGradient(Input(values_, n, 0, r) + i * m, Row(derivatives_, n, r) + (i << m), m,
                          T(node.gamma), Input(derivatives_, n, 0, r) + i * m);
    }
  }

  // Where block i of node n reads its input, and how many columns.
  std::pair<int, int> InputOf(const Graph::Node& node, int i) const {
    const int width = graph_.width(node.inputs[0]);
    if (node.kind == NodeKind::kDense) return {0, width};
    return {i * (width / node.blocks()), width / node.blocks()};
  }

  void ForwardLayers(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int out = node.block_width();
    for (int i = 0; i < node.blocks(); ++i) {
      const auto [column, in] = InputOf(node, i);
      const T* x = Row(values_, node.inputs[0].node, r) + column;
      T* y = Row(values_, n, r) + i * out;
      const T* w = parameters_.data() + offsets_.at(node.block_names[i] + "/w");
      const T* b =
          node.bias ? parameters_.data() + offsets_.at(node.block_names[i] + "/b") : nullptr;
      for (int o = 0; o < out; ++o) {
        T sum = b != nullptr ? b[o] : 0;
        for (int k = 0; k < in; ++k) sum += x[k] * w[size_t(k) * out + o];
        y[o] = Activate(node.activation, sum);
      }
    }
  }

  void BackwardLayers(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int out = node.block_width();
    for (int i = 0; i < node.blocks(); ++i) {
      const auto [column, in] = InputOf(node, i);
      const T* x = Row(values_, node.inputs[0].node, r) + column;
      T* dx = Row(derivatives_, node.inputs[0].node, r) + column;
      const T* y = Row(values_, n, r) + i * out;
      const T* dy = Row(derivatives_, n, r) + i * out;
      const int64_t w_offset = offsets_.at(node.block_names[i] + "/w");
      for (int o = 0; o < out; ++o) {
        const T dsum = dy[o] * ActivationSlope(node.activation, T{0}, y[o]);
        if (node.bias) gradients_[offsets_.at(node.block_names[i] + "/b") + o] += dsum;
        for (int k = 0; k < in; ++k) {
          gradients_[w_offset + int64_t{k} * out + o] += x[k] * dsum;
          dx[k] += parameters_[w_offset + int64_t{k} * out + o] * dsum;
        }
      }
    }
  }

  void ForwardSoftmax(int n, int r) {
    const int width = graph_.nodes()[n].width;
    const T* x = Row(values_, graph_.nodes()[n].inputs[0].node, r);
    T* y = Row(values_, n, r);
    const T max = *std::max_element(x, x + width);
    T sum = 0;
    for (int i = 0; i < width; ++i) sum += y[i] = std::exp(x[i] - max);
    for (int i = 0; i < width; ++i) y[i] /= sum;
  }

  void BackwardSoftmax(int n, int r) {
    const int width = graph_.nodes()[n].width;
    const T* y = Row(values_, n, r);
    const T* dy = Row(derivatives_, n, r);
    T* dx = Row(derivatives_, graph_.nodes()[n].inputs[0].node, r);
    T dot = 0;
    for (int i = 0; i < width; ++i) dot += y[i] * dy[i];
    for (int i = 0; i < width; ++i) dx[i] += y[i] * (dy[i] - dot);
  }

  void ForwardMixture(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int d = node.width;
    const T* gate = Row(values_, node.inputs[0].node, r);
    T* y = Row(values_, n, r);
    for (size_t group = 1; group < node.inputs.size(); ++group) {
      const int experts = graph_.width(node.inputs[group]) / d;
      const T* e = Row(values_, node.inputs[group].node, r);
      for (int i = 0; i < experts; ++i, ++gate, e += d) {
        for (int c = 0; c < d; ++c) y[c] += *gate * e[c];
      }
    }
  }

  void BackwardMixture(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int d = node.width;
    const T* gate = Row(values_, node.inputs[0].node, r);
    T* dgate = Row(derivatives_, node.inputs[0].node, r);
    const T* dy = Row(derivatives_, n, r);
    for (size_t group = 1; group < node.inputs.size(); ++group) {
      const int experts = graph_.width(node.inputs[group]) / d;
      const T* e = Row(values_, node.inputs[group].node, r);
      T* de = Row(derivatives_, node.inputs[group].node, r);
      for (int i = 0; i < experts; ++i, ++gate, ++dgate, e += d, de += d) {
        for (int c = 0; c < d; ++c) {
          *dgate += dy[c] * e[c];
          de[c] += *gate * dy[c];
        }
      }
    }
  }

  const Graph& graph_;
  const int rows_;
  const std::vector<T>& parameters_;
  const StepContext context_;
  std::vector<T> gradients_, statistics_;
  std::vector<T> scratch_;
  std::map<std::string, int64_t> offsets_;
  std::vector<std::vector<T>> values_, derivatives_;  // [node][R, width]
};

}  // namespace

template <typename T>
ReferenceNetwork<T>::ReferenceNetwork(Graph graph, std::vector<PassSpec> passes)
    : graph_(std::move(graph)), passes_(std::move(passes)) {
  if (passes_.empty()) passes_.emplace_back();
  for (ParameterOfNode& parameter : ListParameters(graph_)) {
    parameter_count_ += int64_t{parameter.view.rows} * parameter.view.columns;
    parameters_.push_back(std::move(parameter.view));
  }
}

template <typename T>
typename ReferenceNetwork<T>::Result ReferenceNetwork<T>::Run(
    int rows, const std::vector<T>& x, const std::vector<T>& parameters,
    const std::vector<std::vector<T>>& labels, const std::vector<std::vector<T>>& loss_weights,
    const StepContext& context, const std::vector<std::vector<T>>& head_scales) const {
  CHECK_EQ(x.size(), size_t(rows) * graph_.width(graph_.Input()));
  CHECK_EQ(static_cast<int64_t>(parameters.size()), parameter_count_);
  Result result;
  Pass<T> pass(graph_, parameters_, rows, parameters, context);
  pass.value(0) = x;
  pass.Forward();
  result.statistics = pass.statistics();
  for (const Graph::HeadSpec& head : graph_.heads()) pass.AddPredictions(head, &result.predictions);
  for (const PassSpec& spec : passes_) {
    const std::vector<T> scales = result.passes.size() < head_scales.size()
                                      ? head_scales[result.passes.size()]
                                      : std::vector<T>();
    pass.Clear();
    size_t loss = 0;
    result.losses.resize(labels.size());
    for (const Graph::HeadSpec& head : graph_.heads()) {
      if (!head.has_loss) continue;
      const T scale = !IsSeededBy(head, spec) ? 0 : scales.empty() ? 1 : scales[loss];
      result.losses[loss] =
          pass.AddHeadLoss(head, labels[loss].data(), loss_weights[loss].data(), scale);
      ++loss;
    }
    pass.Backward();
    result.passes.push_back({OwnedOnly(spec, pass.gradients()), pass.derivative(0)});
  }
  return result;
}

// The gradients of what the pass owns; zeros for the others.
template <typename T>
std::vector<T> ReferenceNetwork<T>::OwnedOnly(const PassSpec& spec,
                                              std::vector<T> gradients) const {
  for (const ParameterView& view : parameters_) {
    if (!spec.owns || spec.owns(view.name)) continue;
    std::fill_n(gradients.begin() + view.offset, int64_t{view.rows} * view.columns, T{0});
  }
  return gradients;
}

template class ReferenceNetwork<float>;
template class ReferenceNetwork<double>;

}  // namespace pagoda
