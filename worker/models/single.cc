// One network a task: the baseline that shares embeddings only.
//
// bottom [widths] and tower [widths] as in shared_bottom.cc, but none of it is shared:
//   y_k = h_k(f_k(x))
#include "common/errors.h"
#include "worker/models/blocks.h"

namespace pagoda {
namespace {

absl::Status Build(const ModelArgs& args, Graph& g) {
  RETURN_IF_ERROR(RequireWidths(args, "bottom", args.config.bottom()));
  RETURN_IF_ERROR(RequireWidths(args, "tower", args.config.tower()));
  for (const ModelTask& k : args.tasks) {
    const Value f = Hidden(args, g, k.name + "/bottom", args.inputs->Input(), args.config.bottom());
    TowerHead(args, g, k, f);
  }
  return absl::OkStatus();
}

PAGODA_REGISTER_MODEL({.name = "single",
                       .help = "one network a task; only embeddings are shared",
                       .source = "baseline",
                       .fields = {"bottom"},
                       .parameters = {},
                       .build = Build});

}  // namespace
}  // namespace pagoda
