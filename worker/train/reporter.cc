#include "worker/train/reporter.h"

#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/errors.h"
#include "glog/logging.h"
#include "worker/data/record.h"
#include "worker/train/report.h"
#include "worker/train/weighting_log.h"

namespace pagoda {

Reporter::Reporter(const Config* config, int64_t log_every, const Clock* clock)
    : config_(*config),
      log_every_(log_every),
      clock_(*clock),
      progress_(stdout, StdoutIsTerminal(), clock) {}

void Reporter::Say(absl::string_view text) {
  LOG(INFO) << text;
  progress_.Line(text);
}

absl::Status Reporter::OpenFiles(const std::string& metrics_path, const std::string& events_folder,
                                 const std::string& events_name) {
  ASSIGN_OR_RETURN(metrics_, MetricsWriter::Open(metrics_path));
  ASSIGN_OR_RETURN(events_, EventWriter::Open(events_folder, events_name));
  return absl::OkStatus();
}

void Reporter::Begin(int64_t first_step, int64_t end_step, int64_t steps_per_epoch) {
  progress_.Begin(first_step, end_step, steps_per_epoch);
}

absl::Status Reporter::Step(int64_t steps_done, int64_t rows, const StepResult& result) {
  const auto& tasks = config_.dataset().task();
  double loss = 0;
  for (int t = 0; t < tasks.size(); ++t) loss += tasks[t].weight() * result.losses[t];
  progress_.Step(steps_done, rows, loss);
  RETURN_IF_ERROR(WriteScalars(steps_done, rows, result));
  if (log_every_ <= 0 || steps_done % log_every_ != 0) return absl::OkStatus();
  JsonObject losses;
  for (int t = 0; t < tasks.size(); ++t) losses.Number(tasks[t].name(), result.losses[t]);
  JsonObject line;
  line.Text("event", "step").Integer("step", steps_done).Object("loss", losses);
  AddWeights(config_, result, &line);
  return metrics_->Write(line);
}

// Losses and rate, for TensorBoard, about once a second.
absl::Status Reporter::WriteScalars(int64_t steps_done, int64_t rows, const StepResult& result) {
  constexpr int64_t kPeriodMs = 1000;
  scalars_rows_ += rows;
  const int64_t now_ms = clock_.NowMs(), since_ms = now_ms - scalars_ms_;
  if (since_ms < kPeriodMs) return absl::OkStatus();
  std::vector<MetricValue> scalars;
  const auto& tasks = config_.dataset().task();
  for (int t = 0; t < tasks.size(); ++t) {
    scalars.push_back({absl::StrCat("train/", tasks[t].name(), "/loss"), result.losses[t]});
    if (result.weights.empty()) continue;
    scalars.push_back({absl::StrCat("train/", tasks[t].name(), "/weight"), result.weights[t]});
  }
  if (scalars_ms_ > 0) {
    const double seconds = static_cast<double>(since_ms) / 1e3;
    scalars.push_back({"train/examples_per_second", static_cast<double>(scalars_rows_) / seconds});
  }
  scalars_ms_ = now_ms;
  scalars_rows_ = 0;
  return events_->Write(steps_done, scalars);
}

absl::Status Reporter::Evaluated(Split split, int64_t step, const Evaluation& evaluation,
                                 absl::string_view remark) {
  const std::string& best_by = config_.train().best_by();
  const double score = Score(evaluation.tasks, best_by);
  const std::string score_text =
      std::isnan(score) ? "no score" : absl::StrFormat("score (best_by %s) %.6f", best_by, score);
  progress_.Table(SplitName(split), step, evaluation.tasks,
                  absl::StrCat(remark, remark.empty() ? "" : ", ", score_text));
  if (!evaluation.gates.empty()) {
    if (split == TEST) {
      for (const std::string& line : GatesTable(evaluation.gates)) progress_.Line(line);
    }
    RETURN_IF_ERROR(metrics_->Write(GatesLine(split, step, evaluation.gates)));
  }
  const std::string unseen = UnseenText(split, evaluation.unseen);
  if (!unseen.empty()) progress_.Line(unseen);
  RETURN_IF_ERROR(
      metrics_->Write(EvalLine(split, step, evaluation.tasks, best_by, evaluation.unseen)));
  return events_->Write(step, Scalars(split, evaluation.tasks));
}

absl::Status Reporter::Done(const JsonObject& done) {
  RETURN_IF_ERROR(metrics_->Write(done));
  Say(absl::StrCat("done: ", done.ToString()));
  return absl::OkStatus();
}

void Reporter::Profile(const StepProfile& step, const FeederProfile& feeding, double seconds) {
  Say(absl::StrFormat("profile of worker 0, seconds of %.3f in steps:", seconds));
  const std::pair<const char*, double> parts[] = {
      {"wait for data", feeding.wait}, {"pull wait", step.pull_wait},
      {"gather", step.gather},         {"forward, backward", step.forward_backward},
      {"dense sync", step.dense_sync}, {"dense apply", step.dense_apply},
      {"sparse sum", step.sparse_sum}, {"push", step.push}};
  double accounted = 0;
  const auto say = [&](const char* name, double part) {
    Say(absl::StrFormat("  %-18s %9.3f  %5.1f %%", name, part, 100 * part / seconds));
  };
  for (const auto& [name, part] : parts) {
    say(name, part);
    accounted += part;
  }
  say("other, idle", seconds - accounted);
  Say("beside it, on the reader's thread:");
  say("read", feeding.read);
  say("dedupe", feeding.dedupe);
}

}  // namespace pagoda
