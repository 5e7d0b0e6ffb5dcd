// Entire space multi-task model (ESMM): conversion after click, trained on all impressions.
//
// Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, eq. (1)-(3):
//   pCTCVR = p(y = 1, z = 1 | x) = pCTR x pCVR,
//   L = sum l(y_i, pCTR) + sum l(y_i & z_i, pCTCVR), both over all impressions.
// pCVR has no loss of its own: it is an output beside the two tasks, called "pCVR". The funnel
// names the tasks: first the click y, then the conversion y & z.
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

constexpr char kConversionGivenClick[] = "pCVR";

absl::Status Check(const ModelArgs& args) {
  RETURN_IF_ERROR(RequireWidths(args, "bottom", args.config.bottom()));
  RETURN_IF_ERROR(RequireWidths(args, "tower", args.config.tower()));
  if (args.funnel.size() != 2 || args.funnel[0] == args.funnel[1]) {
    return UsageError(absl::StrCat(
        "model esmm: the funnel needs two tasks (click, conversion), but ", args.funnel.size(),
        " are given; set dataset { funnel: \"...\" funnel: \"...\" }"));
  }
  for (const ModelTask& task : args.tasks) {
    if (task.name != args.funnel[0] && task.name != args.funnel[1]) {
      return UsageError(absl::StrCat("model esmm: task ", task.name,
                                     " is not in the funnel; esmm trains the funnel's tasks only"));
    }
    if (task.name == kConversionGivenClick) {
      return UsageError("model esmm: a task must not be called pCVR: that is the output beside it");
    }
    if (task.head != HeadKind::kProbability) {
      return UsageError(absl::StrCat("model esmm: task ", task.name, " needs loss: BCE"));
    }
  }
  return absl::OkStatus();
}

absl::Status Build(const ModelArgs& args, Graph& g) {
  RETURN_IF_ERROR(Check(args));
  const std::string& click = args.funnel[0];
  const auto network = [&](const std::string& name) {
    const Value f =
        g.Mlp(name + "/bottom", g.Input(), args.config.bottom(), args.config.activation());
    return TowerLogit(args, g, name, f);
  };
  const Value ctr = network(click), cvr = network(args.funnel[1]);  // logits
  for (const ModelTask& task : args.tasks) {
    if (task.name == click) {
      g.Head(task.name, HeadKind::kProbability, ctr);
    } else {
      g.Head(task.name, HeadKind::kProduct, ctr, cvr);
    }
  }
  g.Output(kConversionGivenClick, HeadKind::kProbability, cvr);
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "esmm",
                       .help = "click, then conversion: pCTCVR = pCTR x pCVR over all impressions",
                       .source = "Ma et al., SIGIR 2018",
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
