// Wide & Deep with one deep network for all tasks.
//
// Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016, eq. (3):
//   P(Y = 1 | x) = sigmoid(w_wide^T [x, phi(x)] + w_deep^T a + b).
// a is the shared network `bottom` with a tower a task behind it; without a `bottom`, each task's
// tower is its deep network. The wide part (ModelConfig.wide, for which any model can ask) is a
// weight an id and task; phi, the crosses, are features of the data set. The paper trains the wide
// part by FTRL and the deep one by Adagrad: train.group with match "rows:wide/*".
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

absl::Status Build(const ModelArgs& args, Graph& g) {
  RETURN_IF_ERROR(RequireWidths(args, "tower", args.config.tower()));
  if (!args.config.has_wide()) {
    return UsageError(
        "model wide_deep: it has no wide part; set model { wide {} } for all features");
  }
  const Value a = Hidden(args, g, "bottom", args.inputs->Input(), args.config.bottom());
  for (const ModelTask& k : args.tasks) TowerHead(args, g, k, a);
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "wide_deep",
                       .help = "a weight an id beside one deep network with a tower a task",
                       .source = "Cheng et al., DLRS 2016",
                       .fields = {"bottom"},
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
