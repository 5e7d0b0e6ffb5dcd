// The network on the compute threads: forward and backward of a step's lanes, predictions of a
// range of examples.
//
// A lane is cut into slices, each a unit of work with gradient buffers of its own (one a pass), so
// that threads change no bits. Lanes are computed in waves (step_dense.h). A network with BatchNorm
// is computed in stages (worker/graph/batch_norm.h): all units of a wave end one, their sums are
// added up by lane, or over all lanes and workers where it is synchronised, and the next begins.
// Then each unit keeps a runner of its own, with the activations of its slice.
//
// **Confined to the step thread**, but for the threads that it uses.
#ifndef PAGODA_WORKER_TRAIN_STEP_NETWORK_H_
#define PAGODA_WORKER_TRAIN_STEP_NETWORK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/data/batch.h"
#include "worker/graph/program.h"
#include "worker/train/step_array.h"
#include "worker/train/step_dense.h"
#include "worker/train/step_ids.h"
#include "worker/train/step_losses.h"
#include "worker/train/step_prepared.h"
#include "worker/train/step_threads.h"

namespace pagoda {

class StepNetwork {
 public:
  // `program`, `input` and `threads` outlive this. heads: those of the program that have a loss.
  StepNetwork(const Program* program, const InputLayout* input, std::vector<LossHead> heads,
              int lane_count, uint64_t seed, ComputeThreads* threads);

  // What a step is computed with.
  struct Pass {
    bool runs = true;  // False: no task of it has weight in this step.
    bool wants_dx = true;
    std::vector<float> head_scales;  // [loss head]: times its loss weights; empty: ones.
  };
  struct Work {
    absl::Span<const double> scales;  // [loss head]: of an example of weight 1.
    absl::Span<const Pass> passes;    // [pass]
    const float* parameters;
    // Adds up over workers, who all call it alike; of a synchronised BatchNorm.
    std::function<absl::Status(absl::Span<double>)> add_workers;
  };
  // All lanes of `step`. after_wave(wave) follows each wave but the last, whose gradients are
  // left in the buffers.
  absl::Status Compute(const PreparedStep& step, const Work& work,
                       const std::function<void(int wave)>& after_wave);

  // Of the last Compute. [pass]: buffers of the last wave.
  std::vector<DenseGradients>& gradients() { return gradients_; }
  // [lane of the last wave]: its slices.
  absl::Span<const int> slices() const { return slices_; }
  const float* dx(int pass) const { return dx_[pass].data(); }  // [rows of all lanes, width]
  // [lane][loss head]
  absl::Span<const std::vector<double>> lane_losses() const { return lane_losses_; }
  // Sums of BatchNorms' statistics over lanes [StatisticsSize]; nothing without BatchNorm.
  size_t statistics_size() const {
    return is_staged_ ? StatisticsSize(program_->batch_norms()) : 0;
  }
  void SumStatistics(absl::Span<double> sums) const;
  // Seconds that a thread, on average, spent on filling the network's input since the last call.
  double TakeGatherSeconds();

  // predictions[head][row] of the range's batch, for the rows of the range: `plan` is of it alone.
  void Predict(const RowRange& range, const IdPlan& plan, absl::Span<const float* const> rows,
               const float* parameters, std::vector<std::vector<float>>* predictions);

 private:
  // One slice of one lane.
  struct Unit {
    int lane;
    int wave_lane;  // Its number in its wave.
    int slice;
    int begin, end;  // Examples of the lane.
  };
  // What one compute thread works in, or one unit in stages.
  struct Worker {
    std::unique_ptr<Runner> runner;
    RunArgs args;
    Array<float> x;             // [rows of a unit, width]
    Array<float> loss_weights;  // [loss head, rows of a unit]
    double gather_seconds = 0;
  };

  void CutIntoUnits(const PreparedStep& step, int wave);
  void ComputeUnit(const PreparedStep& step, const Work& work, int index, Worker* worker);
  void SetUpUnit(const PreparedStep& step, const Work& work, int index, Worker* worker);
  absl::Status ComputeStages(const PreparedStep& step, const Work& work, int wave);
  absl::Status AddStageSums(const Work& work, int wave, int stage);
  void SetPasses(const PreparedStep& step, const Work& work, const Unit& unit, RunArgs* args);
  void AddUnitLosses(int wave);

  // Constant after construction.
  const Program* const program_;
  const InputLayout& input_;
  const std::vector<LossHead> heads_;
  const uint64_t seed_;
  ComputeThreads& threads_;
  bool is_staged_ = false;
  bool is_synced_ = false;  // BatchNorm over all lanes and workers.

  std::vector<Worker> workers_;            // [thread]; in stages [unit of a wave], at least.
  std::vector<DenseGradients> gradients_;  // [pass]
  std::vector<Array<float>> dx_;           // [pass]

  // Of the step under way.
  std::vector<Unit> units_;                        // Of the wave.
  std::vector<int> slices_;                        // [lane of the wave]
  std::vector<double> unit_losses_;                // [unit][loss head]
  std::vector<std::vector<double>> slice_losses_;  // [slice][loss head], of one lane.
  std::vector<std::vector<double>> lane_losses_;   // [lane][loss head]
  // In stages: what units left in the one under way, and lanes in the one before.
  std::vector<std::vector<double>> unit_sums_;        // [unit][sums]
  std::vector<std::vector<double>> lane_sums_;        // [lane of the wave][sums]
  std::vector<double> all_sums_;                      // [sums]
  std::vector<std::vector<double>> lane_statistics_;  // [lane][StatisticsSize]
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_NETWORK_H_
