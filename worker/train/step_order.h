// Which records make up each step of a run, and which task trains in it.
//
// Ordinarily all tasks train on batches of all records. Data set by data set (train.task.steps),
// tasks take turns: task k's turn is steps_k steps on batches of its own records, those that weigh
// something in its loss, and a round is all tasks' turns, in the data set's order. Each task passes
// over its records again and again, in an order of its own (worker/data/order.h): so its batches
// depend on its records, the seed and the steps alone, not on what the other tasks have. An epoch
// is the fewest rounds in which each task has seen all of its records:
//   max over k of ceil(ceil(records_k / batch) / steps_k) rounds.
//
// All of it is a pure function of the step, so that a resumed run goes on in the middle of a turn.
//
// Thread-safe (const).
#ifndef PAGODA_WORKER_TRAIN_STEP_ORDER_H_
#define PAGODA_WORKER_TRAIN_STEP_ORDER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "worker/data/dataset.h"
#include "worker/data/order.h"

namespace pagoda {

class StepOrder {
 public:
  // `config`: resolved, lanes too. DataError names a task that has a turn and no records.
  static absl::StatusOr<std::unique_ptr<StepOrder>> Make(const Config& config,
                                                         const Dataset& dataset);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // Index in the data set's tasks; -1: all of them.
  int TaskOf(int64_t step) const { return turns_[PlaceOf(step).turn].task; }
  // The training records of one lane of a step of the run; may be empty.
  std::vector<int64_t> Records(int64_t step, int lane) const;
  // Examples of the whole step.
  int64_t StepRows(int64_t step) const;

 private:
  struct Turn {
    int task;         // -1: all.
    int64_t steps;    // Of a round.
    int64_t begin;    // Steps of a round before it.
    DataOrder order;  // Of the records, by their places in `runs`.
    RecordRuns runs;  // Empty: a record's place is its number.
  };
  // Where a step is: the turn, and how many steps that turn's task has had before.
  struct Place {
    size_t turn;
    int64_t step;
  };
  Place PlaceOf(int64_t step) const;

  // Constant after Make.
  std::vector<Turn> turns_;
  int64_t round_steps_ = 1;
  int64_t steps_per_epoch_ = 0;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_ORDER_H_
