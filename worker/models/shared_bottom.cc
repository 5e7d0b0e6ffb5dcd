// Shared-Bottom: one trunk for all tasks.
//
// Caruana, "Multitask Learning", Machine Learning 28, 1997; in the notation of Ma et al., KDD 2018,
// eq. (1): y_k = h_k(f(x)), f the shared bottom, h_k the tower of task k.
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

absl::Status Build(const ModelArgs& args, Graph& g) {
  RETURN_IF_ERROR(RequireWidths(args, "bottom", args.config.bottom()));
  RETURN_IF_ERROR(RequireWidths(args, "tower", args.config.tower()));
  const Value f = Hidden(args, g, "bottom", args.inputs->Input(), args.config.bottom());
  for (const ModelTask& k : args.tasks) TowerHead(args, g, k, f);
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "shared_bottom",
                       .help = "one shared trunk, one tower a task",
                       .source = "Caruana, Machine Learning 28, 1997",
                       .fields = {"bottom"},
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
