// The dense network as a graph of nodes: what a model composes.
//
// A model says what is computed; nothing in it mentions gradients, batches, threads or memory.
// `Program` (program.h) derives the backward pass, fuses sibling Dense nodes that read the same
// input into one matrix product, plans an arena, and runs tiles of rows. Every value is [B, width];
// a value of n experts of width d is [B, n * d], expert i in columns [i d, (i + 1) d).
//
// Parameters are named by the node: Dense("income/tower/layer0") has "income/tower/layer0/w" and
// ".../b", Experts("experts") has "experts/0/layer0/w", "experts/1/layer0/w", ... Their initial
// values are a function of (seed, name) alone, so that no draw depends on what else is in the
// model.
//
// To add a node kind: its shape rule here, its plain form in reference_nodes.h, or reference.cc if
// it has parameters, its operations in plan.h and planner.h (their slots in arena.cc), its fast
// kernel in kernels.h, called by runner_ops.cc; a graph with it in the tests' cases.h: they hold
// numeric gradients, and fast against reference.
//
// **Needs external lock.**
#ifndef PAGODA_WORKER_GRAPH_GRAPH_H_
#define PAGODA_WORKER_GRAPH_GRAPH_H_

#include <set>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "proto/config.pb.h"

namespace pagoda {

// A handle to a node's output.
struct Value {
  int node = -1;
};

// `count` experts of the same width d: [B, count * d].
struct ExpertGroup {
  Value value;
  int count = 0;
};

// How a head's prediction is made from its logits, and how its loss is.
enum class HeadKind {
  kProbability,  // p = sigmoid(x); loss: binary cross-entropy, from the logit
  kNumber,       // p = x; loss: (x - label)^2
  // p = sigmoid(x) sigmoid(y), in log space; loss: binary cross-entropy of p (ESMM's pCTCVR)
  kProduct,
  // worker/graph/losses.h says what these are; [parameter, parameter2] are HeadSpec's.
  kHuber,      // p = x [delta]
  kPoisson,    // p = e^x
  kLogNormal,  // p = e^x, the median
  kClasses,    // x [B, C]: softmax; p = the likeliest class's number
  kClass,      // x [B, C]: p = softmax(x)[parameter]; no loss: an output beside kClasses
  kFocal,      // p = sigmoid(x) [gamma, alpha]
  kPairwise,   // p = x, of which only the order means something
  kElement,    // x [B, C]: p = x[parameter]; no loss (worker/graph/gates.h)
  // Losses beside the tasks', never reported; heads.h has the formulas.
  kValue,              // loss: x itself; no label
  kEntropy,            // x [B, n], probabilities: their entropy; no label
  kInversePropensity,  // x [B, 2]: conversion's and click's logit [lowest propensity]
  kDoublyRobust,       // x [B, 3]: and the imputed error [lowest propensity]
};
inline constexpr int kHeadKinds = 15;

inline bool IsAuxiliary(HeadKind kind) { return kind >= HeadKind::kValue; }

enum class NodeKind {
  kInput,
  kDense,  // `blocks` layers side by side, each reads the whole input.
  // `blocks` layers; block i reads columns [i d, (i + 1) d) of the input. Tied: the same layer.
  kBlockDense,
  kSoftmax,
  kMixture,
  kColumns,       // Some columns of the input.
  kConcat,        // Inputs side by side.
  kAdd,           // sum of scale_i x_i
  kMultiply,      // Element by element.
  kStopGradient,  // The input, of which no gradient is taken.
  kSumColumns,    // Sums over groups of neighbouring columns.
  kActivation,    // Where no layer applies it in place: GELU and PReLU need their input again.
  kLayerNorm,
  kBatchNorm,  // By the lane's rows while training, by running statistics otherwise (batch_norm.h).
  kAttention,  // Self-attention over the places of a sequence, averaged (attention.h).
  kSelector,   // DSelect-k's smooth choice of one of n by log2 n bits.
  kDropout,    // The input while not training (dropout.h).
};
inline constexpr int kNodeKinds = 17;

// Columns [begin, begin + count) of a value.
struct ColumnRange {
  int begin = 0;
  int count = 0;
};

// What a hidden layer is besides its product: y = dropout(act(norm(x w + b))), without b before a
// BatchNorm, and with `residual` y + x where both are of one width.
struct LayerStyle {
  LayerStyle(Activation activation) : activation(activation) {}  // NOLINT: a layer's one must.
  Activation activation;
  ModelConfig::Normalization normalization = ModelConfig::NONE;
  BatchNormConfig batch_norm = {};  // Of BATCH.
  double dropout = 0;
  bool residual = false;
};

class Graph {
 public:
  // REQUIRES: input_width > 0.
  explicit Graph(int input_width);

