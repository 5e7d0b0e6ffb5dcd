// Graphs that between them hold every node kind, activation and head kind; found by the tests of
// gradients and of fast against reference.
#ifndef PAGODA_TESTS_WORKER_GRAPH_CASES_H_
#define PAGODA_TESTS_WORKER_GRAPH_CASES_H_

#include <string>
#include <vector>

#include "worker/graph/graph.h"

namespace pagoda {

struct GraphCase {
  std::string name;
  Graph (*build)(int input_width);
};

inline const std::vector<GraphCase>& GraphCases() {
  static const auto* const cases = new std::vector<GraphCase>{
      {"linear",
       [](int width) {
         Graph g(width);
         g.Head("a", HeadKind::kNumber, g.Dense("out", g.Input(), 1));
         return g;
       }},
      {"no_bias",
       [](int width) {
         Graph g(width);
         g.Head("a", HeadKind::kProbability,
                g.Dense("out", g.Dense("h", g.Input(), 5, TANH, false), 1, IDENTITY, false));
         return g;
       }},
      {"activations",
       [](int width) {
         Graph g(width);
         Value x = g.Dense("relu", g.Input(), 17, RELU);
         x = g.Dense("tanh", x, 9, TANH);
         x = g.Dense("sigmoid", x, 33, SIGMOID);
         g.Head("a", HeadKind::kProbability, g.Dense("out", x, 1));
         return g;
       }},
      {"siblings",  // Every activation on one input, with and without bias, interleaved.
       [](int width) {
         Graph g(width);
         const Value x = g.Dense("x", g.Input(), 7, TANH);
         int i = 0;
         for (Activation activation : {RELU, IDENTITY, SIGMOID, RELU, TANH, IDENTITY}) {
           const std::string name = "s" + std::to_string(i);
           const Value s = g.Dense(name, x, 3 + i, activation, i % 2 == 0);
           g.Head(name, i % 2 == 0 ? HeadKind::kProbability : HeadKind::kNumber,
                  g.Dense(name + "/out", s, 1));
           ++i;
         }
         return g;
       }},
      {"blocks",  // Deep experts, a softmax over raw input, gates, a mixture of two groups.
       [](int width) {
         Graph g(width);
         const ExpertGroup a = g.Experts("a", g.Input(), 3, {8, 5}, RELU);
         const ExpertGroup b = g.Experts("b", g.Softmax(g.Input()), 2, {6, 4, 5}, TANH);
         const ExpertGroup none = g.Experts("none", g.Input(), 0, {5}, TANH);
         for (const std::string k : {"p", "q"}) {
           const Value gate = g.Softmax(g.Dense(k + "/gate", g.Input(), 5));
           const Value y = g.Mixture(gate, {a, none, b});
           g.Head(k, HeadKind::kProbability, g.Dense(k + "/out", y, 1));
         }
         return g;
       }},
      {"product",  // A logit read by two heads, and an output without a loss.
       [](int width) {
         Graph g(width);
         const Value x = g.Dense("x", g.Input(), 1), y = g.Dense("y", g.Input(), 1);
         g.Head("click", HeadKind::kProbability, x);
         g.Head("buy", HeadKind::kProduct, x, y);
         g.Output("given", HeadKind::kProbability, y);
         return g;
       }},
      {"unused",  // What no loss depends on gets zero gradients, inside a fused product too.
       [](int width) {
         Graph g(width);
         g.Head("a", HeadKind::kNumber, g.Dense("used", g.Input(), 1));
         g.Output("b", HeadKind::kNumber, g.Dense("unused", g.Input(), 1));
         g.Output("c", HeadKind::kNumber,
                  g.Dense("c", g.Experts("deep", g.Input(), 2, {3, 2}, RELU).value, 1));
         return g;
       }},
      {"gated_input",  // A mixture whose expert is the input itself: dx has several parts.
       [](int width) {
         Graph g(width);
         const Value gate = g.Softmax(g.Dense("gate", g.Input(), 2));
         const ExpertGroup deep{g.Dense("deep", g.Input(), width, TANH), 1};
         const Value y = g.Mixture(gate, {ExpertGroup{g.Input(), 1}, deep});
         g.Head("a", HeadKind::kNumber, g.Dense("out", y, 1));
         return g;
       }},
  };
  return *cases;
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_WORKER_GRAPH_CASES_H_
