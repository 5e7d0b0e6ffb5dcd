// A compiled graph: parameters in one flat array, and runners that compute slices of a batch.
//
// Compile derives the backward pass, fuses sibling Dense nodes, plans one arena for all activations
// of a tile (plan.h) and creates every oneDNN primitive. A slice is cut into tiles of kTileRows
// rows and of lower ones (kHeights, compiled_program.h); rows that are missing in the last one are
// zeros without a loss. So a slice's gradients are a function of its rows alone (of a network with
// BatchNorm: and of its lane's sums), and what is predicted for a row is one of that row alone.
//
// Program: Thread-safe (const). Runner: **Confined to one thread at a time**; it makes libgomp use
// one thread in the threads that compile and run, and flushes denormals while it runs.
#ifndef PAGODA_WORKER_GRAPH_PROGRAM_H_
#define PAGODA_WORKER_GRAPH_PROGRAM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/graph/batch_norm.h"
#include "worker/graph/graph.h"

namespace pagoda {

// One named parameter inside the flat array: element (r, c) is at offset + r * stride + c. Fusion
// puts the columns of sibling weights side by side, hence the stride.
struct ParameterView {
  std::string name;
  int rows;  // 1 for a bias.
  int columns;
  int64_t offset;
  int64_t stride;
  bool is_statistic = false;  // BatchNorm's: it has no gradient, and no optimizer moves it.
};

// A backward pass of a step. All passes of a run start from one forward pass, at the same weights.
//
// A pass visits only nodes that its tasks' losses reach and whose gradient leads to a parameter of
// its own or to the wanted input: so its bits are those of a graph without the other tasks.
struct PassSpec {
  std::vector<std::string> tasks = {};  // Whose losses seed it (HeadSpec::task); empty: every loss.
  // True for the parameters (by name) whose gradients this pass computes; null: all that its losses
  // reach. The gradients of the others are zeros, and cost nothing.
  std::function<bool(const std::string& parameter)> owns = nullptr;
  bool input_gradient = true;  // False: dx is not computed.
};

// True if the head's loss is one of the pass's.
bool IsSeededBy(const Graph::HeadSpec& head, const PassSpec& pass);

// A part of a run between two points at which sums over the lane's rows are needed.
struct Stage {
  int pass = -1;           // -1: forward.
  int sums = 0;            // Doubles that each slice leaves to be added up; 0 at the end of a pass.
  int begin = 0, end = 0;  // Of its operations in the plan's list of that pass, for the runner.
};

// What one pass of a run is given.
struct PassArgs {
  // [head with loss]: times the head's loss weights, for gradients; empty: ones.
  std::vector<float> head_scales = {};
  float* gradients = nullptr;  // [parameter_count], overwritten; null: the pass is left out.
  float* dx = nullptr;         // [R, input_width], overwritten; null: not wanted.
};

// What a step's random draws are keyed by. Draws depend on nothing else but the node's name and the
// column, so a row draws the same in any slice, lane or graph.
struct StepContext {
  bool training = false;  // False: Dropout is the identity, BatchNorm goes by what is running.
  uint64_t seed = 0;
  int64_t step = 0;
  const int64_t* global_rows = nullptr;  // [R]; needed when training with a Dropout.
};

// One slice of one lane. R rows; any R >= 0. Labels and loss weights are by task: pointer t is [R].
struct RunArgs {
  int rows = 0;
  const float* x = nullptr;           // [R, input_width]
  const float* parameters = nullptr;  // [parameter_count]
  // [head with loss][R], in order of Head calls. Needed for losses and gradients.
  std::vector<const float*> labels;
  // [head with loss][R]: the row's weight in the step's loss, divided by the step's normaliser and
  // times the task's weight; the loss is sum_r weight_r * l_r. The label of a row of weight 0 is
  // not read.
  std::vector<const float*> loss_weights;
  StepContext context;
  // Outputs; null: not wanted.
  double* losses = nullptr;         // [head with loss], overwritten
  std::vector<float*> predictions;  // [every head and output][R]; empty: none
  std::vector<PassArgs> passes;     // As Options::passes; empty: forward alone.
};

class Runner {
 public:
  virtual ~Runner() = default;
  // All of it. While training, a program with BatchNorm takes the slice for its whole lane.
  virtual void Run(const RunArgs& args) = 0;
  // One stage of it, of Program::stages: all in order, or none of a pass, with the same args, and
  // no Run between them. lane [sums of the stage before]: added up over the lane (read but where a
  // pass begins); own [sums of this stage], overwritten. Runners of one lane meet between stages.
  // REQUIRES: args.context.training
  virtual void RunStage(int stage, const RunArgs& args, const double* lane, double* own) = 0;
};

class Program {
 public:
  // 256 rows of a layer of 256 columns are 256 KiB: operands of one product stay in L2. Tried: 512,
  // which writes a slice's weight gradients half as often, gains 2 % on one core and nothing when
  // both compute, for an arena twice as large.
  static constexpr int kTileRows = 256;