  // x [B, input_width]: pooled embeddings, then dense features.
  Value Input() const { return Value{0}; }

  // act(x w + b), w [in, width]. REQUIRES: `name` is new in this graph; width > 0.
  Value Dense(const std::string& name, Value x, int width, Activation activation = IDENTITY,
              bool bias = true);
  // `count` layers of the same parameters side by side: columns [i d, (i + 1) d) of x become
  // columns [i width, (i + 1) width). REQUIRES: count divides the width of x.
  Value TiedDense(const std::string& name, Value x, int count, int width,
                  Activation activation = IDENTITY, bool bias = true);
  // A stack of Dense layers "name/layer0", ...; empty widths: x itself.
  Value Mlp(const std::string& name, Value x, absl::Span<const int> widths,
            const LayerStyle& style);
  // `count` separate stacks of the same widths on the same input; expert i's layers are
  // "name/i/layer0", ... A count of 0 is an empty group, and one expert is the nodes of one Mlp.
  // REQUIRES: widths are not empty.
  ExpertGroup Experts(const std::string& name, Value x, int count, absl::Span<const int> widths,
                      const LayerStyle& style);
  // Row-wise softmax.
  Value Softmax(Value x);
  // Sum over experts e of gate[:, e] * expert_e; gate [B, sum of counts], groups in order; all of
  // one width d -> [B, d]. Empty groups are passed over. One expert in all is its own mixture,
  // whatever the gate's logit: its value is returned, no node is made, and a gate that nothing else
  // reads keeps its parameters, whose gradients are zeros.
  Value Mixture(Value gate, absl::Span<const ExpertGroup> groups);

  // sum over j of weights[:, j] x_j, x_j an equal part of x [B, places * d] -> [B, d]; weights
  // [B, places]. A mixture, but no gate's: nothing reports its weights (gates.h).
  Value WeightedSum(Value weights, Value x);
  // Of queries, keys and values [B, places * d] and their mask [B, places], of which no gradient is
  // taken: [B, d]. REQUIRES: heads divides d.
  Value Attention(Value q, Value k, Value v, Value mask, int heads);
  // The columns of x in `ranges`, in that order. All of them: x itself, no node.
  // REQUIRES: ranges lie inside x and hold a column.
  Value Columns(Value x, std::vector<ColumnRange> ranges);
  // The same, but always a node, even of all columns: bits do not depend on what else x holds.
  Value CopyColumns(Value x, std::vector<ColumnRange> ranges);
  // One value: itself, no node. REQUIRES: at least one.
  Value Concat(absl::Span<const Value> values);
  // sum of scales[i] values[i]; no scales: ones. REQUIRES: all of one width.
  Value Add(absl::Span<const Value> values, absl::Span<const double> scales = {});
  // a b, element by element. REQUIRES: of one width.
  Value Multiply(Value a, Value b);
  // While training, x with columns dropped at `rate` (dropout.h); x otherwise. A name keys the
  // draws of its part, one of equal parts of x. A rate of 0: x itself, no node.
  // REQUIRES: rate is in [0, 1); the names are no other Dropout's.
  Value Dropout(Value x, std::vector<std::string> names, double rate);
  // x, through which no gradient flows.
  Value StopGradient(Value x);
  // [B, groups]: column g is the sum of the g-th of `groups` equal parts of x.
  Value SumColumns(Value x, int groups = 1);
  // act(x). Each of the names is a PReLU layer with a slope of its own, "NAME/slope" [1, 1], for
  // equal parts of x; other activations need none.
  Value Activate(Value x, Activation activation, std::vector<std::string> names = {});
  // (x - mean) / sqrt(variance + 1e-5) gain + b over each part of a row; a name has equal parts of
  // x and parameters "NAME/gain" and "NAME/b" [1, part]. Ba, Kiros and Hinton, "Layer
  // Normalization", 2016, eq. (4).
  Value LayerNorm(Value x, std::vector<std::string> names);
  // (x - mean) / sqrt(variance + epsilon) gain + b, each column by itself. While training, mean and
  // (biased) variance are those of the lane's rows, or with config.sync of the global batch's;
  // otherwise running ones. A name has equal parts of x and parameters "NAME/gain", "NAME/b",
  // "NAME/running_mean" and "NAME/running_variance" [1, part], of which the last two have no
  // gradient (batch_norm.h).
  Value BatchNorm(Value x, std::vector<std::string> names, const BatchNormConfig& config);
  // For each of `count` equal parts z [m] of x: r(z) [2^m], one-hot in the limit. Bit j of i
  // chooses S(z_j) or 1 - S(z_j), S the smooth step of width gamma. Hazimeh et al., "DSelect-k:
  // Differentiable Selection in the Mixture of Experts", NeurIPS 2021, eq. (3) and section 3.1.
  Value Selector(Value x, int count, double gamma);

