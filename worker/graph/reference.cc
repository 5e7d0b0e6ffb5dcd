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

#include "worker/graph/heads.h"
#include "worker/graph/plain_nodes.h"
#include "worker/graph/plan.h"
#include "worker/graph/program.h"
#include "worker/graph/reference_nodes.h"

namespace pagoda {
namespace {

// R rows, forward and one pass after another: nodes with parameters, heads, and the order of all.
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
        statistics_(parameters.size(), T{0}),
        v_(graph, rows),
        others_(context, &v_) {
    for (const ParameterView& view : views) offsets_[view.name] = view.offset;
  }

  std::vector<T>& value(int node) { return v_.values[node]; }
  std::vector<T>& derivative(int node) { return v_.derivatives[node]; }
  std::vector<T>& gradients() { return gradients_; }
  const std::vector<T>& statistics() const { return statistics_; }

  // All derivatives and gradients are zeros again.
  void Clear() {
    for (std::vector<T>& derivative : v_.derivatives) {
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
      loss +=
          LossOfRows<T>(head, {.rows = std::min(step, rows_ - begin),
                               .width = width,
                               .x = v_.values[head.x.node].data() + size_t(begin) * width,
                               .y = is_product ? v_.values[head.y.node].data() + begin : nullptr,
                               .labels = labels + begin,
                               .weights = weights + begin,
                               .dx = dx.data() + size_t(begin) * width,
                               .dy = is_product ? dy.data() + begin : nullptr});
    }
    for (size_t i = 0; i < dx.size(); ++i) v_.derivatives[head.x.node][i] += scale * dx[i];
    for (int r = 0; is_product && r < rows_; ++r) v_.derivatives[head.y.node][r] += scale * dy[r];
    return loss;
  }

  void AddPredictions(const Graph::HeadSpec& head, std::vector<T>* predictions) {
    const int width = graph_.width(head.x);
    for (int r = 0; r < rows_; ++r) {
      const T y = head.kind == HeadKind::kProduct ? v_.values[head.y.node][r] : T{0};
      predictions->push_back(PredictionOfRow(head, v_.y(head.x.node, r), width, y));
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
  void ForwardRow(NodeKind kind, int n, int r) {
    switch (kind) {
      case NodeKind::kInput:
      case NodeKind::kBatchNorm:  // ForwardBatchNorm: of all rows at once.
        break;
      case NodeKind::kDense:
      case NodeKind::kBlockDense:
        return ForwardLayers(n, r);
      case NodeKind::kActivation:
        return ForwardActivation(n, r);
      case NodeKind::kLayerNorm:
        return ForwardLayerNorm(n, r);
      default:
        return others_.Forward(n, r);
    }
  }

  void BackwardRow(NodeKind kind, int n, int r) {
    switch (kind) {
      case NodeKind::kInput:
      case NodeKind::kBatchNorm:  // BackwardBatchNorm
        break;
      case NodeKind::kDense:
      case NodeKind::kBlockDense:
        return BackwardLayers(n, r);
      case NodeKind::kActivation:
        return BackwardActivation(n, r);
      case NodeKind::kLayerNorm:
        return BackwardLayerNorm(n, r);
      default:
        return others_.Backward(n, r);
    }
  }

  const T* Parameter(const std::string& name) const {
    return parameters_.data() + offsets_.at(name);
  }
  T* Gradient(const std::string& name) { return gradients_.data() + offsets_.at(name); }

  void ForwardActivation(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const T* x = v_.x(n, 0, r);
    T* y = v_.y(n, r);
    for (int i = 0; i < node.width; ++i) {
      y[i] = Activate(node.activation, x[i], SlopeOf(node, i));
    }
  }

  void BackwardActivation(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const T *x = v_.x(n, 0, r), *y = v_.y(n, r);
    const T* dy = v_.dy(n, r);
    T* dx = v_.dx(n, 0, r);
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
      LayerNormRow(v_.x(n, 0, r) + i * d, Parameter(node.block_names[i] + "/gain"),
                   Parameter(node.block_names[i] + "/b"), d, v_.y(n, r) + i * d);
    }
  }

  void BackwardLayerNorm(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int d = node.block_width();
    for (int i = 0; i < node.blocks(); ++i) {
      LayerNormRowGradient(v_.x(n, 0, r) + i * d, Parameter(node.block_names[i] + "/gain"),
                           v_.dy(n, r) + i * d, d, v_.dx(n, 0, r) + i * d,
                           Gradient(node.block_names[i] + "/gain"),
                           Gradient(node.block_names[i] + "/b"));
    }
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
      for (int r = 0; r < rows_; ++r) column.mean += v_.x(n, 0, r)[i] / rows_;
      for (int r = 0; r < rows_; ++r) {
        const T off = v_.x(n, 0, r)[i] - column.mean;
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
        const T xhat = (v_.x(n, 0, r)[i] - of.mean) * of.scale;
        v_.y(n, r)[i] = xhat * of.gain + of.b;
      }
    }
  }

  void BackwardBatchNorm(int n) {
    for (int i = 0; i < graph_.nodes()[n].width; ++i) {
      const BatchColumn of = ColumnOf(n, i);
      const auto xhat = [&](int r) { return (v_.x(n, 0, r)[i] - of.mean) * of.scale; };
      T db = 0, dgain = 0;
      for (int r = 0; r < rows_; ++r) {
        db += v_.dy(n, r)[i];
        dgain += v_.dy(n, r)[i] * xhat(r);
      }
      Gradient(of.name + "/b")[of.column] += db;
      Gradient(of.name + "/gain")[of.column] += dgain;
      for (int r = 0; r < rows_; ++r) {
        T centred = v_.dy(n, r)[i];
        if (context_.training) centred -= (db + xhat(r) * dgain) / rows_;
        v_.dx(n, 0, r)[i] += of.gain * of.scale * centred;
      }
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
      const T* x = v_.x(n, 0, r) + column;
      T* y = v_.y(n, r) + i * out;
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
      const T* x = v_.x(n, 0, r) + column;
      T* dx = v_.dx(n, 0, r) + column;
      const T* y = v_.y(n, r) + i * out;
      const T* dy = v_.dy(n, r) + i * out;
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

  const Graph& graph_;
  const int rows_;
  const std::vector<T>& parameters_;
  const StepContext context_;
  std::vector<T> gradients_, statistics_;
  std::map<std::string, int64_t> offsets_;
  ReferenceValues<T> v_;
  ParameterlessNodes<T> others_;
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
