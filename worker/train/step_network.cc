#include "worker/train/step_network.h"

#include <algorithm>
#include <utility>

#include "common/errors.h"
#include "glog/logging.h"
#include "worker/train/step_embeddings.h"
#include "worker/train/step_timed.h"

namespace pagoda {

StepNetwork::StepNetwork(const Program* program, const InputLayout* input,
                         std::vector<LossHead> heads, int lane_count, uint64_t seed,
                         ComputeThreads* threads)
    : program_(program),
      input_(*input),
      heads_(std::move(heads)),
      seed_(seed),
      threads_(*threads),
      workers_(threads->size()),
      dx_(program->pass_count()),
      lane_losses_(lane_count) {
  CHECK_EQ(input->width, program->input_width());
  is_staged_ = !program->batch_norms().empty();
  for (const BatchNormLayer& layer : program->batch_norms()) is_synced_ |= layer.is_synced;
  // Lanes whose statistics are added up are one wave.
  const int wave_threads = is_synced_ ? std::max(lane_count, threads->size()) : threads->size();
  for (int pass = 0; pass < program->pass_count(); ++pass) {
    gradients_.emplace_back(program->parameter_count(), lane_count, wave_threads);
  }
  CHECK(!is_synced_ || gradients_[0].wave_count() == 1) << "sums are over the lanes of one wave";
  if (is_staged_) lane_statistics_.resize(lane_count);
  for (Worker& worker : workers_) worker.runner = program->NewRunner();
}

absl::Status StepNetwork::Compute(const PreparedStep& step, const Work& work,
                                  const std::function<void(int wave)>& after_wave) {
  CHECK_EQ(work.passes.size(), gradients_.size());
  for (size_t pass = 0; pass < dx_.size(); ++pass) {
    const bool wanted = work.passes[pass].runs && work.passes[pass].wants_dx;
    if (wanted) dx_[pass].Resize(step.plan.first_row.back() * input_.width);
  }
  const int waves = gradients_[0].wave_count();
  for (int wave = 0; wave < waves; ++wave) {
    CutIntoUnits(step, wave);
    if (is_staged_) {
      RETURN_IF_ERROR(ComputeStages(step, work, wave));
    } else {
      threads_.Run(static_cast<int>(units_.size()),
                   [&](int unit, int thread) { ComputeUnit(step, work, unit, &workers_[thread]); });
    }
    AddUnitLosses(wave);
    if (wave + 1 < waves) after_wave(wave);
  }
  return absl::OkStatus();
}

absl::Status StepNetwork::ComputeStages(const PreparedStep& step, const Work& work, int wave) {
  while (workers_.size() < units_.size()) {
    workers_.emplace_back().runner = program_->NewRunner();
  }
  unit_sums_.resize(std::max(unit_sums_.size(), units_.size()));
  lane_sums_.resize(slices_.size());
  for (size_t i = 0; i < slices_.size(); ++i) {
    lane_statistics_[wave * slices_.size() + i].assign(statistics_size(), 0.0);
  }
  for (int stage = 0; stage < static_cast<int>(program_->stages().size()); ++stage) {
    const Stage& of = program_->stages()[stage];
    if (of.pass >= 0 && !work.passes[of.pass].runs) continue;
    threads_.Run(static_cast<int>(units_.size()), [&](int unit, int) {
      Worker& worker = workers_[unit];
      if (stage == 0) SetUpUnit(step, work, unit, &worker);
      unit_sums_[unit].resize(of.sums);
      worker.runner->RunStage(stage, worker.args, lane_sums_[units_[unit].wave_lane].data(),
                              unit_sums_[unit].data());
    });
    if (of.sums > 0) RETURN_IF_ERROR(AddStageSums(work, wave, stage));
  }
  return absl::OkStatus();
}

absl::Status StepNetwork::AddStageSums(const Work& work, int wave, int stage) {
  const Stage& of = program_->stages()[stage];
  const absl::Span<const std::vector<double>> units = unit_sums_;
  size_t unit = 0;
  for (size_t i = 0; i < slices_.size(); ++i) {
    lane_sums_[i].resize(of.sums);
    SumParts(units.subspan(unit, slices_[i]), absl::MakeSpan(lane_sums_[i]));
    unit += slices_[i];
  }
  if (is_synced_) {
    all_sums_.resize(of.sums);
    SumParts(lane_sums_, absl::MakeSpan(all_sums_));
    RETURN_IF_ERROR(work.add_workers(absl::MakeSpan(all_sums_)));
    for (std::vector<double>& sums : lane_sums_) sums = all_sums_;
  }
  if (of.pass >= 0) return absl::OkStatus();
  for (size_t i = 0; i < slices_.size(); ++i) {
    AddStatistics(program_->batch_norms(), stage, lane_sums_[i].data(),
                  lane_statistics_[wave * slices_.size() + i].data());
  }
  return absl::OkStatus();
}

void StepNetwork::SumStatistics(absl::Span<double> sums) const {
  if (is_staged_) SumParts(lane_statistics_, sums);
}

void StepNetwork::CutIntoUnits(const PreparedStep& step, int wave) {
  units_.clear();
  slices_.clear();
  const int lanes = gradients_[0].wave_lanes();
  for (int i = 0; i < lanes; ++i) {
    const int lane = wave * lanes + i;
    const int rows = step.ranges[lane].rows();
    slices_.push_back(rows == 0 ? 0 : SliceCount(rows));
    for (int slice = 0; slice < slices_[i]; ++slice) {
      for (DenseGradients& gradients : gradients_) gradients.MakeBuffer(i, slice);
      units_.push_back({lane, i, slice, SliceBegin(rows, slice, slices_[i]),
                        SliceBegin(rows, slice + 1, slices_[i])});
    }
  }
  unit_losses_.assign(units_.size() * heads_.size(), 0.0);
}

void StepNetwork::ComputeUnit(const PreparedStep& step, const Work& work, int index,
                              Worker* worker) {
  SetUpUnit(step, work, index, worker);
  worker->runner->Run(worker->args);
}

void StepNetwork::SetUpUnit(const PreparedStep& step, const Work& work, int index, Worker* to) {
  const Unit& unit = units_[index];
  const RowRange& range = step.ranges[unit.lane];
  const Batch& batch = *range.batch;
  const int rows = unit.end - unit.begin;
  Worker& worker = *to;
  worker.x.Resize(static_cast<size_t>(rows) * input_.width);
  worker.loss_weights.Resize(rows * heads_.size());
  {
    const Timed timed(&worker.gather_seconds);
    GatherInput(input_, step.plan, unit.lane, range, unit.begin, unit.end, step.rows.values,
                worker.x.data());
  }
  RunArgs& args = worker.args;
  args.rows = rows;
  args.x = worker.x.data();
  args.parameters = work.parameters;
  args.labels.clear();
  args.loss_weights.clear();
  args.predictions.clear();
  float* weights = worker.loss_weights.data();
  for (size_t head = 0; head < heads_.size(); ++head, weights += rows) {
    const size_t task = heads_[head].task;
    ScaleWeights(batch, heads_[head], unit.begin, unit.end, work.scales[head], weights);
    args.labels.push_back(batch.labels.data() + task * batch.rows + unit.begin);
    args.loss_weights.push_back(weights);
  }
  args.context = {.training = true,
                  .seed = seed_,
                  .step = step.step,
                  .global_rows = batch.record.data() + unit.begin};
  SetPasses(step, work, unit, &args);
  args.losses = unit_losses_.data() + index * heads_.size();
}

void StepNetwork::SetPasses(const PreparedStep& step, const Work& work, const Unit& unit,
                            RunArgs* args) {
  const size_t row = step.plan.first_row[unit.lane] + unit.begin;
  args->passes.resize(work.passes.size());
  for (size_t p = 0; p < work.passes.size(); ++p) {
    const Pass& pass = work.passes[p];
    PassArgs& out = args->passes[p];
    out.head_scales = pass.head_scales;
    out.gradients = pass.runs ? gradients_[p].Buffer(unit.wave_lane, unit.slice) : nullptr;
    out.dx = pass.runs && pass.wants_dx ? dx_[p].data() + row * input_.width : nullptr;
  }
}

void StepNetwork::AddUnitLosses(int wave) {
  const size_t heads = heads_.size();
  const int lanes = gradients_[0].wave_lanes();
  std::vector<std::vector<double>>& parts = slice_losses_;
  size_t unit = 0;
  for (int i = 0; i < lanes; ++i) {
    parts.resize(slices_[i]);
    for (std::vector<double>& part : parts) {
      const auto from = unit_losses_.begin() + unit++ * heads;
      part.assign(from, from + heads);
    }
    std::vector<double>& lane = lane_losses_[wave * lanes + i];
    lane.resize(heads);
    SumParts(parts, absl::MakeSpan(lane));
  }
}

double StepNetwork::TakeGatherSeconds() {
  double seconds = 0;
  for (Worker& worker : workers_) {
    seconds += std::exchange(worker.gather_seconds, 0) / threads_.size();
  }
  return seconds;
}

void StepNetwork::Predict(const RowRange& range, const IdPlan& plan,
                          absl::Span<const float* const> rows, const float* parameters,
                          std::vector<std::vector<float>>* predictions) {
  constexpr int kTile = Program::kTileRows;
  threads_.Run((range.rows() + kTile - 1) / kTile, [&](int tile, int thread) {
    const int begin = tile * kTile, end = std::min(begin + kTile, range.rows());
    Worker& worker = workers_[thread];
    worker.x.Resize(static_cast<size_t>(end - begin) * input_.width);
    GatherInput(input_, plan, 0, range, begin, end, rows, worker.x.data());
    RunArgs args;
    args.rows = end - begin;
    args.x = worker.x.data();
    args.parameters = parameters;
    for (std::vector<float>& head : *predictions) {
      args.predictions.push_back(head.data() + range.begin + begin);
    }
    worker.runner->Run(args);
  });
}

}  // namespace pagoda
