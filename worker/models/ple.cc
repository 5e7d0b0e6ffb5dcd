// Progressive layered extraction (PLE).
//
// Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
// Personalized Recommendations", RecSys 2020, eq. (5)-(8). In level j, task k's gate selects among
// its own experts and the shared ones, the shared gate among all; each reads what the level below
// gave it, x^{k,0} = x^{s,0} = x:
//   g^{k,j}(x) = w^{k,j}(g^{k,j-1}(x)) S^{k,j}(x),  w = softmax(W_g .),  y^k(x) = t^k(g^{k,N}(x)).
// The last level has no shared gate: nothing reads it. The shared gate's columns are the tasks'
// experts, tasks by name, then the shared ones.
//
// Deviation on request: the shared gates leave out the experts of the tasks in stop_shared_gate.
// With two levels or more a task's experts otherwise reach all tasks, so that no task's predictions
// can be independent of what another task's labels did to its own parameters.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

const Widths& ExpertWidths(const ModelArgs& args, const LevelConfig& level) {
  return level.expert().empty() ? args.config.expert() : level.expert();
}

absl::Status Check(const ModelArgs& args) {
  RETURN_IF_ERROR(RequireAtLeast(args, "number of levels", args.config.level_size(), 1));
  RETURN_IF_ERROR(RequireWidths(args, "tower", args.config.tower()));
  for (const LevelConfig& level : args.config.level()) {
    RETURN_IF_ERROR(RequireWidths(args, "expert", ExpertWidths(args, level)));
    RETURN_IF_ERROR(RequireAtLeast(args, "task_experts + shared_experts",
                                   level.task_experts() + level.shared_experts(), 1));
  }
  return absl::OkStatus();
}

// True if a level above `level` has shared experts, so that somebody reads the shared path.
bool NeedsSharedPath(const ModelConfig& c, int level) {
  for (int above = level + 1; above < c.level_size(); ++above) {
    if (c.level(above).shared_experts() > 0) return true;
  }
  return false;
}

// Then the shared path, and with it every other task, does not depend on the task's experts.
bool IsStopped(const ModelConfig& c, const std::string& task) {
  const auto& stopped = c.stop_shared_gate();
  return std::find(stopped.begin(), stopped.end(), task) != stopped.end();
}

absl::Status Build(const ModelArgs& args, Graph& g) {
  RETURN_IF_ERROR(Check(args));
  const ModelConfig& c = args.config;
  const int tasks = static_cast<int>(args.tasks.size());
  std::vector<Value> x(tasks, args.inputs->Input());  // g^{k,j-1}
  Value x_shared = args.inputs->Input();              // g^{s,j-1}
  for (int j = 0; j < c.level_size(); ++j) {
    const LevelConfig& level = c.level(j);
    const Widths& widths = ExpertWidths(args, level);
    const int m_k = level.task_experts(), m_s = level.shared_experts();
    const std::string at = absl::StrCat("level", j, "/");
    const ExpertGroup shared = Experts(args, g, at + "shared_experts", x_shared, m_s, widths);
    std::vector<ExpertGroup> own(tasks);
    for (int k = 0; k < tasks; ++k) {
      const std::string name = at + args.tasks[k].name;
      own[k] = Experts(args, g, name + "/experts", x[k], m_k, widths);
      const Value w = Gate(args, g, name + "/gate", x[k], m_k + m_s);
      x[k] = g.Mixture(w, {own[k], shared});
    }
    if (!NeedsSharedPath(c, j)) continue;
    std::vector<ExpertGroup> all;
    for (int k = 0; k < tasks; ++k) {
      if (!IsStopped(c, args.tasks[k].name)) all.push_back(own[k]);
    }
    const int m_all = static_cast<int>(all.size()) * m_k + m_s;
    if (m_all == 0) {
      return UsageError("model ple: stop_shared_gate leaves the shared gate no expert to read");
    }
    all.push_back(shared);
    const Value w = Gate(args, g, at + "shared_gate", x_shared, m_all);
    x_shared = g.Mixture(w, all);
  }
  for (int k = 0; k < tasks; ++k) TowerHead(args, g, args.tasks[k], x[k]);
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "ple",
                       .help = "levels of own and shared experts, one gate a task and level",
                       .source = "Tang et al., RecSys 2020",
                       .fields = {"expert", "gate_bias", "level", "stop_shared_gate"},
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
