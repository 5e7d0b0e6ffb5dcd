#include "worker/train/early_stopping.h"

#include <cmath>

namespace pagoda {

bool RecordScore(double score, int64_t steps_done, TrainState* state) {
  if (std::isnan(score)) return false;
  // Checkpoints of older versions may hold a best score that is not a number.
  const bool is_first = state->best_step() == 0 || std::isnan(state->best_score());
  if (is_first || score > state->best_score()) {
    state->set_best_score(score);
    state->set_best_step(steps_done);
    state->set_evaluations_without_better(0);
    return true;
  }
  state->set_evaluations_without_better(state->evaluations_without_better() + 1);
  return false;
}

bool ShouldStop(const TrainState& state, int patience) {
  return patience > 0 && state.evaluations_without_better() >= patience;
}

}  // namespace pagoda
