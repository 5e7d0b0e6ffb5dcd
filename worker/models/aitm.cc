// Adaptive information transfer multi-task (AITM): a funnel of any number of steps.
//
// Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with
// Multi-task Learning in Targeted Display Advertising", KDD 2021. Tasks in the funnel's order,
//   q_t = f_t(x)                                              task t's own network, eq. (3)
//   p_{t-1} = g_{t-1}(z_{t-1})                                what the step before tells, eq. (4)
//   z_t = AIT(p_{t-1}, q_t), z_1 = q_1                        eq. (5)
//   AIT = sum over u in {p, q} of w_u h_1(u),  w = softmax(<h_2(u), h_3(u)> / sqrt(k))
//                                                             eq. (6)-(8); one h_i for both u
//   y_t = sigmoid(tower_t(z_t))
//   L = sum_t BCE_t + alpha 1/N sum over rows of sum_{t>1} max(y_t - y_{t-1}, 0), eq. (9)-(11)
// h_i are matrices without a bias and g a layer of k with the configured activation, as in the
// authors' code. N counts all rows of the step, whatever the tasks' sample spaces.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "worker/models/blocks.h"
#include "worker/models/funnel.h"

namespace pagoda {
namespace {

// AIT(p, q), [B, k].
Value Transfer(Graph& g, const std::string& name, Value p, Value q) {
  const int k = g.width(q);
  const Value both = g.Concat({p, q});
  const auto h = [&](const char* i) {
    return g.TiedDense(name + i, both, 2, k, IDENTITY, /*bias=*/false);
  };
  const Value h_1 = h("/h1");
  const Value dots = g.SumColumns(g.Multiply(h("/h2"), h("/h3")), 2);
  const Value w = g.Softmax(g.Add({dots}, {1 / std::sqrt(k)}));
  return g.Mixture(w, {ExpertGroup{h_1, 2}});
}

// max(y_t - y_{t-1}, 0) of each row, [B, 1].
Value Excess(Graph& g, Value logit, Value logit_before) {
  const Value difference =
      g.Add({g.Activate(logit, SIGMOID), g.Activate(logit_before, SIGMOID)}, {1, -1});
  return g.Activate(difference, RELU);
}

absl::Status Build(const ModelArgs& args, Graph& g) {
  RETURN_IF_ERROR(RequireWidths(args, "bottom", args.config.bottom()));
  RETURN_IF_ERROR(RequireFunnel(args));
  RETURN_IF_ERROR(RequireProbabilities(args));
  const double alpha = args.parameters.at("alpha");
  const int k = *args.config.bottom().rbegin();
  std::map<std::string, Value> logits;
  Value z;
  for (size_t t = 0; t < args.funnel.size(); ++t) {
    const std::string& task = args.funnel[t];
    const Value q = Hidden(args, g, task + "/bottom", args.inputs->Input(), args.config.bottom());
    if (t == 0) {
      z = q;
    } else {
      const Value p = g.Dense(task + "/transfer/info", z, k, args.config.activation());
      z = Transfer(g, task + "/transfer", p, q);
    }
    logits[task] = TowerLogit(args, g, task, z);
  }
  for (const ModelTask& task : args.tasks) TaskHead(g, task, logits[task.name]);
  for (size_t t = 1; t < args.funnel.size() && alpha > 0; ++t) {
    const std::string& task = args.funnel[t];
    g.AddHead({.name = task + "/calibrator",
               .kind = HeadKind::kValue,
               .x = Excess(g, logits[task], logits[args.funnel[t - 1]]),
               .y = {},
               .has_loss = true,
               .task = task,
               .reported = false,
               .weight = alpha,
               .rows = Graph::LossRows::kEvery});
  }
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "aitm",
                       .help = "a funnel of any length: each step's network learns from the last's",
                       .source = "Xi et al., KDD 2021",
                       .fields = {"bottom"},
                       .parameters = {{"alpha", 0.6, 0, 1e6,
                                       "weight of the loss where a step is likelier than the step "
                                       "before it; 0 for tasks that are no funnel"}},
                       .build = Build});

}  // namespace
}  // namespace pagoda
