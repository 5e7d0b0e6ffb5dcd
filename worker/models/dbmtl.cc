// Deep Bayesian multi-target learning (DBMTL): each target's network also reads those of the
// targets before it.
//
// Wang et al., "Deep Bayesian Multi-Target Learning for Recommender Systems", 2019
// (arXiv:1902.09154): the targets are a Bayesian network, P(l_1, ..., l_K | x) = product over k of
// P(l_k | l_1, ..., l_{k-1}, x), each factor a multi-layer perceptron on x's specific layers and on
// what the parents' factors computed:
//   f(x) = bottom, shared;  u_k = specific layers of target k on f(x)
//   r_k = m_k([u_k, r_1, ..., r_{k-1}]),  P(l_k | ...) = sigmoid(w_k r_k + b_k)
// Targets in the funnel's order, every earlier one a parent. u_k has the layers `expert`, m_k those
// of `tower`.
#include "common/errors.h"
#include "worker/models/blocks.h"
#include "worker/models/funnel.h"

namespace pagoda {
namespace {

absl::Status Build(const ModelArgs& args, Graph& g) {
  const ModelConfig& c = args.config;
  RETURN_IF_ERROR(RequireWidths(args, "bottom", c.bottom()));
  RETURN_IF_ERROR(RequireWidths(args, "expert", c.expert()));
  RETURN_IF_ERROR(RequireWidths(args, "tower", c.tower()));
  RETURN_IF_ERROR(RequireFunnel(args));
  const Value f = Hidden(args, g, "bottom", args.inputs->Input(), c.bottom());
  std::vector<Value> r;
  std::map<std::string, Value> of_task;
  for (const std::string& task : args.funnel) {
    std::vector<Value> read = {Hidden(args, g, task + "/specific", f, c.expert())};
    read.insert(read.end(), r.begin(), r.end());
    r.push_back(TowerHidden(args, g, task, g.Concat(read)));
    of_task[task] = r.back();
  }
  for (const ModelTask& k : args.tasks) {
    TaskHead(g, k, TowerOut(args, g, k.name, of_task[k.name], k.logits));
  }
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "dbmtl",
                       .help = "each task also reads the networks of the tasks before it",
                       .source = "Wang et al., arXiv:1902.09154, 2019",
                       .fields = {"bottom", "expert"},
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
