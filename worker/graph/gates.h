// Looking at gates: outputs beside a model's own, one for each weight that a gate gives, so that an
// evaluation can say which experts each task uses.
//
// An element costs nothing in training (outputs are computed when predictions are asked for) and
// changes no bit: it reads a value that the network has anyway.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_GRAPH_GATES_H_
#define PAGODA_WORKER_GRAPH_GATES_H_

#include <string>

#include "worker/graph/graph.h"

namespace pagoda {

// Adds an unreported output for every column of the gate of every mixture of experts. A gate that
// several mixtures read has one set of them. Not looked at: a WeightedSum, the mixture of selectors
// that is a gate itself (DSelect-k), and a gate without a layer to be named after.
void AddGateElements(Graph* graph);

bool IsGateElement(const Graph::HeadSpec& head);

// "income/gate" and "shared_experts/0" of an element: the layers' names, those of experts without
// what follows their number.
struct GateElementName {
  std::string gate, expert;
};
GateElementName SplitGateElementName(const std::string& name);

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_GATES_H_
