// STEM-Net: shared embeddings and one embedding set a task.
//
// Su et al., "STEM: Unleashing the Power of Embeddings for Multi-task Recommendation", AAAI 2024.
// Embedding set j in {tasks, S} is read by expert group j. Task k's gate weighs ALL experts, but
// gradients flow into its own and the shared ones only (the paper's "all forward, task-specific
// backward"):
//   z_k = sum over j of sum over i of g_k(x)_{j,i} E_{j,i}(x_j),  stop-gradient on j not in {k, S}
//   g_k(x) = softmax(W_k (x_k + x_S))
// So the loss of task k has a gradient of exactly 0 on the embedding set of any other task. One
// level: with more, the shared path of the level below would carry it there. x_j are the set's
// embeddings and the dense features; gate inputs are added as in the authors' code. Columns of a
// gate: tasks by name, then the shared experts.
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

std::vector<EmbeddingSet> Sets(const Config& config) {
  std::vector<EmbeddingSet> sets;
  for (const TaskConfig& task : TasksByName(config)) sets.emplace_back().set_name(task.name());
  return sets;
}

absl::Status Build(const ModelArgs& args, Graph& g) {
  const ModelConfig& c = args.config;
  if (c.level_size() != 1) return UsageError("model stem: it has exactly one level");
  const LevelConfig& level = c.level(0);
  const Widths& widths = level.expert().empty() ? c.expert() : level.expert();
  const int m_k = level.task_experts(), m_s = level.shared_experts();
  const int tasks = static_cast<int>(args.tasks.size());
  RETURN_IF_ERROR(RequireWidths(args, "expert", widths));
  RETURN_IF_ERROR(RequireAtLeast(args, "task_experts", m_k, 1));

  const Value x_s = args.inputs->Input();
  const ExpertGroup shared = Experts(args, g, "level0/shared_experts", x_s, m_s, widths);
  std::vector<ExpertGroup> own, stopped;
  for (const ModelTask& k : args.tasks) {
    const Value x_k = args.inputs->Input(k.name);
    own.push_back(Experts(args, g, "level0/" + k.name + "/experts", x_k, m_k, widths));
    stopped.push_back({g.StopGradient(own.back().value), m_k});
  }
  for (int k = 0; k < tasks; ++k) {
    const std::string& task = args.tasks[k].name;
    std::vector<ExpertGroup> all = stopped;
    all[k] = own[k];
    all.push_back(shared);
    const Value x = g.Add({args.inputs->Input(task), x_s});
    const Value gate = Gate(args, g, "level0/" + task + "/gate", x, tasks * m_k + m_s);
    TowerHead(args, g, args.tasks[k], g.Mixture(gate, all));
  }
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "stem",
                       .help = "embeddings of its own for each task besides the shared ones",
                       .source = "Su et al., AAAI 2024",
                       .fields = {"expert", "gate_bias", "level"},
                       .parameters = {},
                       .build = Build,
                       .sets = Sets});

}  // namespace
}  // namespace pagoda
