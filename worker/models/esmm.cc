// Entire space multi-task model (ESMM): conversion after click, trained on all impressions.
//
// Ma et al., "Entire Space Multi-Task Model", SIGIR 2018, eq. (1)-(3):
//   pCTCVR = p(y = 1, z = 1 | x) = pCTR x pCVR,
//   L = sum l(y_i, pCTR) + sum l(y_i & z_i, pCTCVR), both over all impressions.
// pCVR has no loss of its own: it is an output beside the two tasks, called "pCVR". The funnel
// names the tasks: first the click y, then the conversion y & z. A row with y & z but not y is none
// that the model knows: a data error, unless the data set says otherwise (dataset.strict_funnel).
#include "common/errors.h"
#include "worker/models/blocks.h"
#include "worker/models/entire_space.h"

namespace pagoda {
namespace {

absl::Status Build(const ModelArgs& args, Graph& g) {
  return BuildEntireSpace(args, g, /*global_weight=*/1).status();
}

PAGODA_REGISTER_MODEL({.name = "esmm",
                       .help = "click, then conversion: pCTCVR = pCTR x pCVR over all impressions",
                       .source = "Ma et al., SIGIR 2018",
                       .fields = {"bottom"},
                       .parameters = {},
                       .build = Build,
                       .needs_strict_funnel = true});

}  // namespace
}  // namespace pagoda
