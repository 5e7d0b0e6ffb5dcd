#include "worker/graph/gates.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace pagoda {
namespace {

// No layer's name holds it, so a name of both parts comes apart again.
constexpr char kBetween[] = " <- ";

// "experts/0" of "experts/0/layer1".
std::string ExpertName(absl::string_view layer) {
  const size_t at = layer.rfind("/layer");
  return std::string(at == absl::string_view::npos ? layer : layer.substr(0, at));
}

// The experts that the columns of a mixture's gate stand for.
std::vector<std::string> ExpertNames(const Graph& graph, const Graph::Node& mixture) {
  std::vector<std::string> names;
  for (size_t group = 1; group < mixture.inputs.size(); ++group) {
    const Graph::Node* node = &graph.nodes()[mixture.inputs[group].node];
    while (node->kind == NodeKind::kStopGradient) node = &graph.nodes()[node->inputs[0].node];
    const int count = node->width / mixture.width;
    for (int i = 0; i < count; ++i) {
      if (node->blocks() != count) {
        names.push_back(absl::StrCat("expert", names.size()));
      } else if (node->is_tied) {
        names.push_back(absl::StrCat(node->block_names[i], "/", i));
      } else {
        names.push_back(ExpertName(node->block_names[i]));
      }
    }
  }
  return names;
}

// The first layer that one comes to upwards from a gate, or, of a gate made of selectors
// (DSelect-k's: a mixture of them, or one alone), the folder of that layer; "" when there is none.
std::string GateName(const Graph& graph, Value gate) {
  const Graph::Node* node = &graph.nodes()[gate.node];
  const bool is_made = node->kind == NodeKind::kMixture || node->kind == NodeKind::kSelector;
  while (node->block_names.empty()) {
    if (node->inputs.empty()) return "";
    node = &graph.nodes()[node->inputs[0].node];
  }
  const std::string& layer = node->block_names[0];
  return is_made ? layer.substr(0, layer.rfind('/')) : layer;
}

// Mixtures that are gates of others: what they mix are no experts.
std::set<int> MixturesThatAreGates(const Graph& graph) {
  std::set<int> gates;
  for (const Graph::Node& node : graph.nodes()) {
    if (node.kind == NodeKind::kMixture && !node.is_pooling) gates.insert(node.inputs[0].node);
  }
  return gates;
}

}  // namespace

void AddGateElements(Graph* graph) {
  std::vector<Graph::HeadSpec> heads;
  std::set<std::string> seen;
  const std::set<int> are_gates = MixturesThatAreGates(*graph);
  for (size_t n = 0; n < graph->nodes().size(); ++n) {
    const Graph::Node& node = graph->nodes()[n];
    if (node.kind != NodeKind::kMixture || node.is_pooling) continue;
    if (are_gates.count(static_cast<int>(n)) > 0) continue;
    const Value gate = node.inputs[0];
    const std::string name = GateName(*graph, gate);
    if (name.empty() || !seen.insert(name).second) continue;
    const std::vector<std::string> experts = ExpertNames(*graph, node);
    for (size_t e = 0; e < experts.size(); ++e) {
      heads.push_back({.name = absl::StrCat(name, kBetween, experts[e]),
                       .kind = HeadKind::kElement,
                       .x = gate,
                       .y = {},
                       .has_loss = false,
                       .parameter = static_cast<double>(e),
                       .reported = false});
    }
  }
  for (Graph::HeadSpec& head : heads) graph->AddHead(std::move(head));
}

bool IsGateElement(const Graph::HeadSpec& head) { return head.kind == HeadKind::kElement; }

GateElementName SplitGateElementName(const std::string& name) {
  const size_t at = name.find(kBetween);
  if (at == std::string::npos) return {name, ""};
  return {name.substr(0, at), name.substr(at + sizeof(kBetween) - 1)};
}

}  // namespace pagoda
