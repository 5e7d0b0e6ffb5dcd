#include <algorithm>

#include "worker/graph/batch_norm.h"
#include "worker/graph/plan.h"

namespace pagoda {
namespace {

// PReLU's slope, or a norm's gain and bias, and of BatchNorm its running statistics.
void ListVectors(int n, const Graph::Node& node, std::vector<ParameterOfNode>* list) {
  const bool is_norm = node.kind != NodeKind::kActivation;
  const int d = is_norm ? node.block_width() : 1;
  for (int i = 0; i < node.blocks(); ++i) {
    const std::string& name = node.block_names[i];
    list->push_back({{name + (is_norm ? "/gain" : "/slope"), 1, d, 0, d}, n, i, /*is_bias=*/false});
    if (is_norm) list->push_back({{name + "/b", 1, d, 0, d}, n, i, /*is_bias=*/true});
    if (node.kind != NodeKind::kBatchNorm) continue;
    for (const char* statistic : {kRunningMean, kRunningVariance}) {
      list->push_back({{name + statistic, 1, d, 0, d, /*is_statistic=*/true}, n, i, false});
    }
  }
}

bool HasVectors(NodeKind kind) {
  return kind == NodeKind::kActivation || kind == NodeKind::kLayerNorm ||
         kind == NodeKind::kBatchNorm;
}

}  // namespace

std::vector<ParameterOfNode> ListParameters(const Graph& graph) {
  std::vector<ParameterOfNode> list;
  for (int n = 0; n < static_cast<int>(graph.nodes().size()); ++n) {
    const Graph::Node& node = graph.nodes()[n];
    if (node.block_names.empty()) continue;
    if (HasVectors(node.kind)) {
      ListVectors(n, node, &list);
      continue;
    }
    const int in =
        graph.width(node.inputs[0]) / (node.kind == NodeKind::kBlockDense ? node.blocks() : 1);
    const int out = node.block_width();
    for (int i = 0; i < (node.is_tied ? 1 : node.blocks()); ++i) {
      list.push_back({{node.block_names[i] + "/w", in, out, 0, out}, n, i, /*is_bias=*/false});
      if (!node.bias) continue;
      list.push_back({{node.block_names[i] + "/b", 1, out, 0, out}, n, i, /*is_bias=*/true});
    }
  }
  std::sort(list.begin(), list.end(),
            [](const auto& a, const auto& b) { return a.view.name < b.view.name; });
  int64_t offset = 0;
  for (ParameterOfNode& parameter : list) {
    parameter.view.offset = offset;
    offset += int64_t{parameter.view.rows} * parameter.view.columns;
  }
  return list;
}

}  // namespace pagoda
