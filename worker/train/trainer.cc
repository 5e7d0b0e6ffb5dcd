#include "worker/train/trainer.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checkpoint/digest.h"
#include "common/checkpoint/manifest.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "glog/logging.h"
#include "worker/train/agreement.h"
#include "worker/train/early_stopping.h"
#include "worker/train/signals.h"
#include "worker/train/task_rules.h"

namespace pagoda {
namespace {

// The digest reads every row: of more than this it is made only with --digest.
constexpr uint64_t kDigestRows = 10'000'000;

}  // namespace

Trainer::Trainer(Job job, const Cluster& cluster, RowTools row_tools)
    : job_(std::move(job)),
      cluster_(cluster),
      row_tools_(std::move(row_tools)),
      wishes_(cluster.workers, cluster.clock) {}

Trainer::~Trainer() = default;

void Trainer::Say(absl::string_view text) {
  if (IsFirst()) reporter_->Say(text);
}

absl::Status Trainer::Run() {
  absl::Status begun = Begin();
  // What another start may cure is begun anew by that; a slip leaves the earlier run for --resume.
  if (!begun.ok() && ExitCodeOf(begun) != ExitCode::kTemporary && start_.run != nullptr) {
    begun.Update(start_.run->UnmarkFresh());
  }
  RETURN_IF_ERROR(begun);
  RETURN_IF_ERROR(Loop());
  NoteEarlyStop();
  RETURN_IF_ERROR(ValidateUnscheduled());
  ASSIGN_OR_RETURN(const JsonObject done, SummariseTraining());
  RETURN_IF_ERROR(TestBest());
  if (IsFirst()) NoteNoBest();
  RETURN_IF_ERROR(
      ShareStatus(*cluster_.workers, 0, IsFirst() ? reporter_->Done(done) : absl::OkStatus()));
  return Leave();
}

// ---------------------------------------------------------------- before the first step

absl::Status Trainer::Begin() {
  RETURN_IF_ERROR(Prepare());
  RETURN_IF_ERROR(OpenTraining());
  return ShareStatus(*cluster_.workers, 0, IsFirst() ? OpenOutputs() : absl::OkStatus());
}

absl::Status Trainer::Prepare() {
  if (IsFirst()) {
    reporter_ = std::make_unique<Reporter>(&job_.config, job_.options.log_every, cluster_.clock);
  }
  RETURN_IF_ERROR(StartRun(job_, cluster_, &start_));
  RETURN_IF_ERROR(ReachServers(cluster_));
  const TrainState* from = start_.manifest.has_value() ? &start_.manifest->state() : nullptr;
  std::vector<std::string> notes;
  RETURN_IF_ERROR(AgreeStatus(*cluster_.workers, ResolveStart(from, &notes)));
  for (const std::string& note : start_.notes) Say(note);
  for (const std::string& note : notes) Say(note);
  if (IsFirst()) LOG(INFO) << "configuration, resolved:\n" << job_.config.DebugString();
  ASSIGN_OR_RETURN(dataset_, OpenDataset(job_, *cluster_.workers,
                                         from != nullptr ? &start_.manifest->statistics() : nullptr,
                                         DataFolder(job_)));
  absl::Status fits = CheckLabels(job_.config, *dataset_);
  if (from != nullptr) fits.Update(CheckSources(*start_.manifest, *dataset_));
  RETURN_IF_ERROR(AgreeStatus(*cluster_.workers, fits));
  ResolvePositiveWeights(*dataset_, &job_.config);

  const TrainConfig& train = job_.config.train();
  auto order = StepOrder::Make(job_.config, *dataset_);
  RETURN_IF_ERROR(AgreeStatus(*cluster_.workers, order.status()));
  order_ = *std::move(order);
  schedule_ = std::make_unique<Schedule>(train, order_->steps_per_epoch());
  if (from != nullptr) state_ = *from;
  state_.set_lanes(train.lanes());
  state_.set_batch_size(train.batch_size());
  if (IsFirst()) DescribeRun();
  return absl::OkStatus();
}

absl::Status Trainer::ResolveStart(const TrainState* from, std::vector<std::string>* notes) {
  RETURN_IF_ERROR(ResolveLanes(cluster_.workers->size(), from, &job_, notes));
  if (!start_.manifest.has_value()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckSameUnread(*start_.manifest, job_.config));
  RETURN_IF_ERROR(CheckSameTables(start_.manifest->schema(), job_.schema));
  RETURN_IF_ERROR(CheckWeightingState(job_.config, job_.method, *start_.manifest));
  if (start_.manifest->schema().seed() == job_.schema.seed()) return absl::OkStatus();
  return UsageError(absl::StrCat("--seed=", job_.schema.seed(), ": the checkpoint has seed ",
                                 start_.manifest->schema().seed(), ", which --resume keeps"));
}

void Trainer::DescribeRun() {
  Say(absl::StrFormat(
      "%s on %s: %d training, %d validation, %d test rows; %d workers, %d shards, "
      "%d lanes, batch %d; run directory %s",
      job_.config.model().name(), job_.config.dataset().name(), dataset_->rows(TRAIN),
      dataset_->rows(VALID), dataset_->rows(TEST), cluster_.workers->size(), cluster_.shard_count,
      job_.config.train().lanes(), job_.config.train().batch_size(), job_.run_dir));
  for (const std::string& name : job_.method.frozen) {
    Say(absl::StrCat("note: no optimizer owns ", name, ": it stays as it starts"));
  }
  for (const std::string& note : UnusedOptimizers(job_.config, job_.method)) {
    Say(absl::StrCat("note: ", note));
  }
  for (const std::string& warning : ZeroedRows(job_.schema, job_.method)) {
    Say(absl::StrCat("warning: ", warning));
  }
  if (dataset_->bad_rows() > 0) {
    Say(absl::StrCat("warning: ", dataset_->bad_rows(), " bad rows skipped, see ",
                     JoinPath(job_.run_dir, "quarantine.txt")));
  }
}

absl::Status Trainer::OpenOutputs() {
  if (start_.replaces_run) {
    ASSIGN_OR_RETURN(const std::string note, start_.run->SetEarlierRunAside());
    if (!note.empty()) Say(note);
    if (!note.empty() && ReadsPipe(job_.config.dataset())) {
      Say("note: the data set's commands were run anew: the earlier run can be gone on with "
          "only if they give again what they gave it");
    }
  }
  RETURN_IF_ERROR(start_.run->UnmarkFresh());
  RETURN_IF_ERROR(reporter_->OpenFiles(start_.run->metrics(), job_.run_dir,
                                       absl::StrCat("epoch-", start_.run_epoch)));
  Manifest common;
  *common.mutable_config() = job_.config;
  *common.mutable_schema() = job_.schema;
  common.set_run_epoch(start_.run_epoch);
  *common.mutable_source() = {dataset_->sources().begin(), dataset_->sources().end()};
  *common.mutable_statistics() = dataset_->statistics();
  checkpointer_ =
      std::make_unique<Checkpointer>(start_.run->checkpoints(), job_.config.train().keep(), common);
  last_checkpoint_ = start_.checkpoint;
  return absl::OkStatus();
}

absl::Status Trainer::OpenFresh(EngineOptions options) {
  ASSIGN_OR_RETURN(FirstValues values,
                   PrepareFirstValues(job_, *cluster_.workers, row_tools_, *dataset_));
  options.checkpoint = values.checkpoint;
  options.load_dense = false;
  options.steps_taken = values.steps_taken;
  ASSIGN_OR_RETURN(engine_, OpenEngine(job_, cluster_, program_.get(), options));
  RETURN_IF_ERROR(AgreeStatus(*cluster_.workers, LoadFirstDense(job_, &values, *engine_.stepper)));
  if (!values.note.empty()) Say(values.note);
  return absl::OkStatus();
}

absl::Status Trainer::OpenTraining() {
  ASSIGN_OR_RETURN(Graph graph, BuildGraph(job_));
  ASSIGN_OR_RETURN(program_, Program::Compile(std::move(graph), ProgramOptions(job_.method)));
  EngineOptions options;
  options.job_id = start_.job_id;
  options.run_epoch = start_.run_epoch;
  options.steps_done = state_.step();
  options.steps_per_epoch = schedule_->steps_per_epoch();
  options.weighting_state.assign(state_.weighting_state().begin(), state_.weighting_state().end());
  if (start_.manifest.has_value()) {
    options.steps_taken = TakeClocks(*start_.manifest, job_.schema);
  }
  options.checkpoint = start_.checkpoint;
  if (!cluster_.standing_servers || !job_.options.store_dir.empty()) {
    options.store_dir =
        !job_.options.store_dir.empty() ? job_.options.store_dir : JoinPath(job_.run_dir, "store");
  }
  if (start_.checkpoint.empty()) {
    RETURN_IF_ERROR(OpenFresh(options));
  } else {
    ASSIGN_OR_RETURN(engine_, OpenEngine(job_, cluster_, program_.get(), options));
  }
  FeederOptions feed;
  feed.lane_count = job_.config.train().lanes() / cluster_.workers->size();
  feed.first_lane = feed.lane_count * cluster_.workers->rank();
  feed.first_step = state_.step();
  feed.end_step = schedule_->end_step();
  feed.tasks.assign(job_.config.dataset().task().begin(), job_.config.dataset().task().end());
  feeder_ = std::make_unique<Feeder>(feed, dataset_.get(), order_.get(), engine_.stepper.get());
  return absl::OkStatus();
}

// ---------------------------------------------------------------- the loop

bool Trainer::IsComplete() const {
  return state_.step() >= schedule_->end_step() ||
         ShouldStop(state_, job_.config.train().patience());
}

absl::Status Trainer::Loop() {
  begin_ms_ = checkpoint_ms_ = cluster_.clock->NowMs();
  if (IsFirst()) {
    reporter_->Begin(state_.step(), schedule_->end_step(), schedule_->steps_per_epoch());
  }
  // Even a run of no steps leaves a checkpoint, with the initial values.
  if (IsComplete() && !start_.manifest.has_value()) {
    RETURN_IF_ERROR(UpdateSmearing());
    RETURN_IF_ERROR(WriteCheckpoint(false));
  }
  while (!IsComplete()) {
    RETURN_IF_ERROR(FillPipeline());
    ASSIGN_OR_RETURN(const Wishes wishes, AgreeWishes());
    const int64_t done = state_.step() + 1;
    const bool pause = wishes.leave || wishes.checkpoint || schedule_->EvaluateAfter(done) ||
                       schedule_->CheckpointAfter(done);
    const bool pull = !pause && !announced_.empty();
    ASSIGN_OR_RETURN(const StepResult result,
                     engine_.stepper->Run(*current_, pull ? announced_.front().get() : nullptr));
    current_.reset();
    if (pull) current_ = TakeAnnounced();
    state_.set_step(done);
    state_.set_epoch(done / schedule_->steps_per_epoch());
    state_.set_epoch_step(done % schedule_->steps_per_epoch());
    RETURN_IF_ERROR(ReportStep(result));
    if (pause) RETURN_IF_ERROR(Pause(wishes));
  }
  feeding_ = feeder_->profile();
  feeder_.reset();
  return absl::OkStatus();
}

absl::Status Trainer::FillPipeline() {
  if (current_ == nullptr) {
    RETURN_IF_ERROR(AnnounceAhead());
    current_ = TakeAnnounced();
    RETURN_IF_ERROR(engine_.stepper->PullFirst(*current_));
  }
  return AnnounceAhead();
}

absl::Status Trainer::AnnounceAhead() {
  while (announced_.size() < Stepper::kStepsAhead) {
    ASSIGN_OR_RETURN(PreparedStepPtr step, feeder_->Next());
    if (step == nullptr) break;
    RETURN_IF_ERROR(engine_.stepper->Announce(*step));
    announced_.push_back(std::move(step));
  }
  return absl::OkStatus();
}

PreparedStepPtr Trainer::TakeAnnounced() {
  PreparedStepPtr step = std::move(announced_.front());
  announced_.pop_front();
  return step;
}

absl::StatusOr<Wishes> Trainer::AgreeWishes() {
  Wishes mine;
  mine.leave = LeaveRequested();
  const int64_t every_ms = int64_t{1000} * job_.config.train().checkpoint_every_seconds();
  mine.checkpoint =
      IsFirst() && every_ms > 0 && cluster_.clock->NowMs() - checkpoint_ms_ >= every_ms;
  return wishes_.Agree(mine);
}

absl::Status Trainer::ReportStep(const StepResult& result) {
  const int64_t step = state_.step() - 1;
  const int64_t rows = order_->StepRows(step);
  examples_ += rows;
  if (!IsFirst()) return absl::OkStatus();
  return reporter_->Step(state_.step(), rows, result);
}

absl::Status Trainer::Pause(const Wishes& wishes) {
  const int64_t begin_ms = cluster_.clock->NowMs();
  // Once every worker's last push was answered, the shards have applied it.
  RETURN_IF_ERROR(cluster_.workers->Barrier());
  RETURN_IF_ERROR(UpdateSmearing());
  bool best = false;
  if (schedule_->EvaluateAfter(state_.step()) && dataset_->rows(VALID) > 0) {
    RETURN_IF_ERROR(ScoreValidation(&best));
  }
  RETURN_IF_ERROR(WriteCheckpoint(best));
  paused_ms_ += cluster_.clock->NowMs() - begin_ms;
  if (!wishes.leave || IsComplete()) return absl::OkStatus();
  RETURN_IF_ERROR(Leave());
  return PreemptedError(absl::StrCat("asked to leave: checkpoint of step ", state_.step(),
                                     " written to ", job_.run_dir, "; go on with --resume"));
}

absl::Status Trainer::ScoreValidation(bool* best) {
  ASSIGN_OR_RETURN(const double score, Evaluate(VALID, state_.step(), ""));
  if (IsFirst()) *best = RecordScore(score, state_.step(), &state_);
  ASSIGN_OR_RETURN(const std::string state,
                   cluster_.workers->Broadcast(0, state_.SerializeAsString()));
  if (!state_.ParseFromString(state)) return absl::InternalError("a state that does not parse");
  return absl::OkStatus();
}

Evaluator Trainer::MakeEvaluator() const {
  return {cluster_.workers, dataset_.get(), &job_.config, &program_->heads()};
}

absl::Status Trainer::UpdateSmearing() {
  return MakeEvaluator().UpdateSmearing(*engine_.stepper, &state_);
}

void Trainer::RecordClocks() {
  state_.clear_clock();
  const absl::Span<const int64_t> steps = engine_.stepper->steps_taken();
  for (size_t o = 0; o < steps.size(); ++o) {
    OptimizerClock* clock = state_.add_clock();
    clock->set_optimizer(static_cast<uint32_t>(o));
    clock->set_step(steps[o]);
    clock->set_learning_rate(engine_.stepper->learning_rate(static_cast<int>(o)));
  }
  const absl::Span<const double> weighting = engine_.stepper->weighting_state();
  *state_.mutable_weighting_state() = {weighting.begin(), weighting.end()};
}

absl::Status Trainer::WriteCheckpoint(bool best) {
  state_.set_finished(IsComplete());
  RecordClocks();
  absl::Status status;
  if (IsFirst()) {
    const auto path =
        checkpointer_->Write(*engine_.session, engine_.stepper->DenseTensors(), state_, best);
    status = path.status();
    if (status.ok()) last_checkpoint_ = *path;
    if (status.ok()) status = start_.run->RemoveOldStores(engine_.session->run_epoch());
    if (status.ok()) status = RemoveTree(FirstValuesFolder(job_));
    checkpoint_ms_ = cluster_.clock->NowMs();
  }
  return ShareStatus(*cluster_.workers, 0, status);
}

// ---------------------------------------------------------------- after the last step

absl::StatusOr<double> Trainer::Evaluate(Split split, int64_t step, const char* remark) {
  ASSIGN_OR_RETURN(const Evaluation evaluation,
                   MakeEvaluator().Evaluate(split, *engine_.stepper, state_));
  if (!IsFirst()) return 0.0;
  RETURN_IF_ERROR(reporter_->Evaluated(split, step, evaluation, remark));
  const std::string& best_by = job_.config.train().best_by();
  const std::string warning = ScoreWarning(evaluation.tasks, best_by);
  if (split == VALID && !warning.empty()) Say(warning);
  return Score(evaluation.tasks, best_by);
}

// A run that --max_steps ends between evaluations is judged too, but early stopping does not count
// it: resumed with more steps, the run has the bits of one that was never stopped.
absl::Status Trainer::ValidateUnscheduled() {
  const bool scheduled = schedule_->EvaluateAfter(state_.step());
  if (scheduled || examples_ == 0 || dataset_->rows(VALID) == 0) return absl::OkStatus();
  const int64_t begin_ms = cluster_.clock->NowMs();
  ASSIGN_OR_RETURN(const double score, Evaluate(VALID, state_.step(), ""));
  paused_ms_ += cluster_.clock->NowMs() - begin_ms;
  absl::Status status;
  if (IsFirst()) {
    TrainState unscheduled = state_;
    if (RecordScore(score, state_.step(), &unscheduled)) {
      status = MarkBest(start_.run->checkpoints(), state_.step());
    }
  }
  return ShareStatus(*cluster_.workers, 0, status);
}

bool Trainer::StoppedEarly() const {
  return state_.step() < schedule_->end_step() &&
         ShouldStop(state_, job_.config.train().patience());
}

void Trainer::NoteEarlyStop() {
  if (!StoppedEarly()) return;
  const TrainConfig& train = job_.config.train();
  const auto epoch_of = [&](int64_t step) { return (step - 1) / schedule_->steps_per_epoch() + 1; };
  Say(absl::StrFormat(
      "stopped early after step %d (epoch %d of %d): for %d evaluations (train.patience) the score "
      "(best_by %s) was not above its best, %.6f after step %d (epoch %d)",
      state_.step(), epoch_of(state_.step()), train.epochs(), state_.evaluations_without_better(),
      train.best_by(), state_.best_score(), state_.best_step(), epoch_of(state_.best_step())));
}

// The `done` line; of the rows as they were trained, so before another checkpoint is loaded. Worker
// 0 only.
absl::StatusOr<JsonObject> Trainer::SummariseTraining() {
  PrintProfile();
  JsonObject done;
  double pushed = static_cast<double>(engine_.stepper->bytes_pushed());
  RETURN_IF_ERROR(AllReduceTree(*cluster_.workers, absl::MakeSpan(&pushed, 1)));
  if (!IsFirst()) return done;
  const double seconds = (cluster_.clock->NowMs() - begin_ms_) / 1e3;
  const double step_seconds = std::max(seconds - paused_ms_ / 1e3, 1e-3);
  ASSIGN_OR_RETURN(const StatusReply status, engine_.session->Status());
  done.Text("event", "done").Integer("steps", state_.step()).Number("seconds", seconds);
  done.Number("examples_per_second", examples_ / step_seconds);
  if (status.rows() <= kDigestRows || job_.options.digest) {
    ASSIGN_OR_RETURN(const Session::Rows rows, engine_.session->Digest());
    RecordClocks();
    done.Text("digest", JobDigest(rows.digest, engine_.stepper->DenseTensors(), state_,
                                  LateClocks(job_.schema, state_)));
  }
  done.Integer("rows", status.rows()).Integer("spills", status.spills());
  done.Integer("reloads", status.reloads());
  done.Integer("bytes_pushed", static_cast<int64_t>(pushed));
  JsonObject tables;
  for (const TableStatus& table : status.table()) {
    tables.Object(
        table.name(),
        JsonObject().Integer("rows", table.rows()).Integer("row_bytes", table.row_bytes()));
  }
  done.Object("tables", tables);
  if (StoppedEarly()) {
    done.Object("early_stop", JsonObject()
                                  .Integer("best_step", state_.best_step())
                                  .Number("best_score", state_.best_score()));
  }
  return done;
}

// A higher run epoch, so that the shards load the best checkpoint; the eval line is the run's last.
absl::Status Trainer::TestBest() {
  if (dataset_->rows(TEST) == 0) return absl::OkStatus();
  EngineOptions options;
  options.job_id = start_.job_id;
  std::string shared;
  const char* remark = "the best checkpoint";
  absl::Status status;
  if (IsFirst()) {
    const std::string best = JoinPath(start_.run->checkpoints(), "best");
    if (!FileExists(best)) remark = "the last checkpoint";
    const auto epoch = start_.run->NextEpoch();
    const auto newest = FindNewest(start_.run->checkpoints());
    status = epoch.status();
    status.Update(newest.status());
    if (status.ok()) {
      shared = FileExists(best) ? std::filesystem::canonical(best).string() : newest->path;
      start_.run_epoch = *epoch;
    }
  }
  RETURN_IF_ERROR(ShareStatus(*cluster_.workers, 0, status));
  ASSIGN_OR_RETURN(options.checkpoint, cluster_.workers->Broadcast(0, shared));
  ASSIGN_OR_RETURN(const std::string epoch,
                   cluster_.workers->Broadcast(0, absl::StrCat(start_.run_epoch)));
  options.run_epoch = std::stoull(epoch);
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(options.checkpoint));
  options.steps_done = manifest.state().step();
  if (!cluster_.standing_servers || !job_.options.store_dir.empty()) {
    options.store_dir =
        !job_.options.store_dir.empty() ? job_.options.store_dir : JoinPath(job_.run_dir, "store");
  }
  engine_ = Engine();
  ASSIGN_OR_RETURN(engine_, OpenEngine(job_, cluster_, program_.get(), options));
  RETURN_IF_ERROR(UpdateSmearing());
  return Evaluate(TEST, options.steps_done, remark).status();
}

void Trainer::NoteNoBest() {
  const std::string best = JoinPath(start_.run->checkpoints(), "best");
  if (FileExists(best)) return;
  Say(absl::StrCat("note: there is no ", best, ": ",
                   dataset_->rows(VALID) == 0 ? "the data set has no validation rows"
                                              : "no evaluation has given a score",
                   "; the last checkpoint is ", last_checkpoint_));
}

absl::Status Trainer::Leave() {
  absl::Status status = cluster_.workers->Barrier();
  if (status.ok() && IsFirst()) status = engine_.session->Shutdown();
  return ShareStatus(*cluster_.workers, 0, status);
}

void Trainer::PrintProfile() {
  if (!job_.options.profile || !IsFirst()) return;
  reporter_->Profile(engine_.stepper->profile(), feeding_,
                     (cluster_.clock->NowMs() - begin_ms_ - paused_ms_) / 1e3);
}

}  // namespace pagoda
