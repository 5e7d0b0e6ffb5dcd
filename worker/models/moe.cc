// One-gate mixture of experts (OMoE): all tasks read one mixture.
//
// Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
// Mixture-of-Experts", KDD 2018, eq. (5): n experts f_i under one gate g,
//   y_k = h_k(y),  y = sum over i of g(x)_i f_i(x),  g(x) = softmax(W_g x).
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

absl::Status Build(const ModelArgs& args, Graph& g) {
  const ModelConfig& c = args.config;
  RETURN_IF_ERROR(RequireWidths(args, "expert", c.expert()));
  RETURN_IF_ERROR(RequireWidths(args, "tower", c.tower()));
  const Value x = args.inputs->Input();
  const ExpertGroup f = Experts(args, g, "experts", x, c.experts(), c.expert());
  const Value y = g.Mixture(Gate(args, g, "gate", x, c.experts()), {f});
  for (const ModelTask& k : args.tasks) TowerHead(args, g, k, y);
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "moe",
                       .help = "experts under one gate that all tasks share (OMoE)",
                       .source = "Ma et al., KDD 2018",
                       .fields = {"expert", "experts", "gate_bias"},
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
