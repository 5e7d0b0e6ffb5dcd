#include "worker/train/step.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/gram.h"
#include "common/optim/schedule.h"
#include "glog/logging.h"
#include "worker/graph/kernels.h"
#include "worker/train/step_dense.h"
#include "worker/train/step_exchange.h"
#include "worker/train/step_ids.h"
#include "worker/train/step_losses.h"
#include "worker/train/step_network.h"
#include "worker/train/step_prepared.h"
#include "worker/train/step_push.h"
#include "worker/train/step_setup.h"
#include "worker/train/step_tasks.h"
#include "worker/train/step_threads.h"
#include "worker/train/step_timed.h"
#include "worker/train/step_update.h"
#include "worker/train/step_weighting.h"

namespace pagoda {
namespace {

// Evaluation pulls and computes so many rows at a time: 16 tiles, a message of a few MB.
constexpr int kPredictRows = 16 * Program::kTileRows;

}  // namespace

void PreparedStepDeleter::operator()(PreparedStep* step) const {
  const std::shared_ptr<PreparedStepPool> pool = std::move(step->pool);
  pool->Return(std::unique_ptr<PreparedStep>(step));
}

class Stepper::Impl {
 public:
  Impl(const StepOptions& options, const Program* program, const Schema* schema,
       const InputLayout& input, Group* group, std::vector<std::unique_ptr<ShardClient>> shards);

  PreparedStepPtr Prepare(int64_t step, std::vector<Batch> batches, int only_task) const;
  absl::Status Announce(const PreparedStep& step) {
    return exchange_.Announce(step.step, step.plan);
  }
  absl::Status PullFirst(PreparedStep& step);
  absl::StatusOr<StepResult> Run(PreparedStep& step, PreparedStep* next);
  absl::Status Predict(const Batch& batch, std::vector<std::vector<float>>* predictions);

  DenseParameters& dense() { return dense_; }
  ShardExchange& exchange() { return exchange_; }
  const StepProfile& profile() const { return profile_; }
  absl::Span<const int64_t> unseen() const { return unseen_; }
  absl::Span<const int64_t> steps_taken() const { return steps_taken_; }
  absl::Span<const double> weighting_state() const { return weighting_.state(); }
  double NextRate(int optimizer) const {
    return LearningRate(options_.method.optimizers[optimizer].config, steps_taken_[optimizer] + 1);
  }

 private:
  absl::Status FindWeightSums(PreparedStep& step);
  void DecidePasses(const PreparedStep& step);
  bool AnyHasWeight(absl::Span<const int> tasks) const;
  void DecideMoves();
  absl::Status WeighTasks(const PreparedStep& step);
  absl::Status EndWeighting(PreparedStep& step, StepResult* result);
  absl::Status FindLosses(const PreparedStep& step, std::vector<double>* losses);
  // Of the heads' losses; DataError for one that is not finite.
  absl::Status TaskLosses(const PreparedStep& step, absl::Span<const double> head_losses,
                          std::vector<double>* losses) const;
  absl::Status Update(const PreparedStep& step, const PreparedStep* next);
  absl::Status UpdateCombined(const PreparedStep& step, const PreparedStep* next);
  absl::Status MeasureTasks();
  void EndMoves();
  absl::Status ComputeLanes(const PreparedStep& step);
  StepNetwork::Work WorkOf(absl::Span<const StepNetwork::Pass> passes) const;
  void MoveRunningStatistics();
  absl::Status ReduceLosses(const PreparedStep& step, PreparedStep* next, StepResult* result);
  ShardExchange::Push SumSparse(const PreparedStep& step);
  absl::Status StartExchange(const PreparedStep& step, const PreparedStep* next,
                             ShardExchange::Push push);

