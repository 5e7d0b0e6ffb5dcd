#include "worker/train/report.h"

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/errors.h"
#include "worker/data/record.h"

namespace pagoda {

absl::StatusOr<Split> SplitByName(const std::string& name) {
  for (const Split split : {TRAIN, VALID, TEST}) {
    if (name == SplitName(split)) return split;
  }
  return UsageError(absl::StrCat("--split=", name, ": no such split",
                                 NearestHint(name, {"train", "valid", "test"})));
}

JsonObject EvalLine(Split split, int64_t step, const std::vector<TaskMetrics>& metrics,
                    const std::string& best_by) {
  JsonObject tasks;
  for (const TaskMetrics& one : metrics) {
    JsonObject task;
    if (one.loss == TaskConfig::BCE) {
      task.Number("auc", one.auc).Number("logloss", one.logloss).Number("pcoc", one.pcoc);
      task.Integer("rows", one.rows).Integer("positives", one.positives);
    } else {
      task.Number("mse", one.mse).Number("mae", one.mae).Integer("rows", one.rows);
    }
    tasks.Object(one.task, task);
  }
  JsonObject line;
  line.Text("event", "eval").Text("split", SplitName(split)).Integer("step", step);
  line.Number("score", Score(metrics, best_by)).Object("tasks", tasks);
  return line;
}

}  // namespace pagoda
