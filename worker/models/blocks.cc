#include "worker/models/blocks.h"

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace pagoda {

absl::Status RequireWidths(const ModelArgs& args, const std::string& field, const Widths& widths) {
  if (!widths.empty()) return absl::OkStatus();
  return UsageError(absl::StrCat("model ", args.config.name(), ": ", field,
                                 " has no layer; give its widths, such as ", field, ": 64"));
}

absl::Status RequireAtLeast(const ModelArgs& args, const std::string& field, int count,
                            int minimum) {
  if (count >= minimum) return absl::OkStatus();
  return UsageError(absl::StrCat("model ", args.config.name(), ": ", field, " is ", count,
                                 "; it must be at least ", minimum));
}

Value TowerLogit(const ModelArgs& args, Graph& g, const std::string& task, Value x) {
  const Value h = g.Mlp(task + "/tower", x, args.config.tower(), args.config.activation());
  return g.Dense(task + "/tower/out", h, 1);
}

void TowerHead(const ModelArgs& args, Graph& g, const ModelTask& task, Value x) {
  g.Head(task.name, task.head, TowerLogit(args, g, task.name, x));
}

Value Gate(const ModelArgs& args, Graph& g, const std::string& name, Value x, int experts) {
  return g.Softmax(g.Dense(name, x, experts, IDENTITY, args.config.gate_bias()));
}

}  // namespace pagoda
