// The dense network as a graph of nodes: what a model composes.
//
// A model says what is computed; nothing in it mentions gradients, batches, threads or memory. `Program` (program.h)
// derives the backward pass, fuses sibling Dense nodes that read the same input into one matrix product, plans an arena,
// and runs tiles of B rows. Every value is [B, width]; a value of several experts is [B, n * d], expert i in columns [i d, (i + 1) d).
//
// Parameters are named by the scope and the node ("level0/income/experts/layer0/w"); their initial values are a function of (seed,
// name) alone, so that no draw depends on what else is in the model.
//
// To add a node kind: its shape rule here, its reference kernel (float and double) in reference.cc, its fast kernel in kernels.cc; the
// tests find it by name: numeric gradient, fast against reference.
//
// **Needs external lock.**
#ifndef PAGODA_WORKER_GRAPH_GRAPH_H_
#define PAGODA_WORKER_GRAPH_GRAPH_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "proto/config.pb.h"

namespace pagoda {

// A handle to a node's output.
struct Value {
  int node = -1;
};

// `n` experts of the same width d: [B, n * d].
struct ExpertGroup {
  Value value;
  int count = 0;
};

// How a head's prediction is made from its logit, and how its loss is.
enum class HeadKind {
  kProbability,  // p = sigmoid(x); loss: binary cross-entropy, from the logit
  kNumber,       // p = x; loss: (x - label)^2
  // p = sigmoid(x) * sigmoid(y), in log space; loss: binary cross-entropy of the product (ESMM's pCTCVR)
  kProduct,
};

class Graph {
 public:
  explicit Graph(int input_width);

  // x [B, input_width]: pooled embeddings, then dense features.
  Value Input();

  // act(x w + b), w [in, width]; `name` is unique inside the scope.
  Value Dense(const std::string& name, Value x, int width, Activation activation = IDENTITY,
              bool bias = true);
  // A stack of Dense layers "name/layer0", ...; empty widths: x itself.
  Value Mlp(const std::string& name, Value x, absl::Span<const int> widths, Activation activation);
  // `count` separate stacks of the same widths on the same input.
  ExpertGroup Experts(const std::string& name, Value x, int count, absl::Span<const int> widths,
                      Activation activation);
  // Row-wise softmax.
  Value Softmax(Value x);
  // Sum over experts e of gate[:, e] * expert_e; gate [B, sum of counts], groups in order; all of one width d -> [B, d].
  Value Mixture(Value gate, absl::Span<const ExpertGroup> groups);

  // The prediction of `task`, with its loss against the task's label. `x` (and `y` of kProduct) are logits [B, 1].
  void Head(const std::string& task, HeadKind kind, Value x, Value y = {});
  // A prediction without a loss (ESMM's pCVR), reported beside the tasks'.
  void Output(const std::string& name, HeadKind kind, Value x, Value y = {});

  int width(Value v) const;

  struct Node;  // graph.cc and its compilers.
  const std::vector<Node>& nodes() const { return nodes_; }
  struct HeadSpec {
    std::string name;
    HeadKind kind;
    Value x, y;
    bool has_loss;
  };
  const std::vector<HeadSpec>& heads() const { return heads_; }

 private:
  std::vector<Node> nodes_;
  std::vector<HeadSpec> heads_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_GRAPH_H_
