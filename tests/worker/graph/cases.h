// Graphs that between them hold every node kind, activation and head kind; found by the tests of
// gradients and of fast against reference.
#ifndef PAGODA_TESTS_WORKER_GRAPH_CASES_H_
#define PAGODA_TESTS_WORKER_GRAPH_CASES_H_

#include <string>
#include <vector>

#include "worker/graph/gates.h"
#include "worker/graph/graph.h"

namespace pagoda {

struct GraphCase {
  std::string name;
  Graph (*build)(int input_width);
  // Gradients are stopped on the way to the input and to parameters called stopped/...: differences
  // of the loss see what the derived gradient must not.
  bool stops = false;
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
         AddGateElements(&g);
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
      {"losses",  // Every loss of one logit, several on one value; a pairwise one.
       [](int width) {
         Graph g(width);
         const Value x = g.Dense("x", g.Input(), 6, TANH);
         for (const HeadKind kind : {HeadKind::kHuber, HeadKind::kPoisson, HeadKind::kLogNormal,
                                     HeadKind::kFocal, HeadKind::kPairwise}) {
           const std::string name = "k" + std::to_string(static_cast<int>(kind));
           g.AddHead({.name = name,
                      .kind = kind,
                      .x = g.Dense(name, x, 1),
                      .y = {},
                      .has_loss = true,
                      .task = name,
                      .parameter = 0.75,
                      .parameter2 = 0.3});
         }
         return g;
       }},
      {"classes",  // Logits of several columns, read by a loss and by outputs.
       [](int width) {
         Graph g(width);
         const Value x = g.Dense("x", g.Dense("h", g.Input(), 7, TANH), 5);
         g.Head("label", HeadKind::kClasses, x);
         g.Head("a", HeadKind::kNumber, g.Dense("a", g.Softmax(x), 1));
         for (int c = 0; c < 5; ++c) {
           g.AddHead({.name = "label/" + std::to_string(c),
                      .kind = HeadKind::kClass,
                      .x = x,
                      .y = {},
                      .has_loss = false,
                      .parameter = static_cast<double>(c)});
         }
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
      {"columns",  // Out of order, twice the same, joined again; all of them is no node.
       [](int width) {
         Graph g(width);
         const Value x = g.Columns(g.Dense("x", g.Input(), 7, TANH), {{5, 2}, {0, 1}, {1, 2}});
         const Value y = g.Columns(g.Input(), {{0, 1}, {0, 1}});
         const Value both = g.Concat({x, y, g.Columns(y, {{0, 2}}), x});
         g.Head("a", HeadKind::kProbability, g.Dense("out", both, 1));
         return g;
       }},
      {"sums",  // Scaled, of one value twice; products, of one value with itself.
       [](int width) {
         Graph g(width);
         const Value a = g.Dense("a", g.Input(), 6, TANH), b = g.Dense("b", g.Input(), 6);
         const Value sum = g.Add({a, g.Multiply(a, b), g.Multiply(b, b), a}, {1, -0.5, 0.25, 2});
         g.Head("p", HeadKind::kProbability, g.SumColumns(sum));
         g.Head("q", HeadKind::kNumber, g.Dense("out", g.SumColumns(sum, 3), 1));
         g.Head("r", HeadKind::kNumber, g.SumColumns(g.Add({g.Input(), g.Input()})));
         return g;
       }},
      {"gelu_prelu",  // Behind layers, behind blocks, on the input itself.
       [](int width) {
         Graph g(width);
         const Value x = g.Mlp("m", g.Input(), {9, 5}, GELU);
         const ExpertGroup e = g.Experts("e", x, 3, {6, 4}, PRELU);
         const Value raw = g.Activate(g.Activate(g.Input(), GELU), PRELU, {"raw"});
         const Value s = g.Activate(g.Activate(g.Concat({e.value, raw}), SIGMOID), RELU);
         g.Head("a", HeadKind::kProbability, g.Dense("out", g.Activate(s, TANH), 1));
         return g;
       }},
      {"layer_norm",
       [](int width) {
         Graph g(width);
         LayerStyle style(TANH);
         style.normalization = ModelConfig::LAYER;
         style.residual = true;
         const Value x = g.Mlp("m", g.Input(), {6, 6}, style);
         style.activation = PRELU;
         const ExpertGroup e = g.Experts("e", x, 2, {6, 6}, style);
         g.Head("a", HeadKind::kProbability, g.Dense("out", e.value, 1));
         return g;
       }},
      {"batch_norm",  // Not training: by running statistics. batch_norm_test.cc trains. The head's
                      // layer reads what the first BatchNorm reads: its gradient is added to.
       [](int width) {
         Graph g(width);
         LayerStyle style(TANH);
         style.normalization = ModelConfig::BATCH;
         const Value x = g.Mlp("m", g.BatchNorm(g.Input(), {"input"}, {}), {6, 5}, style);
         const ExpertGroup e = g.Experts("e", x, 2, {4}, style);
         const Value both = g.Concat({e.value, g.Input()});
         g.Head("a", HeadKind::kProbability, g.Dense("out", both, 1));
         return g;
       }},
      {"attention",  // Masks of every kind, by signs. One value read three times; one head.
       [](int width) {
         Graph g(width);
         const Value mask = g.Dense("mask", g.Input(), 3);
         const Value e = g.Dense("e", g.Input(), 3 * 4, TANH);
         const auto part = [&](const char* name) { return g.TiedDense(name, e, 3, 4); };
         const Value two = g.Attention(part("q"), part("k"), part("v"), mask, 2);
         const Value one = g.Attention(e, e, e, mask, 1);
         const Value sum = g.WeightedSum(g.Dense("w", g.Input(), 3), e);
         g.Head("a", HeadKind::kProbability, g.Dense("out", g.Concat({one, two, sum}), 1));
         return g;
       }},
      {"tied",  // One layer over parts, with and without a bias and an activation.
       [](int width) {
         Graph g(width);
         Value x = g.TiedDense("t", g.Dense("x", g.Input(), 12, TANH), 4, 5, TANH);
         x = g.TiedDense("u", x, 2, 3, RELU, /*bias=*/false);
         x = g.TiedDense("v", x, 3, 2, PRELU);
         g.Head("a", HeadKind::kProbability, g.Dense("out", x, 1));
         return g;
       }},
      {"selector",  // The smooth step's middle and its flat ends.
       [](int width) {
         Graph g(width);
         const Value r = g.Selector(g.Dense("z", g.Input(), 6), 2, 1.5);
         const ExpertGroup e = g.Experts("e", g.Input(), 8, {3}, TANH);
         const Value q = g.Mixture(g.Softmax(g.Dense("alpha", g.Input(), 2)), {ExpertGroup{r, 2}});
         g.Head("a", HeadKind::kProbability, g.Dense("out", g.Mixture(q, {e}), 1));
         g.AddHead({.name = "entropy",
                    .kind = HeadKind::kEntropy,
                    .x = g.Softmax(g.Dense("h", g.Input(), 4)),
                    .y = {},
                    .has_loss = true,
                    .task = "a",
                    .reported = false});
         g.AddHead({.name = "value",
                    .kind = HeadKind::kValue,
                    .x = g.SumColumns(r),
                    .y = {},
                    .has_loss = true,
                    .task = "a",
                    .reported = false});
         return g;
       }},
      {"dropout",  // Not training: x itself. dropout_test.cc trains.
       [](int width) {
         Graph g(width);
         const Value x = g.Dropout(g.Dense("x", g.Input(), 6, TANH), {"x", "y"}, 0.4);
         g.Head("a", HeadKind::kProbability, g.Dense("out", g.Add({x, x}), 1));
         return g;
       }},
      {"stopped",  // Losses of a value whose gradient is stopped, and of one that it multiplies.
       [](int width) {
         Graph g(width);
         const Value stopped = g.StopGradient(g.Dense("stopped/x", g.Input(), 4, TANH));
         const Value x = g.Dense("x", g.Input(), 4, TANH);
         const Value logit = g.Dense("out", g.Multiply(x, stopped), 1);
         g.Head("a", HeadKind::kProbability, logit);
         const Value p = g.StopGradient(g.Dense("stopped/p", g.Input(), 1));
         const Value e = g.Dense("e", x, 1);
         // What a doubly robust loss gives the conversion's logit is no slope of it (heads.h).
         const Value given = g.StopGradient(g.Dense("stopped/cvr", g.Input(), 1));
         for (const HeadKind kind : {HeadKind::kInversePropensity, HeadKind::kDoublyRobust}) {
           const bool is_ipw = kind == HeadKind::kInversePropensity;
           g.AddHead({.name = is_ipw ? "ipw" : "dr",
                      .kind = kind,
                      .x = is_ipw ? g.Concat({logit, p}) : g.Concat({given, p, e}),
                      .y = {},
                      .has_loss = true,
                      .task = "a",
                      .parameter = 0.4,
                      .reported = false});
         }
         return g;
       },
       /*stops=*/true},
  };
  return *cases;
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_WORKER_GRAPH_CASES_H_