  // Constant after construction.
  const StepOptions options_;
  const Program* const program_;
  const InputLayout input_;
  Group* const group_;
  const IdPlanner planner_;
  const std::vector<LossHead> loss_heads_;  // [loss head]
  // [BatchNorm]: the optimizers that own its gain or b.
  const std::map<std::string, std::vector<int>> batch_norm_owners_;
  const std::vector<std::vector<int>> pass_tasks_;       // [pass]: whose losses it adds.
  const std::vector<std::vector<int>> optimizer_tasks_;  // [optimizer]: who moves it.
  const bool combines_;  // Optimizers apply a combination of the tasks' passes.
  const std::shared_ptr<PreparedStepPool> pool_ = std::make_shared<PreparedStepPool>();

  // The step thread's.
  ShardExchange exchange_;
  ComputeThreads threads_;
  StepNetwork network_;
  DenseParameters dense_;
  DenseUpdate dense_update_;
  RowPush row_push_;
  StepWeighting weighting_;
  std::unique_ptr<TaskGradients> task_gradients_;  // Null: the weighting does not want them.
  std::vector<int64_t> steps_taken_;               // [optimizer]
  StepProfile profile_;

  // Of the step under way.
  std::vector<double> scales_;             // [loss head]
  std::vector<bool> has_weight_;           // [task]
  std::vector<StepNetwork::Pass> passes_;  // [pass]
  std::vector<OptimizerMove> moves_;       // [optimizer]
  std::vector<int64_t> moved_;             // [optimizer]: its step count with this one; 0: stood.
  std::vector<double> reduced_;            // The next step's weight sums, losses, statistics.
  std::vector<double> statistics_;         // Of BatchNorms, over all lanes.
  std::vector<double> head_losses_, losses_;
  std::vector<double> gram_;  // [GramSize(K)]
  IdPlan predict_plan_;
  PulledRows predict_rows_;
  std::vector<int64_t> unseen_;  // [embedding feature], of the last Predict.
};

Stepper::Impl::Impl(const StepOptions& options, const Program* program, const Schema* schema,
                    const InputLayout& input, Group* group,
                    std::vector<std::unique_ptr<ShardClient>> shards)
    : options_(options),
      program_(program),
      input_(input),
      group_(group),
      planner_(&input_, *schema, static_cast<int>(shards.size())),
      loss_heads_(LossHeads(*program, options.tasks)),
      batch_norm_owners_(BatchNormOwners(options.method, *program)),
      pass_tasks_(TasksOfEach(options.method.passes, options.tasks)),
      optimizer_tasks_(TasksOfEach(options.method.optimizers, options.tasks)),
      combines_(CombinesPasses(options.method)),
      exchange_(std::move(shards)),
      threads_(options.threads),
      network_(program, &input_, loss_heads_, options.lane_count, options.seed, &threads_),
      dense_(program, DenseOptimizers(options.method), options.seed, options.ema_decay),
      dense_update_(&dense_, &network_.gradients(), group, &threads_),
      row_push_(schema->table_size(), options.method.optimizers, &threads_),
      weighting_(options.weighting, options.tasks, options.method, options.seed),
      steps_taken_(options.steps_taken) {
  CHECK_EQ(program->pass_count(), static_cast<int>(options.method.passes.size()));
  steps_taken_.resize(options.method.optimizers.size());
  if (auto tasks = TaskGradientsOf(options.method, *program, dense_); tasks.has_value()) {
    task_gradients_ = std::make_unique<TaskGradients>(*std::move(tasks), *program,
                                                      &network_.gradients(), group, &threads_);
  }
}

PreparedStepPtr Stepper::Impl::Prepare(int64_t step, std::vector<Batch> batches,
                                       int only_task) const {
  CHECK_EQ(static_cast<int>(batches.size()), options_.lane_count);
  PreparedStepPtr prepared = PreparedStepPool::Take(pool_);
  prepared->step = step;
  prepared->only_task = only_task;
  prepared->batches = std::move(batches);
  for (const Batch& batch : prepared->batches) prepared->ranges.push_back({&batch, 0, batch.rows});
  planner_.Plan(prepared->ranges, &prepared->plan);
  return prepared;
}

absl::Status Stepper::Impl::PullFirst(PreparedStep& step) {
  const Timed timed(&profile_.pull_wait);
  RETURN_IF_ERROR(exchange_.StartStep(step.step, nullptr, step.step));
  return exchange_.FinishStep(&step.plan, &step.rows);
}

absl::StatusOr<StepResult> Stepper::Impl::Run(PreparedStep& step, PreparedStep* next) {
  // All sums and rules, here, on the compute threads and in shards, see denormals as zero: the same
  // addition may take place in any of them.
  const FlushDenormals flush;
  CHECK(!step.rows.values.empty()) << "step " << step.step << " was not pulled";
  StepResult result;
  RETURN_IF_ERROR(FindWeightSums(step));
  DecidePasses(step);
  if (weighting_.is_active()) RETURN_IF_ERROR(WeighTasks(step));
  DecideMoves();
  RETURN_IF_ERROR(ComputeLanes(step));
  RETURN_IF_ERROR(ReduceLosses(step, next, &result));
  RETURN_IF_ERROR(combines_ ? UpdateCombined(step, next) : Update(step, next));
  EndMoves();
  MoveRunningStatistics();
  {
    const Timed timed(&profile_.pull_wait);
    RETURN_IF_ERROR(exchange_.FinishStep(next == nullptr ? nullptr : &next->plan,
                                         next == nullptr ? nullptr : &next->rows));
  }
  if (weighting_.is_active()) RETURN_IF_ERROR(EndWeighting(step, &result));
  return result;
}

// A layer's statistics move in steps in which an optimizer that owns its gain or b moves.
void Stepper::Impl::MoveRunningStatistics() {
  if (statistics_.empty()) return;
  const auto runs = [this](int optimizer) { return moves_[optimizer].moves; };
  MoveStatistics(
      program_->batch_norms(), statistics_.data(),
      [&](const std::string& layer) {
        const std::vector<int>& owners = batch_norm_owners_.at(layer);
        return std::any_of(owners.begin(), owners.end(), runs);
      },
      dense_.mutable_data());
}

void Stepper::Impl::EndMoves() {
  const Timed timed(&profile_.dense_apply);
  moved_.assign(moves_.size(), 0);
  for (size_t o = 0; o < moves_.size(); ++o) {
    if (moves_[o].moves) moved_[o] = ++steps_taken_[o];
  }
  dense_.Average(moved_, &threads_);
}

absl::Status Stepper::Impl::Update(const PreparedStep& step, const PreparedStep* next) {
  if (task_gradients_ != nullptr) RETURN_IF_ERROR(MeasureTasks());
  ShardExchange::Push push = SumSparse(step);

  // The last wave's chunks are summed and applied by the other threads while this one pushes.
  dense_update_.Start(network_.slices());
  const absl::Status pushed = StartExchange(step, next, std::move(push));
  const absl::Status updated =
      dense_update_.Finish(step.step, &profile_.dense_sync, &profile_.dense_apply);
  RETURN_IF_ERROR(pushed);
  return updated;
}

// Gradients of the tasks apart: what the shards answer decides how all of them are combined.
absl::Status Stepper::Impl::UpdateCombined(const PreparedStep& step, const PreparedStep* next) {
  ShardExchange::Push push = SumSparse(step);
  push.task_count = static_cast<int>(options_.tasks.size());
  RETURN_IF_ERROR(StartExchange(step, /*next=*/nullptr, std::move(push)));
  RETURN_IF_ERROR(MeasureTasks());
  {
    const Timed timed(&profile_.push);
    RETURN_IF_ERROR(
        exchange_.FinishTasks(static_cast<int>(options_.tasks.size()), absl::MakeSpan(gram_)));
    weighting_.SetGram(gram_);
    RETURN_IF_ERROR(exchange_.StartCombine(step.step, weighting_.FindWeights(),
                                           next == nullptr ? -1 : next->step));
  }
  const Timed timed(&profile_.dense_apply);
  return dense_update_.Apply(step.step, task_gradients_->Combined(weighting_.weights()));
}

absl::Status Stepper::Impl::MeasureTasks() {
  const Timed timed(&profile_.dense_sync);
  RETURN_IF_ERROR(task_gradients_->Sum(network_.slices()));
  gram_.assign(GramSize(options_.tasks.size()), 0.0);
  task_gradients_->AddGram(gram_.data());
  if (!combines_) weighting_.SetGram(gram_);
  return absl::OkStatus();
}

absl::Status Stepper::Impl::FindWeightSums(PreparedStep& step) {
  const int tasks = static_cast<int>(options_.tasks.size());
  if (step.weight_sums.empty()) {
    const Timed timed(&profile_.dense_sync);
    SumWeights(step.batches, tasks, &step.weight_sums);
    RETURN_IF_ERROR(AllReduceTree(*group_, absl::MakeSpan(step.weight_sums)));
  }
  // The batches keep everyone's weights: a loss may read who has another task's label.
  if (step.only_task != kAllTasks) KeepTask(step.only_task, absl::MakeSpan(step.weight_sums));
  scales_.clear();
  for (const LossHead& head : loss_heads_) {
    const bool is_left_out = step.only_task != kAllTasks && head.task != step.only_task;
    scales_.push_back(is_left_out ? 0 : HeadScale(head, options_.tasks, step.weight_sums));
  }
  return absl::OkStatus();
}

void Stepper::Impl::DecidePasses(const PreparedStep& step) {
  has_weight_.clear();
  for (size_t t = 0; t < options_.tasks.size(); ++t) {
    has_weight_.push_back(HasWeight(options_.tasks[t], static_cast<int>(t), step.weight_sums));
  }
  const TrainingMethod& method = options_.method;
  std::vector<bool> wants_dx(method.passes.size(), false);
  for (const StepOptimizer& one : method.optimizers) {
    if (one.tables.empty()) continue;
    for (size_t p = 0; p < wants_dx.size(); ++p) {
      wants_dx[p] = wants_dx[p] || one.pass == kEveryPass || one.pass == static_cast<int>(p);
    }
  }
  passes_.clear();
  for (size_t p = 0; p < method.passes.size(); ++p) {
    passes_.push_back(
        {.runs = AnyHasWeight(pass_tasks_[p]), .wants_dx = wants_dx[p], .head_scales = {}});
  }
}

bool Stepper::Impl::AnyHasWeight(absl::Span<const int> tasks) const {
  return std::any_of(tasks.begin(), tasks.end(), [this](int task) { return has_weight_[task]; });
}

void Stepper::Impl::DecideMoves() {
  moves_.clear();
  for (size_t o = 0; o < optimizer_tasks_.size(); ++o) {
    const RuleStep rule_step = {steps_taken_[o] + 1, NextRate(static_cast<int>(o))};
    moves_.push_back({AnyHasWeight(optimizer_tasks_[o]), rule_step});
  }
  dense_update_.SetMoves(moves_);
}

absl::Status Stepper::Impl::WeighTasks(const PreparedStep& step) {
  weighting_.Begin(step.step, step.weight_sums, NextRate(weighting_.dense_optimizer()));
  if (task_gradients_ != nullptr) {
    // The last passes are the tasks' own.
    std::vector<bool> runs;
    for (size_t p = passes_.size() - options_.tasks.size(); p < passes_.size(); ++p) {
      runs.push_back(passes_[p].runs);
    }
    task_gradients_->Begin(std::move(runs));
  }
  if (combines_) return absl::OkStatus();
  if (weighting_.needs() == WeightingNeeds::kLosses) {
    RETURN_IF_ERROR(FindLosses(step, &losses_));
    weighting_.SetLosses(losses_);
  }
  const absl::Span<const double> weights = weighting_.FindWeights();
  for (size_t t = 0; t < weights.size(); ++t) {
    has_weight_[t] = has_weight_[t] && weights[t] != 0;
  }
  passes_[0].runs = AnyHasWeight(pass_tasks_[0]);
  passes_[0].head_scales = weighting_.HeadScales(loss_heads_);
  return absl::OkStatus();
}

absl::Status Stepper::Impl::EndWeighting(PreparedStep& step, StepResult* result) {
  weighting_.SetLosses(result->losses);
  if (weighting_.needs() == WeightingNeeds::kLosses) {
    // Every worker pulls before it may push again, so all see the rows right after this step.
    RETURN_IF_ERROR(exchange_.Pull(step.plan, &step.rows));
    RETURN_IF_ERROR(FindLosses(step, &losses_));
    weighting_.SetLossesAfter(losses_);
  }
  weighting_.Observe();
  result->weights.assign(weighting_.weights().begin(), weighting_.weights().end());
  result->weighting = weighting_.logged();
  return absl::OkStatus();
}

// Forward alone, at the weights of now.
absl::Status Stepper::Impl::FindLosses(const PreparedStep& step, std::vector<double>* losses) {
  const Timed timed(&profile_.forward_backward);
  const std::vector<StepNetwork::Pass> none(passes_.size(), {.runs = false, .head_scales = {}});
  RETURN_IF_ERROR(network_.Compute(step, WorkOf(none), [](int) {}));
  head_losses_.resize(loss_heads_.size());
  SumParts(network_.lane_losses(), absl::MakeSpan(head_losses_));
  RETURN_IF_ERROR(AllReduceTree(*group_, absl::MakeSpan(head_losses_)));
  return TaskLosses(step, head_losses_, losses);
}

StepNetwork::Work Stepper::Impl::WorkOf(absl::Span<const StepNetwork::Pass> passes) const {
  return {scales_, passes, dense_.data(),
          [this](absl::Span<double> sums) { return AllReduceTree(*group_, sums); }};
}

absl::Status Stepper::Impl::ComputeLanes(const PreparedStep& step) {
  const Timed timed(&profile_.forward_backward);
  RETURN_IF_ERROR(network_.Compute(step, WorkOf(passes_), [this](int wave) {
    if (!combines_) dense_update_.AddWave(wave, network_.slices());
    if (task_gradients_ != nullptr) task_gradients_->AddWave(wave, network_.slices());
  }));
  const double seconds = network_.TakeGatherSeconds();
  profile_.gather += seconds;
  profile_.forward_backward -= seconds;
  return absl::OkStatus();
}

absl::Status Stepper::Impl::ReduceLosses(const PreparedStep& step, PreparedStep* next,
                                         StepResult* result) {
  const Timed timed(&profile_.dense_sync);
  const size_t heads = loss_heads_.size(), tasks = options_.tasks.size();
  // The next step's weight sums ride along, and BatchNorms' statistics: one round of messages less.
  reduced_.clear();
  if (next != nullptr) SumWeights(next->batches, static_cast<int>(tasks), &reduced_);
  const size_t sums = reduced_.size();
  statistics_.resize(network_.statistics_size());
  reduced_.resize(sums + heads + statistics_.size());
  SumParts(network_.lane_losses(), absl::MakeSpan(reduced_).subspan(sums, heads));
  network_.SumStatistics(absl::MakeSpan(reduced_).subspan(sums + heads));
  RETURN_IF_ERROR(AllReduceTree(*group_, absl::MakeSpan(reduced_)));
  if (next != nullptr) next->weight_sums.assign(reduced_.begin(), reduced_.begin() + sums);
  std::copy(reduced_.begin() + sums + heads, reduced_.end(), statistics_.begin());
  return TaskLosses(step, absl::MakeSpan(reduced_).subspan(sums, heads), &result->losses);
}

absl::Status Stepper::Impl::TaskLosses(const PreparedStep& step,
                                       absl::Span<const double> head_losses,
                                       std::vector<double>* losses) const {
  losses->assign(options_.tasks.size(), 0.0);
  for (size_t head = 0; head < head_losses.size(); ++head) {
    const TaskConfig& task = options_.tasks[loss_heads_[head].task];
    const double loss = head_losses[head];
    if (!std::isfinite(loss)) {
      return DataError(absl::StrCat(
          "step ", step.step, ": the loss of task ", task.name(), " is ", loss,
          "; nothing of this step was applied. Look for labels, weights or features that are not ",
          "finite, or lower the learning rate"));
    }
    const double weight = task.weight() * loss_heads_[head].weight;
    if (loss_heads_[head].reported && weight != 0) {
      (*losses)[loss_heads_[head].task] = loss / weight;
    }
  }
  return absl::OkStatus();
}

ShardExchange::Push Stepper::Impl::SumSparse(const PreparedStep& step) {
  const Timed timed(&profile_.sparse_sum);
  std::vector<const float*> dx;
  for (size_t p = 0; p < passes_.size(); ++p) {
    dx.push_back(passes_[p].runs ? network_.dx(static_cast<int>(p)) : nullptr);
  }
  return row_push_.Sum(step.plan, moves_, dx);
}

absl::Status Stepper::Impl::StartExchange(const PreparedStep& step, const PreparedStep* next,
                                          ShardExchange::Push push) {
  const Timed timed(&profile_.push);
  for (size_t o = 0; o < moves_.size(); ++o) {
    if (!moves_[o].moves) continue;
    OptimizerClock& clock = push.clocks.emplace_back();
    clock.set_optimizer(static_cast<uint32_t>(o));
    clock.set_step(moves_[o].rule_step.step);
    clock.set_learning_rate(moves_[o].rule_step.learning_rate);
  }
  return exchange_.StartStep(step.step, &push, next == nullptr ? -1 : next->step);
}

absl::Status Stepper::Impl::Predict(const Batch& batch,
                                    std::vector<std::vector<float>>* predictions) {
  const FlushDenormals flush;
  unseen_.assign(input_.embeddings.size(), 0);
  predictions->resize(program_->heads().size());
  for (std::vector<float>& head : *predictions) head.resize(batch.rows);
  for (int begin = 0; begin < batch.rows; begin += kPredictRows) {
    const RowRange range = {&batch, begin, std::min(begin + kPredictRows, batch.rows)};
    planner_.Plan(absl::MakeSpan(&range, 1), &predict_plan_);
    RETURN_IF_ERROR(exchange_.Pull(predict_plan_, &predict_rows_));
    CountAbsent(predict_plan_, predict_rows_, absl::MakeSpan(unseen_));
    network_.Predict(range, predict_plan_, predict_rows_.values, dense_.Serving(), predictions);
  }
  predict_rows_ = {};
  return absl::OkStatus();
}

Stepper::Stepper(const StepOptions& options, const Program* program, const Schema* schema,
                 const InputLayout& input, Group* group,
                 std::vector<std::unique_ptr<ShardClient>> shards)
    : impl_(std::make_unique<Impl>(options, program, schema, input, group, std::move(shards))) {}
Stepper::~Stepper() = default;

PreparedStepPtr Stepper::Prepare(int64_t step, std::vector<Batch> batches, int only_task) const {
  return impl_->Prepare(step, std::move(batches), only_task);
}
absl::Status Stepper::Announce(const PreparedStep& step) { return impl_->Announce(step); }
absl::Status Stepper::PullFirst(PreparedStep& step) { return impl_->PullFirst(step); }
absl::StatusOr<StepResult> Stepper::Run(PreparedStep& step, PreparedStep* next) {
  return impl_->Run(step, next);
}
absl::Status Stepper::Predict(const Batch& batch, std::vector<std::vector<float>>* predictions) {
  return impl_->Predict(batch, predictions);
}
absl::Span<const int64_t> Stepper::unseen() const { return impl_->unseen(); }
std::vector<Tensor> Stepper::DenseTensors() const { return impl_->dense().Tensors(); }
absl::Status Stepper::LoadDense(const std::vector<Tensor>& tensors, bool require_states) {
  return impl_->dense().Load(tensors, require_states);
}
absl::Span<const int64_t> Stepper::steps_taken() const { return impl_->steps_taken(); }
absl::Span<const double> Stepper::weighting_state() const { return impl_->weighting_state(); }
uint64_t Stepper::bytes_pushed() const { return impl_->exchange().bytes_pushed(); }
double Stepper::learning_rate(int optimizer) const { return impl_->NextRate(optimizer); }
ShardClient& Stepper::shard(int index) { return impl_->exchange().client(index); }
int Stepper::shard_count() const { return impl_->exchange().shard_count(); }
const StepProfile& Stepper::profile() const { return impl_->profile(); }

}  // namespace pagoda
