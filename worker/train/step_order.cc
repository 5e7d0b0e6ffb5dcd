#include "worker/train/step_order.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace pagoda {
namespace {

OrderOptions OptionsFor(const TrainConfig& train, int64_t rows) {
  OrderOptions options;
  options.rows = rows;
  options.batch_size = train.batch_size();
  options.seed = train.seed();
  options.shuffle = train.shuffle();
  options.shuffle_rows = train.shuffle_rows();
  options.lanes = train.lanes();
  return options;
}

// The task's steps of a round; 0: it says nothing of them.
int64_t StepsOf(const TrainConfig& train, const std::string& task) {
  for (const TaskTrainConfig& one : train.task()) {
    if (one.name() == task) return one.steps();
  }
  return 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepOrder>> StepOrder::Make(const Config& config,
                                                           const Dataset& dataset) {
  const TrainConfig& train = config.train();
  auto order = std::make_unique<StepOrder>();
  std::vector<RecordRuns> records;  // [task], once a task has a turn: they are read for it.
  int64_t round_steps = 0, rounds = 0;
  for (int t = 0; t < config.dataset().task_size(); ++t) {
    const TaskConfig& task = config.dataset().task(t);
    const int64_t steps = StepsOf(train, task.name());
    if (steps == 0) continue;
    if (records.empty()) records = dataset.TaskRecords();
    RecordRuns& runs = records[t];
    if (runs.count() == 0) {
      return DataError(absl::StrCat("train.task[", task.name(), "].steps: no training row weighs ",
                                    "anything in its loss"));
    }
    DataOrder own(OptionsFor(train, runs.count()));
    rounds = std::max(rounds, (own.steps_per_epoch() + steps - 1) / steps);
    order->turns_.push_back({t, steps, round_steps, std::move(own), std::move(runs)});
    round_steps += steps;
  }
  if (order->turns_.empty()) {
    DataOrder all(OptionsFor(train, dataset.rows(TRAIN)));
    order->steps_per_epoch_ = all.steps_per_epoch();
    order->turns_.push_back({-1, 1, 0, std::move(all), {}});
  } else {
    order->round_steps_ = round_steps;
    order->steps_per_epoch_ = rounds * round_steps;
  }
  return order;
}

StepOrder::Place StepOrder::PlaceOf(int64_t step) const {
  const int64_t round = step / round_steps_, inside = step % round_steps_;
  size_t turn = turns_.size() - 1;
  while (turns_[turn].begin > inside) --turn;
  return {turn, round * turns_[turn].steps + inside - turns_[turn].begin};
}

std::vector<int64_t> StepOrder::Records(int64_t step, int lane) const {
  const Place place = PlaceOf(step);
  const Turn& turn = turns_[place.turn];
  const int64_t epoch_steps = turn.order.steps_per_epoch();
  std::vector<int64_t> records =
      turn.order.Records(place.step / epoch_steps, place.step % epoch_steps, lane);
  if (turn.task < 0) return records;
  for (int64_t& record : records) record = turn.runs.At(record);
  return records;
}

int64_t StepOrder::StepRows(int64_t step) const {
  const Place place = PlaceOf(step);
  const DataOrder& order = turns_[place.turn].order;
  return order.StepRows(place.step % order.steps_per_epoch());
}

}  // namespace pagoda
