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
#include "worker/graph/plan.h"
#include "worker/graph/program.h"

namespace pagoda {
namespace {

template <typename T>
T Activate(Activation activation, T x) {
  switch (activation) {
    case RELU:
      return x > 0 ? x : 0;
    case IDENTITY:
      return x;
    case SIGMOID:
      return Sigmoid(x);
    case TANH:
      return std::tanh(x);
  }
  return x;
}

// act'(x), from y = act(x).
template <typename T>
T ActivationSlope(Activation activation, T y) {
  switch (activation) {
    case RELU:
      return y > 0 ? 1 : 0;
    case IDENTITY:
      return 1;
    case SIGMOID:
      return y * (1 - y);
    case TANH:
      return 1 - y * y;
  }
  return 1;
}

// One pass over R rows: every value and every gradient in full.
template <typename T>
class Pass {
 public:
  Pass(const Graph& graph, const std::vector<ParameterView>& views, int rows,
       const std::vector<T>& parameters, std::vector<T>* gradients)
      : graph_(graph), rows_(rows), parameters_(parameters), gradients_(*gradients) {
    for (const ParameterView& view : views) offsets_[view.name] = view.offset;
    for (const Graph::Node& node : graph.nodes()) {
      values_.emplace_back(size_t(rows) * node.width, T{0});
      derivatives_.emplace_back(size_t(rows) * node.width, T{0});
    }
  }

  std::vector<T>& value(int node) { return values_[node]; }
  std::vector<T>& derivative(int node) { return derivatives_[node]; }

  void Forward() {
    for (int n = 1; n < static_cast<int>(graph_.nodes().size()); ++n) {
      const Graph::Node& node = graph_.nodes()[n];
      for (int r = 0; r < rows_; ++r) {
        if (!node.block_names.empty()) ForwardLayers(n, r);
        if (node.kind == NodeKind::kSoftmax) ForwardSoftmax(n, r);
        if (node.kind == NodeKind::kMixture) ForwardMixture(n, r);
      }
    }
  }

  void Backward() {
    for (int n = static_cast<int>(graph_.nodes().size()) - 1; n > 0; --n) {
      const Graph::Node& node = graph_.nodes()[n];
      for (int r = 0; r < rows_; ++r) {
        if (!node.block_names.empty()) BackwardLayers(n, r);
        if (node.kind == NodeKind::kSoftmax) BackwardSoftmax(n, r);
        if (node.kind == NodeKind::kMixture) BackwardMixture(n, r);
      }
    }
  }

 private:
  T* Row(std::vector<std::vector<T>>& of, int node, int r) {
    return of[node].data() + size_t(r) * graph_.nodes()[node].width;
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
        const T dsum = dy[o] * ActivationSlope(node.activation, y[o]);
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
  std::vector<T>& gradients_;
  std::map<std::string, int64_t> offsets_;
  std::vector<std::vector<T>> values_, derivatives_;  // [node][R, width]
};

}  // namespace

template <typename T>
ReferenceNetwork<T>::ReferenceNetwork(Graph graph) : graph_(std::move(graph)) {
  for (ParameterOfNode& parameter : ListParameters(graph_)) {
    parameter_count_ += int64_t{parameter.view.rows} * parameter.view.columns;
    parameters_.push_back(std::move(parameter.view));
  }
}

template <typename T>
typename ReferenceNetwork<T>::Result ReferenceNetwork<T>::Run(
    int rows, const std::vector<T>& x, const std::vector<T>& parameters,
    const std::vector<std::vector<T>>& labels,
    const std::vector<std::vector<T>>& loss_weights) const {
  CHECK_EQ(x.size(), size_t(rows) * graph_.width(graph_.Input()));
  CHECK_EQ(static_cast<int64_t>(parameters.size()), parameter_count_);
  Result result;
  result.gradients.assign(parameter_count_, T{0});
  Pass<T> pass(graph_, parameters_, rows, parameters, &result.gradients);
  pass.value(0) = x;
  pass.Forward();
  for (const Graph::HeadSpec& head : graph_.heads()) {
    const bool is_product = head.kind == HeadKind::kProduct;
    const size_t loss_index = result.losses.size();
    if (head.has_loss) result.losses.push_back(0);
    for (int r = 0; r < rows; ++r) {
      const T logit_x = pass.value(head.x.node)[r];
      const T logit_y = is_product ? pass.value(head.y.node)[r] : 0;
      result.predictions.push_back(HeadPrediction(head.kind, logit_x, logit_y));
      const T weight = head.has_loss ? loss_weights[loss_index][r] : 0;
      if (weight == 0) continue;
      const HeadLoss<T> l = LossOfHead(head.kind, logit_x, logit_y, labels[loss_index][r]);
      result.losses[loss_index] += weight * l.loss;
      pass.derivative(head.x.node)[r] += weight * l.dx;
      if (is_product) pass.derivative(head.y.node)[r] += weight * l.dy;
    }
  }
  pass.Backward();
  result.dx = pass.derivative(0);
  return result;
}

template class ReferenceNetwork<float>;
template class ReferenceNetwork<double>;

}  // namespace pagoda
