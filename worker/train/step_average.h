// Exponential moving averages of the dense parameters (common/optim/ema.h): what evaluations,
// predictions and dumps use in place of the weights, when train.ema_decay asks for them.
//
// A parameter's average moves in the steps in which an optimizer of it does, once, after all of
// them were applied; t is that optimizer's own count, the largest if there are several. So a task
// that another one alternates with does not touch its averages. A parameter that no optimizer owns
// has no average: its weights serve, and so do batch normalisation's running statistics.
//
// Letters: P parameters, gaps included, as in step_dense.h.
//
// **Needs external lock**, but for the threads that it uses.
#ifndef PAGODA_WORKER_TRAIN_STEP_AVERAGE_H_
#define PAGODA_WORKER_TRAIN_STEP_AVERAGE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/graph/program.h"
#include "worker/train/step_array.h"
#include "worker/train/step_threads.h"

namespace pagoda {

class WeightAverages {
 public:
  // owners [view]: the optimizers of program->parameters()[view]; weights [P]: where averages
  // start. `program` must outlive this.
  WeightAverages(double decay, const Program* program, std::vector<std::vector<int>> owners,
                 absl::Span<const float> weights);

  bool Has(const ParameterView& view) const { return !owners_[IndexOf(view)].empty(); }

  // steps [optimizer]: its count with this step, 0 if it did not move. All workers get the same
  // bits, as the weights [P] are the same.
  void Step(absl::Span<const int64_t> steps, const float* weights, ComputeThreads* threads);
  // What has no average is as in `weights`; [P].
  const float* Serving(const float* weights);

  float* data() { return averages_.data(); }  // [P]

 private:
  // Elements [begin, begin + size) of one view.
  struct Piece {
    int view;
    int64_t begin;
    int64_t size;
  };
  int IndexOf(const ParameterView& view) const {
    return static_cast<int>(&view - program_->parameters().data());
  }

  // Constant after construction.
  const double decay_;
  const Program* const program_;
  const std::vector<std::vector<int>> owners_;  // [view]
  std::vector<Piece> pieces_;
  std::vector<int> unit_begin_;  // [unit + 1]: pieces for a thread to take together.

  Array<float> averages_;     // [P]
  std::vector<float> share_;  // [view]: 1 - d_t in the step under way; 0: it does not move.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_AVERAGE_H_
