// DSelect-k: MMoE whose gates choose k of the experts, smoothly.
//
// Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with Applications
// to Multi-Task Learning", NeurIPS 2021. With n = 2^m experts, a single-expert selector is
//   r(z)_i = product over bits j of S(z_j) or 1 - S(z_j), z in R^m                 eq. (3)
// S the smooth step of width gamma, and the gate of task k of them
//   q(alpha, Z) = sum over i of softmax(alpha)_i r(z^(i)),  z^(i) = W_i x,  alpha = G x   eq. (4)
// (the per-example form of section 3.2; a vector of biases is added to both, so that W = 0 is the
// static form). `entropy_weight` is lambda of eq. (5): the entropies of the selectors, added up,
// mean over all rows; it drives them to one expert each. n is a power of 2; the paper's penalty for
// other n is not here.
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

absl::Status Check(const ModelArgs& args) {
  RETURN_IF_ERROR(RequireWidths(args, "expert", args.config.expert()));
  const int n = args.config.experts();
  if (n >= 2 && std::has_single_bit(static_cast<unsigned>(n))) return absl::OkStatus();
  return UsageError(
      absl::StrCat("model dselect_k: experts is ", n, "; it must be a power of 2, at least 2"));
}

// q, [B, n].
Value SparseGate(const ModelArgs& args, Graph& g, const std::string& task) {
  const int n = args.config.experts(), bits = std::countr_zero(static_cast<unsigned>(n));
  const int k = static_cast<int>(args.parameters.at("selectors"));
  const Value x = args.inputs->Read(task + "/gate", args.inputs->Input());
  const Value z = g.Dense(task + "/gate/selectors", x, k * bits);
  const Value r = g.Selector(z, k, args.parameters.at("gamma"));
  const double lambda = args.parameters.at("entropy_weight");
  if (lambda > 0) {
    g.AddHead({.name = task + "/entropy",
               .kind = HeadKind::kEntropy,
               .x = r,
               .y = {},
               .has_loss = true,
               .task = task,
               .reported = false,
               .weight = lambda,
               .rows = Graph::LossRows::kEvery});
  }
  const Value alpha = g.Softmax(g.Dense(task + "/gate/weights", x, k));
  return g.Mixture(alpha, {ExpertGroup{r, k}});
}

absl::Status Build(const ModelArgs& args, Graph& g) {
  const ModelConfig& c = args.config;
  RETURN_IF_ERROR(Check(args));
  const ExpertGroup f = Experts(args, g, "experts", args.inputs->Input(), c.experts(), c.expert());
  for (const ModelTask& k : args.tasks) {
    TowerHead(args, g, k, g.Mixture(SparseGate(args, g, k.name), {f}));
  }
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "dselect_k",
                       .help = "mmoe whose gates choose k of the experts, smoothly",
                       .source = "Hazimeh et al., NeurIPS 2021",
                       .fields = {"expert", "experts"},
                       .parameters = {{"selectors", 2, 1, 64, "k: experts that a gate may choose",
                                       ParameterKind::kWhole},
                                      {"gamma", 1, 1e-3, 1e3, "width of the smooth step"},
                                      {"entropy_weight", 0, 0, 1e6,
                                       "lambda: drives each selector to one expert"}},
                       .build = Build});

}  // namespace
}  // namespace pagoda
