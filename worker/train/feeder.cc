#include "worker/train/feeder.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "worker/train/task_rules.h"

namespace pagoda {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Feeder::Feeder(const FeederOptions& options, const Dataset* dataset, const StepOrder* order,
               const Stepper* stepper)
    : options_(options), dataset_(dataset), order_(order), stepper_(stepper) {
  thread_ = std::thread([this] { Read(); });
}

Feeder::~Feeder() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

absl::StatusOr<std::vector<Batch>> Feeder::ReadBatches(int64_t step) {
  std::vector<Batch> batches(options_.lane_count);
  for (int i = 0; i < options_.lane_count; ++i) {
    const auto records = order_->Records(step, options_.first_lane + i);
    RETURN_IF_ERROR(
        WithContext(dataset_->Fill(TRAIN, records, &batches[i]), absl::StrCat("read step ", step)));
    PrepareTrainingBatch(options_.tasks, &batches[i]);
  }
  return batches;
}

absl::StatusOr<PreparedStepPtr> Feeder::ReadStep(int64_t step) {
  const double begin = Now();
  ASSIGN_OR_RETURN(std::vector<Batch> batches, ReadBatches(step));
  const double read = Now();
  PreparedStepPtr prepared = stepper_->Prepare(step, std::move(batches), order_->TaskOf(step));
  const double end = Now();
  absl::MutexLock lock(&mu_);
  profile_.read += read - begin;
  profile_.dedupe += end - read;
  return prepared;
}

void Feeder::Read() {
  for (int64_t step = options_.first_step; step < options_.end_step; ++step) {
    absl::StatusOr<PreparedStepPtr> prepared = ReadStep(step);
    absl::MutexLock lock(&mu_);
    if (!prepared.ok()) {
      error_ = prepared.status();
      break;
    }
    mu_.Await(absl::Condition(this, &Feeder::HasRoom));
    if (stopping_) break;
    ready_.push_back(*std::move(prepared));
  }
  absl::MutexLock lock(&mu_);
  ended_ = true;
}

absl::StatusOr<PreparedStepPtr> Feeder::Next() {
  const double begin = Now();
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &Feeder::HasNext));
  profile_.wait += Now() - begin;
  if (ready_.empty()) {
    RETURN_IF_ERROR(error_);
    return PreparedStepPtr();
  }
  PreparedStepPtr next = std::move(ready_.front());
  ready_.pop_front();
  return next;
}

FeederProfile Feeder::profile() const {
  absl::MutexLock lock(&mu_);
  return profile_;
}

}  // namespace pagoda