  struct Options {
    bool fuse_siblings = true;  // False: one product a layer; the tests' check of fusion.
    // The backward passes of a run; empty: one of every loss, which owns every parameter.
    std::vector<PassSpec> passes = {};
    // True, and with several passes: siblings are not fused (the blocks of one node still are one
    // product), so that a task's predictions and gradients are, bit for bit, those of a graph
    // without the nodes of other tasks.
    bool isolate_tasks = false;
  };
  static absl::StatusOr<std::unique_ptr<Program>> Compile(Graph graph, const Options& options);
  static absl::StatusOr<std::unique_ptr<Program>> Compile(Graph graph);
  virtual ~Program() = default;

  virtual int input_width() const = 0;
  // Floats in the flat array, gaps for alignment included (their gradients are always zero).
  virtual int64_t parameter_count() const = 0;
  virtual const std::vector<ParameterView>& parameters() const = 0;  // In name order.
  virtual const std::vector<Graph::HeadSpec>& heads() const = 0;
  virtual int pass_count() const = 0;  // At least 1.
  // How training runs: forward's stages, then each pass's; one each without BatchNorm.
  virtual const std::vector<Stage>& stages() const = 0;
  virtual const std::vector<BatchNormLayer>& batch_norms() const = 0;
  // Multiply-adds of one row, forward: for FLOP counts (whole step: 2 * 3 times this).
  virtual int64_t multiply_adds_per_row() const = 0;

  // parameters [parameter_count] <- initial values by (seed, name): weights Glorot-uniform (Glorot
  // and Bengio, AISTATS 2010, eq. (16)), gains and running variances 1, all others and gaps 0.
  virtual void InitParameters(uint64_t seed, float* parameters) const = 0;

  virtual std::unique_ptr<Runner> NewRunner() const = 0;
};

// How many slices a lane of `rows` rows is cut into, and where slice s of them begins: functions of
// the rows alone, so that the number of threads changes no bits.
int SliceCount(int rows);
inline int SliceBegin(int rows, int slice, int slices) {
  return static_cast<int>(static_cast<int64_t>(rows) * slice / slices);
}

// The oracle: the same graph by plain loops, T = float or double, all rows at once (they are one
// lane), no fusion, no tiles. parameters [name order, densely packed]; everything else as RunArgs
// with T for float.
template <typename T>
class ReferenceNetwork {
 public:
  explicit ReferenceNetwork(Graph graph, std::vector<PassSpec> passes = {});
  struct PassResult {
    std::vector<T> gradients;  // packed as `parameters`
    std::vector<T> dx;         // [R, input_width]
  };
  struct Result {
    std::vector<T> predictions;      // [head, R]
    std::vector<T> losses;           // [head with loss]
    std::vector<PassResult> passes;  // [pass]
    // Packed as `parameters`: where a running statistic is, that of these rows (its variance times
    // m/(m-1)); zeros elsewhere, and all zeros but while training.
    std::vector<T> statistics;
  };
  // Names, shapes and packed offsets (stride = columns).
  const std::vector<ParameterView>& parameters() const { return parameters_; }
  int64_t parameter_count() const { return parameter_count_; }
  Result Run(int rows, const std::vector<T>& x, const std::vector<T>& parameters,
             const std::vector<std::vector<T>>& labels,
             const std::vector<std::vector<T>>& loss_weights, const StepContext& context = {},
             const std::vector<std::vector<T>>& head_scales = {}) const;  // [pass][head with loss]

 private:
  std::vector<T> OwnedOnly(const PassSpec& spec, std::vector<T> gradients) const;

  Graph graph_;
  std::vector<PassSpec> passes_;
  std::vector<ParameterView> parameters_;
  int64_t parameter_count_ = 0;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_PROGRAM_H_
