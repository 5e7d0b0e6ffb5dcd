// Builds a Plan (plan.h) from a graph. Inside worker/graph only.
//
//   plan.cc        what is computed, which layers are fused, where buffers and parameters lie
//   plan_nodes.cc  each node kind's operations, forward and backward
//   plan_rows.cc   the same of kinds without a matrix product, and of tied layers
//   plan_stages.cc which stage a node is of, and the operations of BatchNorm
//
// A pass wants a node's gradient if a loss that seeds the pass reaches the node, and the gradient
// leads to a parameter that the pass owns or to the wanted input. What no pass wants is not
// computed; a node's readers add to its gradient stage by stage (plan.h), and in a stage from the
// graph's end to its beginning, whatever else is in it.
//
// To add a node kind: a case in ForwardNode and in BackwardNode; if it has parameters, one in
// PlaceParameters and in ListParameters (parameters.cc).
//
// **Confined to one thread.**
#ifndef PAGODA_WORKER_GRAPH_PLANNER_H_
#define PAGODA_WORKER_GRAPH_PLANNER_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "worker/graph/plan.h"

namespace pagoda {

class Planner {
 public:
  Planner(const Graph& graph, const PlanOptions& options);
  Plan Take() { return std::move(plan_); }

 private:
  // Layers that share a buffer and a weight matrix.
  struct Group {
    Value x;
    std::vector<int> nodes;  // In column order.
    int first_node;          // Where in the graph's order it is computed.
    int width = 0;
    Slot y;
    WeightSlot w = {};
    int64_t bias = -1;  // [width], where it has any.
  };

  // What depends on a value: nothing (it is not computed), a prediction, or a loss.
  enum class Use { kNone, kOutput, kLoss };

  // Columns of a group with the same activation and bias: [column, column + width).
  struct Run {
    int column, width;
    Activation activation;
    bool bias;
  };

  // A pass under way.
  struct Pass {
    int index;
    const PassSpec* spec;
    std::vector<bool> wants;                // [node]: the gradient of its value.
    std::vector<std::vector<bool>> owns_w;  // [node][block]
    std::vector<std::vector<bool>> owns_b;  // [node][block]
    std::vector<Slot> gradients = {};       // [node]; without a buffer where not wanted.
    std::vector<bool> written = {};         // [node]: its gradient.
    std::vector<Op> ops = {};
    std::vector<Stage> stages = {};
    int sums = 0;                   // Of the stage under way.
    std::vector<int> sums_of = {};  // [batch norm]: where its sums stand in their stage's.

    // True if the gradient has been written already: the next writer accumulates.
    bool MarkWritten(int n) {
      const bool was_written = written[n];
      written[n] = true;
      return was_written;
    }
    Slot GradientOf(Value v) const { return gradients[v.node]; }
  };

  // plan.cc
  void FindUses();
  Pass MakePass(int index, const PassSpec& spec) const;
  void FormGroups(bool fuse_siblings);
  std::vector<int> OwnershipOf(int n) const;
  int AddBuffer(int ld);
  void PlaceBuffers();
  void PlaceGradients(Pass* pass);
  int64_t Reserve(int64_t count);
  void PlaceParameters();
  void ListViews();
  std::vector<FlatRange> FindZeroGradients(const Pass& pass) const;
  void FinishPass(Pass* pass);

  bool IsComputed(int n) const { return use_[n] != Use::kNone; }
  // False: no gradient flows from the node to its inputs.
  bool PassesGradient(int n) const;

  // plan_nodes.cc
  void PlanForward();
  void ForwardNode(int n);
  void PlanHeads();
  void PlanSeeds(Pass* pass) const;
  void PlanBackward(Pass* pass) const;
  void BackwardNode(int n, Pass* pass) const;

  std::vector<Run> RunsOf(const Group& group) const;
  ProductOp BlockProduct(ProductOp::Kind kind, int n, int i, Slot x, Slot y) const;
  std::vector<Slot> ExpertsOf(int n, const std::vector<Slot>& slots) const;
  void ForwardGroup(const Group& group);
  template <typename Visit>
  void ForDropoutParts(int n, Slot from, Slot to, Visit visit) const;
  void ForwardDropout(int n);
  void BackwardDropout(int n, Pass* pass) const;
  void ForwardBlocks(int n);
  AttentionOp AttentionOf(int n) const;
  void BackwardActivations(absl::Span<const int> layers, Slot y, Slot dy, Pass* pass) const;
  void BackwardGroup(const Group& group, Pass* pass) const;
  void BackwardGroupWeights(const Group& group, Slot dy, Pass* pass) const;
  void BackwardBlocks(int n, Pass* pass) const;
  void BackwardSoftmax(int n, Pass* pass) const;
  void BackwardAttention(int n, Pass* pass) const;
  void BackwardMixture(int n, Pass* pass) const;

  // plan_stages.cc
  void PlaceBatchNorms();
  static void EndStage(int pass, size_t op_count, int sums, std::vector<Stage>* stages);
  std::vector<int> ForwardStages() const;
  std::vector<int> BackwardStages(const Pass& pass) const;
  void ForwardBatchSums(int n);
  void ForwardBatchNorm(int n);
  void BackwardBatchSums(int n, Pass* pass) const;
  void BackwardBatchNorm(int n, Pass* pass) const;

  // plan_rows.cc
  void PlaceRowParameters(int n);
  void ForwardRows(int n);
  void CopyColumns(int n, Slot x, Slot y);
  void ForwardConcat(int n);
  void ForwardAdd(int n);
  int RowBlocks(int n) const;
  RowOp RowBlockOp(int n, int i) const;
  RowOp SelectorOp(int n, int i) const;
  void BackwardRows(int n, Pass* pass) const;
  void BackwardColumns(int n, Pass* pass) const;
  void AddScaled(Slot dy, float scale, Value input, Pass* pass) const;
  void BackwardConcat(int n, Pass* pass) const;
  void BackwardAdd(int n, Pass* pass) const;
  void BackwardMultiply(int n, Pass* pass) const;
  void BackwardRowBlocks(int n, Pass* pass) const;
  void BackwardSelector(int n, Pass* pass) const;
  void BackwardTied(int n, Pass* pass) const;

  const Graph& graph_;
  const std::vector<Graph::Node>& nodes_;
  Plan plan_;
  std::vector<Pass> passes_;
  std::vector<Group> groups_;
  std::vector<int> group_of_node_;                // -1: none
  std::vector<Slot> values_;                      // [node]
  std::vector<Slot> kept_;                        // [node]; kDropout's, part by part.
  std::vector<int> first_batch_norm_;             // [node]; kBatchNorm's, a layer a block.
  int forward_sums_ = 0;                          // Of the stage under way.
  std::vector<Slot> seeds_x_, seeds_y_;           // [head with loss]
  std::vector<Use> use_;                          // [node]
  std::vector<std::vector<WeightSlot>> weights_;  // [node][block]
  std::vector<std::vector<int64_t>> biases_;      // [node][block]
};

// Rows that lie a multiple of 1 KiB apart fall into few of the 64 sets of L1; one more line each
// spreads them.
int LeadingDimension(int width);

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_PLANNER_H_
