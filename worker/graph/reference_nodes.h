// The oracle's values (reference.cc), and its nodes without parameters, one row at a time.
//
// Letters: R rows; of node n and row r, y is the output and x an input; d columns of one expert. A
// `d` before a name is the gradient of the loss with respect to it; gradients are added to.
//
// **Confined to one thread.**
#ifndef PAGODA_WORKER_GRAPH_REFERENCE_NODES_H_
#define PAGODA_WORKER_GRAPH_REFERENCE_NODES_H_

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "worker/graph/attention.h"
#include "worker/graph/dropout.h"
#include "worker/graph/graph.h"
#include "worker/graph/plain_nodes.h"
#include "worker/graph/program.h"

namespace pagoda {

// R rows: every value and, of one pass, every derivative in full; zeros at first.
template <typename T>
struct ReferenceValues {
  const Graph& graph;
  std::vector<std::vector<T>> values, derivatives;  // [node][R, width]

  ReferenceValues(const Graph& graph, int rows) : graph(graph) {
    for (const Graph::Node& node : graph.nodes()) {
      values.emplace_back(size_t(rows) * node.width, T{0});
      derivatives.emplace_back(size_t(rows) * node.width, T{0});
    }
  }

  T* y(int n, int r) { return values[n].data() + size_t(r) * graph.nodes()[n].width; }
  T* dy(int n, int r) { return derivatives[n].data() + size_t(r) * graph.nodes()[n].width; }
  T* x(int n, size_t i, int r) { return y(graph.nodes()[n].inputs[i].node, r); }
  T* dx(int n, size_t i, int r) { return dy(graph.nodes()[n].inputs[i].node, r); }
};

template <typename T>
class ParameterlessNodes {
 public:
  // `values` outlives this.
  ParameterlessNodes(const StepContext& context, ReferenceValues<T>* values)
      : graph_(values->graph), context_(context), v_(*values) {}

  void Forward(int n, int r) {
    switch (graph_.nodes()[n].kind) {
      case NodeKind::kSoftmax:
        return ForwardSoftmax(n, r);
      case NodeKind::kMixture:
        return ForwardMixture(n, r);
      case NodeKind::kColumns:
        return ForEachColumn(n, [&](int from, int to) { v_.y(n, r)[to] = v_.x(n, 0, r)[from]; });
      case NodeKind::kConcat:
        return ForwardConcat(n, r);
      case NodeKind::kAdd:
        return ForwardAdd(n, r);
      case NodeKind::kMultiply:
        return ForwardMultiply(n, r);
      case NodeKind::kStopGradient:
        std::copy_n(v_.x(n, 0, r), graph_.nodes()[n].width, v_.y(n, r));
        return;
      case NodeKind::kSumColumns:
        return ForwardSumColumns(n, r);
      case NodeKind::kAttention:
        return Attend(n, r).Forward(v_.y(n, r));
      case NodeKind::kSelector:
        return ForwardSelector(n, r);
      case NodeKind::kDropout:
        return ForEachKept(n, r, [&](int i, T m) { v_.y(n, r)[i] = m * v_.x(n, 0, r)[i]; });
      default:
        LOG(FATAL) << "node " << n << " has parameters";
    }
  }

  void Backward(int n, int r) {
    switch (graph_.nodes()[n].kind) {
      case NodeKind::kSoftmax:
        return BackwardSoftmax(n, r);
      case NodeKind::kMixture:
        return BackwardMixture(n, r);
      case NodeKind::kColumns:
        return ForEachColumn(n, [&](int from, int to) { v_.dx(n, 0, r)[from] += v_.dy(n, r)[to]; });
      case NodeKind::kConcat:
        return BackwardConcat(n, r);
      case NodeKind::kAdd:
        return BackwardAdd(n, r);
      case NodeKind::kMultiply:
        return BackwardMultiply(n, r);
      case NodeKind::kStopGradient:
        return;
      case NodeKind::kSumColumns:
        return BackwardSumColumns(n, r);
      case NodeKind::kAttention:
        return Attend(n, r).Backward(v_.dy(n, r), v_.dx(n, 0, r), v_.dx(n, 1, r), v_.dx(n, 2, r));
      case NodeKind::kSelector:
        return BackwardSelector(n, r);
      case NodeKind::kDropout:
        return ForEachKept(n, r, [&](int i, T m) { v_.dx(n, 0, r)[i] += m * v_.dy(n, r)[i]; });
      default:
        LOG(FATAL) << "node " << n << " has parameters";
    }
  }

 private:
  void ForwardSoftmax(int n, int r) {
    const int width = graph_.nodes()[n].width;
    const T* x = v_.x(n, 0, r);
    T* y = v_.y(n, r);
    const T max = *std::max_element(x, x + width);
    T sum = 0;
    for (int i = 0; i < width; ++i) sum += y[i] = std::exp(x[i] - max);
    for (int i = 0; i < width; ++i) y[i] /= sum;
  }

  void BackwardSoftmax(int n, int r) {
    const int width = graph_.nodes()[n].width;
    const T* y = v_.y(n, r);
    const T* dy = v_.dy(n, r);
    T* dx = v_.dx(n, 0, r);
    T dot = 0;
    for (int i = 0; i < width; ++i) dot += y[i] * dy[i];
    for (int i = 0; i < width; ++i) dx[i] += y[i] * (dy[i] - dot);
  }

