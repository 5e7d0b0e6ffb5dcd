// What a training run tells: people (a line of progress, tables, notes), metrics.jsonl and
// TensorBoard.
//
// **Confined to worker 0's step thread.**
#ifndef PAGODA_WORKER_TRAIN_REPORTER_H_
#define PAGODA_WORKER_TRAIN_REPORTER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/clock.h"
#include "proto/config.pb.h"
#include "worker/train/evaluator.h"
#include "worker/train/event_writer.h"
#include "worker/train/feeder.h"
#include "worker/train/metrics_writer.h"
#include "worker/train/progress.h"
#include "worker/train/step.h"

namespace pagoda {

class Reporter {
 public:
  // log_every: steps between "step" lines in metrics.jsonl; 0: none. `config`, resolved by the
  // first step, and `clock` outlive this.
  Reporter(const Config* config, int64_t log_every, const Clock* clock);

  // A note, in the log too. At any time; the rest after OpenFiles.
  void Say(absl::string_view text);
  absl::Status OpenFiles(const std::string& metrics_path, const std::string& events_folder,
                         const std::string& events_name);

  // Steps [first_step, end_step) are to be done.
  void Begin(int64_t first_step, int64_t end_step, int64_t steps_per_epoch);
  // After each step; `rows` examples were in it.
  absl::Status Step(int64_t steps_done, int64_t rows, const StepResult& result);
  absl::Status Evaluated(Split split, int64_t step, const Evaluation& evaluation,
                         absl::string_view remark);
  absl::Status Done(const JsonObject& done);
  // For --profile, of `seconds` in steps.
  void Profile(const StepProfile& step, const FeederProfile& feeding, double seconds);

 private:
  absl::Status WriteScalars(int64_t steps_done, int64_t rows, const StepResult& result);

  const Config& config_;
  const int64_t log_every_;
  const Clock& clock_;
  Progress progress_;
  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<EventWriter> events_;
  int64_t scalars_ms_ = 0;    // When events_ had a step's scalars last ...
  int64_t scalars_rows_ = 0;  // ... and the examples trained since.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_REPORTER_H_