  // Which rows a loss adds up.
  enum class LossRows {
    kTask,  // The task's: its sample space and weights, over their sum (or as the task normalises).
    kEvery,  // Every row, each with weight 1, over the number of rows; no label is read.
    // kEvery, but only rows that count in both the task and the task `given` (their weights are not
    // 0) and whose label of `given` is not 0; the task's own label is read.
    kGiven,
  };
  struct HeadSpec {
    std::string name;
    HeadKind kind;
    Value x, y;
    bool has_loss;
    std::string task = {};  // Whose label the loss reads and whose loss it is a part of.
    double parameter = 0;   // Of the loss, where its kind has one.
    double parameter2 = 0;  // And a second one.
    bool reported = true;   // False: a loss beside the tasks' (AITM's calibrator), no prediction.
    double weight = 1;      // Times the loss.
    LossRows rows = LossRows::kTask;
    std::string given = {};
  };

  // The prediction of `task`, with its loss against the task's label. `x` (and `y` of kProduct) are
  // logits [B, 1].
  void Head(const std::string& task, HeadKind kind, Value x, Value y = {});
  // A prediction without a loss (ESMM's pCVR), reported beside the tasks'.
  void Output(const std::string& name, HeadKind kind, Value x, Value y = {});
  // A head of all fields: losses beside the tasks' (`reported` false), parts of a task's loss.
  // REQUIRES: has_loss => `task` is set.
  void AddHead(HeadSpec head);
  // Puts the heads of `names` first, in that order; the others keep theirs. REQUIRES: each is one.
  void OrderHeads(absl::Span<const std::string> names);

  int width(Value v) const;

  struct Node {
    NodeKind kind;
    int width = 0;                   // Of the output.
    std::vector<Value> inputs = {};  // kMixture: {gate, group, group, ...}.
    // Of kinds with parameters: a layer's are "NAME/w" [in, width / blocks] and, with a bias,
    // "NAME/b"; PReLU's "NAME/slope"; LayerNorm's "NAME/gain" and "NAME/b", and BatchNorm's
    // beside these "NAME/running_mean" and "NAME/running_variance".
    std::vector<std::string> block_names = {};
    Activation activation = IDENTITY;      // kDense, kBlockDense, kActivation
    bool bias = false;                     // kDense, kBlockDense
    bool is_tied = false;                  // kBlockDense: all blocks are one layer, of one name.
    std::vector<ColumnRange> ranges = {};  // kColumns
    std::vector<double> scales = {};       // kAdd: [inputs]
    int parts = 1;                         // kSelector; kAttention: places.
    int heads = 1;                         // kAttention
    bool is_pooling = false;               // kMixture: a WeightedSum.
    double gamma = 0;                      // kSelector
    double rate = 0;                       // kDropout
    std::vector<std::string> draws = {};   // kDropout: the names of equal parts.
    BatchNormConfig batch_norm = {};       // kBatchNorm

    int blocks() const { return static_cast<int>(block_names.size()); }
    int block_width() const { return width / blocks(); }
  };
  // In an order in which inputs come first; node 0 is the input.
  const std::vector<Node>& nodes() const { return nodes_; }

  const std::vector<HeadSpec>& heads() const { return heads_; }

 private:
  Value AddNode(Node node);
  Value AddLayers(Node node, Value x, int block_width, Activation activation);
  Value Normalize(Value x, const std::vector<std::string>& names, const LayerStyle& style);
  Value AddHidden(NodeKind kind, std::vector<std::string> names, Value x, int block_width,
                  const LayerStyle& style);
  void ClaimNames(absl::Span<const std::string> names);

  std::vector<Node> nodes_;
  std::vector<HeadSpec> heads_;
  std::set<std::string> names_;  // Of layers: what makes parameter names unique.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_GRAPH_H_
