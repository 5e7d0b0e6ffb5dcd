// Entire space counterfactual multi-task model (ESCM2): ESMM whose conversion network also learns
// from the clicked rows, weighted so that they stand for all impressions.
//
// Wang et al., "ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
// Estimation", SIGIR 2022, eq. (13):
//   L = L_CTR + lambda_c L_CVR + lambda_g L_CTCVR,
// L_CVR over the rows D, O those with a click o, e the cross-entropy of conversion given click, p
// the propensity pCTR, of which no gradient is taken and which is kept above `propensity_floor`:
//   IPW  1/|D| sum over O of e / p                                                    eq. (7)
//   DR   1/|D| sum over D of (e^ + o (e - e^) / p) + 1/|D| sum over O of (e - e^)^2 / p
// eq. (11), (12); e^ is the imputation tower's estimate of e, on what the conversion's tower reads.
// Deviation: the last term moves e^ alone (worker/graph/heads.h says why).
// With lambda_c 0 and lambda_g 1 it is ESMM, bit for bit. L_CVR's rows have weight 1 each, but for
// those of O outside a task's sample space, which have no labels: they have weight 0.
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "worker/models/blocks.h"
#include "worker/models/entire_space.h"

namespace pagoda {
namespace {

// A propensity is the data's probability of a click.
absl::Status Check(const ModelArgs& args) {
  for (const ModelTask& task : args.tasks) {
    if (task.reweighted_by.empty()) continue;
    return UsageError(absl::StrCat("model escm2: task ", task.name, ": ", task.reweighted_by,
                                   " would make pCTR no propensity; leave it out"));
  }
  return absl::OkStatus();
}

absl::Status Build(const ModelArgs& args, Graph& g) {
  RETURN_IF_ERROR(Check(args));
  ASSIGN_OR_RETURN(const EntireSpace nets,
                   BuildEntireSpace(args, g, args.parameters.at("global_weight")));
  const double lambda_c = args.parameters.at("counterfactual_weight");
  if (lambda_c == 0) return absl::OkStatus();
  const std::string &click = args.funnel[0], &conversion = args.funnel[1];
  const Value propensity = g.StopGradient(nets.ctr);
  Graph::HeadSpec head{.name = conversion + "/counterfactual",
                       .kind = HeadKind::kInversePropensity,
                       .x = {},
                       .y = {},
                       .has_loss = true,
                       .task = conversion,
                       .parameter = args.parameters.at("propensity_floor"),
                       .reported = false,
                       .weight = lambda_c,
                       .rows = Graph::LossRows::kGiven,
                       .given = click};
  if (args.parameters.at("doubly_robust") == 0) {
    head.x = g.Concat({nets.cvr, propensity});
    g.AddHead(head);
    return absl::OkStatus();
  }
  const std::string name = conversion + "/imputation";
  const Value imputed =
      g.Dense(name + "/out", Hidden(args, g, name, nets.hidden, args.config.tower()), 1);
  head.kind = HeadKind::kDoublyRobust;
  head.x = g.Concat({nets.cvr, propensity, imputed});
  g.AddHead(head);
  head.name = conversion + "/imputed";
  head.kind = HeadKind::kValue;
  head.x = imputed;
  head.rows = Graph::LossRows::kEvery;
  head.given.clear();
  g.AddHead(head);
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL(
    {.name = "escm2",
     .help = "esmm with a conversion loss on clicked rows, reweighted to all impressions",
     .source = "Wang et al., SIGIR 2022",
     .fields = {"bottom"},
     .parameters = {{"counterfactual_weight", 0.1, 0, 1e6, "lambda_c, of the loss on clicked rows"},
                    {"global_weight", 1, 0, 1e6, "lambda_g, of pCTCVR's loss"},
                    {"doubly_robust", 0, 0, 1, "0: inverse propensity weights; 1: doubly robust",
                     ParameterKind::kFlag},
                    {"propensity_floor", 0.05, 1e-6, 1,
                     "pCTR as a propensity is not let below it"}},
     .build = Build,
     .needs_strict_funnel = true});

}  // namespace
}  // namespace pagoda