  void ForwardMixture(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int d = node.width;
    const T* gate = v_.x(n, 0, r);
    T* y = v_.y(n, r);
    for (size_t group = 1; group < node.inputs.size(); ++group) {
      const int experts = graph_.width(node.inputs[group]) / d;
      const T* e = v_.x(n, group, r);
      for (int i = 0; i < experts; ++i, ++gate, e += d) {
        for (int c = 0; c < d; ++c) y[c] += *gate * e[c];
      }
    }
  }

  void BackwardMixture(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int d = node.width;
    const T* gate = v_.x(n, 0, r);
    T* dgate = v_.dx(n, 0, r);
    const T* dy = v_.dy(n, r);
    for (size_t group = 1; group < node.inputs.size(); ++group) {
      const int experts = graph_.width(node.inputs[group]) / d;
      const T* e = v_.x(n, group, r);
      T* de = v_.dx(n, group, r);
      for (int i = 0; i < experts; ++i, ++gate, ++dgate, e += d, de += d) {
        for (int c = 0; c < d; ++c) {
          *dgate += dy[c] * e[c];
          de[c] += *gate * dy[c];
        }
      }
    }
  }

  // visit(column of the input, column of the output) for each column of a kColumns node.
  template <typename Visit>
  void ForEachColumn(int n, Visit visit) {
    int to = 0;
    for (const ColumnRange& range : graph_.nodes()[n].ranges) {
      for (int i = 0; i < range.count; ++i) visit(range.begin + i, to++);
    }
  }

  void ForwardConcat(int n, int r) {
    T* y = v_.y(n, r);
    for (Value input : graph_.nodes()[n].inputs) {
      y = std::copy_n(v_.y(input.node, r), graph_.width(input), y);
    }
  }

  void BackwardConcat(int n, int r) {
    const T* dy = v_.dy(n, r);
    for (Value input : graph_.nodes()[n].inputs) {
      T* dx = v_.dy(input.node, r);
      for (int i = 0; i < graph_.width(input); ++i) dx[i] += *dy++;
    }
  }

  void ForwardAdd(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    T* y = v_.y(n, r);
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      const T* x = v_.x(n, k, r);
      for (int i = 0; i < node.width; ++i) y[i] += T(node.scales[k]) * x[i];
    }
  }

  void BackwardAdd(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const T* dy = v_.dy(n, r);
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      T* dx = v_.dx(n, k, r);
      for (int i = 0; i < node.width; ++i) dx[i] += T(node.scales[k]) * dy[i];
    }
  }

  void ForwardMultiply(int n, int r) {
    const T *a = v_.x(n, 0, r), *b = v_.x(n, 1, r);
    T* y = v_.y(n, r);
    for (int i = 0; i < graph_.nodes()[n].width; ++i) y[i] = a[i] * b[i];
  }

  void BackwardMultiply(int n, int r) {
    const T *a = v_.x(n, 0, r), *b = v_.x(n, 1, r);
    T *da = v_.dx(n, 0, r), *db = v_.dx(n, 1, r);
    const T* dy = v_.dy(n, r);
    for (int i = 0; i < graph_.nodes()[n].width; ++i) {
      da[i] += dy[i] * b[i];
      db[i] += dy[i] * a[i];
    }
  }

  void ForwardSumColumns(int n, int r) {
    const int groups = graph_.nodes()[n].width;
    const int part = graph_.width(graph_.nodes()[n].inputs[0]) / groups;
    const T* x = v_.x(n, 0, r);
    T* y = v_.y(n, r);
    for (int i = 0; i < groups * part; ++i) y[i / part] += x[i];
  }

  void BackwardSumColumns(int n, int r) {
    const int groups = graph_.nodes()[n].width;
    const int part = graph_.width(graph_.nodes()[n].inputs[0]) / groups;
    T* dx = v_.dx(n, 0, r);
    const T* dy = v_.dy(n, r);
    for (int i = 0; i < groups * part; ++i) dx[i] += dy[i / part];
  }

  AttentionRow<T> Attend(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    scratch_.resize(std::max<size_t>(scratch_.size(), 3 * node.parts));
    const auto in = [&](int i) { return v_.x(n, i, r); };
    return AttentionRow<T>({node.parts, node.width, node.heads}, {in(0), in(1), in(2), in(3)},
                           scratch_.data());
  }

  void ForwardSelector(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int m = graph_.width(node.inputs[0]) / node.parts;
    for (int i = 0; i < node.parts; ++i) {
      SelectorRow(v_.x(n, 0, r) + i * m, m, T(node.gamma), v_.y(n, r) + (i << m));
    }
  }

  void BackwardSelector(int n, int r) {
    const Graph::Node& node = graph_.nodes()[n];
    const int m = graph_.width(node.inputs[0]) / node.parts;
    for (int i = 0; i < node.parts; ++i) {
      SelectorRowGradient(v_.x(n, 0, r) + i * m, v_.dy(n, r) + (i << m), m, T(node.gamma),
                          v_.dx(n, 0, r) + i * m);
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

  const Graph& graph_;
  const StepContext context_;
  ReferenceValues<T>& v_;
  std::vector<T> scratch_;  // Attention's.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_REFERENCE_NODES_H_
