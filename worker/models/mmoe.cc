// Multi-gate mixture of experts (MMoE).
//
// Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
// Mixture-of-Experts", KDD 2018, eq. (6)-(8): n experts f_i and one gate g^k a task,
//   y_k = h^k(f^k(x)),  f^k(x) = sum over i of g^k(x)_i f_i(x),  g^k(x) = softmax(W_gk x).
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
  for (const ModelTask& k : args.tasks) {
    const Value gate = Gate(args, g, k.name + "/gate", x, c.experts());
    TowerHead(args, g, k, g.Mixture(gate, {f}));
  }
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "mmoe",
                       .help = "shared experts, one gate a task",
                       .source = "Ma et al., KDD 2018",
                       .fields = {"expert", "experts", "gate_bias"},
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
