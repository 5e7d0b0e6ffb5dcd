// When a run has got as good as it gets: the best validation score so far, and how long ago it was.
//
// The state lives in TrainState, so that it is checkpointed and digested with the rest.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_TRAIN_EARLY_STOPPING_H_
#define PAGODA_WORKER_TRAIN_EARLY_STOPPING_H_

#include <cstdint>

#include "proto/checkpoint.pb.h"

namespace pagoda {

// Counts an evaluation after `steps_done` steps; true when it is the best so far, as the first one
// is. A score that is not a number is not counted: it says nothing about the run.
bool RecordScore(double score, int64_t steps_done, TrainState* state);

// patience: evaluations without a better score; 0: never stop early.
bool ShouldStop(const TrainState& state, int patience);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_EARLY_STOPPING_H_
