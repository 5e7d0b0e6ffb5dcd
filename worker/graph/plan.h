// What a graph is compiled into: lists of operations over columns of buffers, forward and then one
// for each backward pass, and where every buffer and every parameter lies. No oneDNN and no
// arithmetic here. planner.h makes it.
//
// Stages: a BatchNorm and what reads it come a stage after its input, in whose stage its sums are
// taken; so layers side by side share a border. A node's stage is the largest number of BatchNorms
// on a way from the network's input to it, itself included; backward, on a way from the losses.
//
// Letters: T rows of a tile; a buffer is [T, ld]; `in`, `out` are the columns on the two sides of a
// layer.
//
// Fusion: all kDense layers that read one value share one buffer and one weight matrix, columns
// side by side, sorted by (activation, bias): forward is one product for each run of columns with
// the same activation and bias, backward is one product for the input's gradient and one for the
// weights'.
//
// Memory: the arena holds every buffer; buffers whose lives do not overlap share its columns. All
// offsets are in floats per row, so one plan serves tiles of every height: buffer b of a tile of T
// rows begins at T * offset.
//
// Thread-safe (const after MakePlan).
#ifndef PAGODA_WORKER_GRAPH_PLAN_H_
#define PAGODA_WORKER_GRAPH_PLAN_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "worker/graph/attention.h"
#include "worker/graph/graph.h"
#include "worker/graph/program.h"
#include "worker/graph/row_ops.h"
#include "worker/graph/slot.h"

