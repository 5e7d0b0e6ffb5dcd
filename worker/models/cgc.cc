// Customized gate control (CGC): PLE's single level.
//
// Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020, eq. (1)-(4): task k's gate
// selects among its own m_k experts and the m_s shared ones,
//   g^k(x) = w^k(x) S^k(x),  w^k(x) = softmax(W_g^k x),
//   S^k(x) = [E_(k,1), ..., E_(k,m_k), E_(s,1), ..., E_(s,m_s)],  y^k(x) = t^k(g^k(x)).
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

absl::Status Build(const ModelArgs& args, Graph& g) {
  const ModelConfig& c = args.config;
  if (c.level_size() != 1) {
    return UsageError(absl::StrCat("model cgc: it has exactly one level, but ", c.level_size(),
                                   " are given; model ple takes several"));
  }
  const LevelConfig& level = c.level(0);
  const Widths& widths = level.expert().empty() ? c.expert() : level.expert();
  const int m_k = level.task_experts(), m_s = level.shared_experts();
  RETURN_IF_ERROR(RequireWidths(args, "expert", widths));
  RETURN_IF_ERROR(RequireWidths(args, "tower", c.tower()));
  RETURN_IF_ERROR(RequireAtLeast(args, "task_experts + shared_experts", m_k + m_s, 1));

  const Value x = args.inputs->Input();
  const ExpertGroup shared = Experts(args, g, "level0/shared_experts", x, m_s, widths);
  for (const ModelTask& k : args.tasks) {
    const std::string name = "level0/" + k.name;
    const ExpertGroup own = Experts(args, g, name + "/experts", x, m_k, widths);
    const Value w = Gate(args, g, name + "/gate", x, m_k + m_s);
    TowerHead(args, g, k, g.Mixture(w, {own, shared}));
  }
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "cgc",
                       .help = "own and shared experts, one gate a task; PLE with one level",
                       .source = "Tang et al., RecSys 2020",
                       .fields = {"expert", "gate_bias", "level"},
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
