// A training run, from the run directory's lock to the `done` line.
//
// Steps flow: t computes while t + 1 is announced and t + 2 is read. Where something falls due (an
// evaluation, a checkpoint, a signal, the end) the pipeline is drained: the step pushes and pulls
// nothing, what is due is done at exactly this step, and the next pull fills the pipeline again.
// Draining changes no bits, so a checkpoint may fall due by the clock.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_TRAINER_H_
#define PAGODA_WORKER_TRAIN_TRAINER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/data/dataset.h"
#include "worker/graph/program.h"
#include "worker/train/checkpointer.h"
#include "worker/train/engine.h"
#include "worker/train/evaluator.h"
#include "worker/train/feeder.h"
#include "worker/train/first_values.h"
#include "worker/train/job.h"
#include "worker/train/metrics_writer.h"
#include "worker/train/reporter.h"
#include "worker/train/schedule.h"
#include "worker/train/session.h"
#include "worker/train/start.h"
#include "worker/train/step_order.h"
#include "worker/train/wishes.h"

namespace pagoda {

class Trainer {
 public:
  // cluster outlives this.
  Trainer(Job job, const Cluster& cluster, RowTools row_tools);
  ~Trainer();

  // All workers call it, once. PreemptedError: a signal came, and a checkpoint was written.
  absl::Status Run();

 private:
  bool IsFirst() const { return cluster_.workers->rank() == 0; }
  void Say(absl::string_view text);

  // Before the first step.
  absl::Status Begin();
  absl::Status Prepare();
  // Lanes, tables and seed against those of the checkpoint, if there is one.
  absl::Status ResolveStart(const TrainState* from, std::vector<std::string>* notes);
  void DescribeRun();
  absl::Status OpenTraining();
  absl::Status OpenFresh(EngineOptions options);
  // Metrics and checkpoints, an earlier run's set aside. Worker 0 only, once nothing but the disk
  // can fail.
  absl::Status OpenOutputs();

  // The loop.
  absl::Status Loop();
  // Rows of the current step, announcements of those after it.
  absl::Status FillPipeline();
  absl::Status AnnounceAhead();
  PreparedStepPtr TakeAnnounced();
  absl::StatusOr<Wishes> AgreeWishes();
  absl::Status ReportStep(const StepResult& result);
  absl::Status Pause(const Wishes& wishes);
  absl::Status ScoreValidation(bool* best);
  // Of the weights of now, into state_: a checkpoint without it predicts medians.
  absl::Status UpdateSmearing();
  absl::Status WriteCheckpoint(bool best);
  void RecordClocks();
  bool IsComplete() const;

  // After the last step.
  absl::Status ValidateUnscheduled();
  bool StoppedEarly() const;
  void NoteEarlyStop();
  absl::StatusOr<JsonObject> SummariseTraining();
  absl::Status TestBest();
  // Where there is no checkpoints/best to be found, which a person would look for.
  void NoteNoBest();
  absl::Status Leave();
  void PrintProfile();

  Evaluator MakeEvaluator() const;
  // Table and metrics line; the score at worker 0, 0 elsewhere. REQUIRES: UpdateSmearing of these
  // weights.
  absl::StatusOr<double> Evaluate(Split split, int64_t step, const char* remark);

  Job job_;
  const Cluster& cluster_;
  const RowTools row_tools_;

  Start start_;
  std::unique_ptr<Dataset> dataset_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<StepOrder> order_;
  std::unique_ptr<Schedule> schedule_;
  TrainState state_;
  Engine engine_;
  std::unique_ptr<Feeder> feeder_;         // After engine_: it prepares with the stepper.
  FeederProfile feeding_;                  // Of the feeder that is gone.
  PreparedStepPtr current_;                // Its rows are pulled; null: the pipeline is empty.
  std::deque<PreparedStepPtr> announced_;  // The steps after it, at most kStepsAhead.
  WishExchange wishes_;

  // Worker 0 only.
  std::unique_ptr<Reporter> reporter_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::string last_checkpoint_;  // Its folder.
  int64_t checkpoint_ms_ = 0;    // When it was written.

  int64_t begin_ms_ = 0;   // Of the loop.
  int64_t paused_ms_ = 0;  // Of which without steps: checkpoints, evaluations.
  int64_t examples_ = 0;   // Trained by this start.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_TRAINER_H_
