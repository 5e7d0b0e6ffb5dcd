#include "worker/data/funnel_check.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

// record.h: what the encoder made up for a label that is not there has the weight -0.
bool HasLabel(const Record& record, int task) {
  return record.weights[task] != 0 || !std::signbit(record.weights[task]);
}

}  // namespace

FunnelCheck::FunnelCheck(const DatasetConfig& config, const std::vector<std::string>& steps) {
  for (const std::string& name : steps) {
    int task = 0;
    while (task < config.task_size() && config.task(task).name() != name) ++task;
    CHECK_LT(task, config.task_size()) << "no task " << name;
    steps_.push_back({task, name});
  }
}

int FunnelCheck::FindBreak(const Record& record, std::string* reason) const {
  const Step* without = nullptr;  // The first step that was not done.
  for (const Step& step : steps_) {
    if (!HasLabel(record, step.task)) continue;
    const float label = record.labels[step.task];
    if (label > 0 && without != nullptr) {
      *reason = absl::StrCat(step.name, " is ", label, " but ", without->name,
                             " is 0: a conversion without a click, which the model holds to be "
                             "impossible; if these tasks are no funnel, set dataset { "
                             "strict_funnel: false }");
      return step.task;
    }
    if (label == 0 && without == nullptr) without = &step;
  }
  return -1;
}

}  // namespace pagoda