namespace pagoda {

struct ArenaBuffer {
  int ld = 0;           // Floats from one row to the next.
  int64_t offset = -1;  // In the arena, floats per row; -1: never used.
  int first_op = -1;    // Life, in operations of forward ++ pass 0 ++ pass 1 ...; -1: never used.
  int last_op = -1;
};

// Buffers that the runner points at the caller's memory, tile by tile.
inline constexpr int kInputBuffer = 0;                                   // x
inline constexpr int InputGradientBuffer(int pass) { return 1 + pass; }  // dx

// A weight matrix [in, out] inside the flat array, or some of its columns.
struct WeightSlot {
  int64_t offset;
  int64_t stride;
};

// One matrix product.
struct ProductOp {
  enum Kind {
    kForward,         // y = act(x w + b)
    kInputGradient,   // x (+)= y w^T, x and y being gradients
    kWeightGradient,  // dw (+)= x^T y, y being a gradient; accumulates from the second tile on
  };
  Kind kind;
  Slot x;
  int in;
  Slot y;
  int out;
  WeightSlot w;
  int64_t bias = -1;        // kForward: offset of b [out]; -1: none.
  bool relu = false;        // kForward.
  bool accumulate = false;  // kInputGradient; kWeightGradient: into what this pass has written.
};

// y <- act(y), in place, for activations that no product applies.
struct ActivationOp {
  Slot y;
  int width;
  Activation activation;
};

// dy <- dy * act'(y), in place, and db (+)= column sums of the result.
struct ActivationGradientOp {
  Slot y, dy;
  int width;
  Activation activation;
  int64_t bias;                  // Offset of db [width]; -1: none.
  bool accumulate_bias = false;  // Into what this pass has written: of tied layers.
};

struct SoftmaxOp {
  Slot x, y;
  int width;
};

struct SoftmaxGradientOp {
  Slot y, dy, dx;
  int width;
  bool accumulate;
};

// y [d] = sum over e of gate[e] * expert_e [d]
struct MixtureOp {
  Slot gate, y;
  std::vector<Slot> experts;
  int width;  // d
};

// dgate[e] (+)= <dy, expert_e>, dexpert_e (+)= gate[e] dy; a slot of buffer -1 is not wanted.
struct MixtureGradientOp {
  Slot gate, dgate, dy;
  std::vector<Slot> experts;
  std::vector<Slot> dexperts;
  std::vector<bool> accumulate_expert;  // [experts]
  bool accumulate_gate;
  int width;  // d
};

// A head's prediction, and its loss and the logits' gradients if it has a loss.
struct HeadOp {
  HeadKind kind;
  int head;       // Index in Graph::heads().
  int width = 1;  // Of the logits x, dx.
  int loss = -1;  // Index among the heads with a loss.
  Slot x, y, dx, dy;
};

// Begins a pass: a logit's gradient dx (+)= the head's scale in this pass * HeadOp's dx or dy.
struct SeedOp {
  int loss;  // Index among the heads with a loss.
  Slot seed, dx;
  int width;
  bool accumulate;
};

// A part of a kDropout node (dropout.h): draws kept [T, KeptFloats(width)] and y = x m.
struct DropoutOp {
  Slot x, kept, y;
  int width;
  double rate;
  int draw;  // Index in Plan::draws.
};

// dx (+)= dy m
struct DropoutGradientOp {
  Slot dy, kept, dx;
  int width;
  double rate;
  bool accumulate;
};

struct ZeroOp {
  Slot x;
  int width;
};

// Of Plan::batch_norms; x, y, dy, dx [T, d].

// own += sum x, sum x^2, where the stage before the layer ends.
struct BatchSumsOp {
  int layer;
  Slot x;
};

// y = xhat gain + b
struct BatchNormOp {
  int layer;
  Slot x, y;
};

// own += sum dy, sum dy xhat, which are db and dgain.
struct BatchGradientSumsOp {
  int layer;
  int sums;  // Where they stand in the stage's sums.
  Slot x, dy;
  bool wants_dgain, wants_db;
};

struct BatchNormGradientOp {
  int layer;
  int sums;  // In those of the stage before.
  Slot x, dy, dx;
  bool accumulate;
};

// y = attention of each row (attention.h).
struct AttentionOp {
  AttentionShape shape;
  Slot q, k, v, mask, y;
};

// dq, dk, dv (+)= ...; a slot of buffer -1 is not wanted.
struct AttentionGradientOp {
  AttentionOp of;
  Slot dy;
  Slot d[3];           // dq, dk, dv
  bool accumulate[3];  // Into them.
};

using Op = std::variant<ProductOp, ActivationOp, ActivationGradientOp, SoftmaxOp, SoftmaxGradientOp,
                        MixtureOp, MixtureGradientOp, RowOp, HeadOp, SeedOp, ZeroOp, DropoutOp,
                        DropoutGradientOp, BatchSumsOp, BatchNormOp, BatchGradientSumsOp,
                        BatchNormGradientOp, AttentionOp, AttentionGradientOp>;

// [offset, offset + count) of the flat array.
struct FlatRange {
  int64_t offset;
  int64_t count;
};

// One backward pass.
struct PassPlan {
  std::vector<Op> ops;
  // What no operation writes: gaps, and parameters that no loss of the pass reaches or that it does
  // not own.
  std::vector<FlatRange> zero_gradients;
};

struct Plan {
  std::vector<ParameterView> parameters;  // In name order.
  int64_t parameter_count = 0;
  int64_t multiply_adds_per_row = 0;

  std::vector<ArenaBuffer> buffers;
  int64_t arena_floats_per_row = 0;
  std::vector<std::string> draws;  // Names of parts of kDropout nodes.
  std::vector<BatchNormLayer> batch_norms;
  std::vector<Op> forward;
  std::vector<PassPlan> passes;  // At least one.
  std::vector<Stage> stages;     // Forward's, then each pass's; of each at least one.
};

struct PlanOptions {
  bool fuse_siblings = true;          // False: one product a layer.
  std::vector<PassSpec> passes = {};  // Empty: one of every loss, which owns every parameter.
};

Plan MakePlan(const Graph& graph, const PlanOptions& options = {});

// Every parameter of the graph, in name order: names and shapes, packed densely.
struct ParameterOfNode {
  ParameterView view;
  int node;
  int block;
  bool is_bias;  // A bias, or b. Neither that nor a weight: view.is_statistic.
};
std::vector<ParameterOfNode> ListParameters(const Graph& graph);

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_PLAN_H_
