#include "worker/models/blocks.h"

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "worker/graph/losses.h"

namespace pagoda {
namespace {

LayerStyle StyleOf(const ModelConfig& config) {
  LayerStyle style(config.activation());
  style.normalization = config.normalization();
  style.batch_norm = config.batch_norm();
  style.dropout = config.dropout();
  style.residual = config.residual();
  return style;
}

}  // namespace

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

Value TowerLogit(const ModelArgs& args, Graph& g, const std::string& task, Value x, int logits) {
  return TowerOut(args, g, task, TowerHidden(args, g, task, x), logits);
}

Value TowerHidden(const ModelArgs& args, Graph& g, const std::string& task, Value x) {
  const std::string name = task + "/tower";
  const Value read = args.inputs->ReadBeside(name, x);
  return g.Mlp(name, read, args.config.tower(), StyleOf(args.config));
}

Value TowerOut(const ModelArgs& args, Graph& g, const std::string& task, Value h, int logits) {
  const Value deep = g.Dense(task + "/tower/out", h, logits);
  const Value wide = args.inputs->Wide(task, logits);
  return wide.node < 0 ? deep : g.Add({deep, wide});
}

Value Hidden(const ModelArgs& args, Graph& g, const std::string& name, Value x,
             const Widths& widths) {
  return g.Mlp(name, args.inputs->Read(name, x), widths, StyleOf(args.config));
}

ExpertGroup Experts(const ModelArgs& args, Graph& g, const std::string& name, Value x, int count,
                    const Widths& widths) {
  if (count == 0) return {};
  return g.Experts(name, args.inputs->Read(name, x), count, widths, StyleOf(args.config));
}

void TaskHead(Graph& g, const ModelTask& task, Value logits) {
  g.AddHead({.name = task.name,
             .kind = task.head,
             .x = logits,
             .y = {},
             .has_loss = true,
             .task = task.name,
             .parameter = task.parameter,
             .parameter2 = task.parameter2});
  if (task.head != HeadKind::kClasses) return;
  for (int c = 0; c < task.logits; ++c) {
    g.AddHead({.name = ClassOutputName(task.name, c),
               .kind = HeadKind::kClass,
               .x = logits,
               .y = {},
               .has_loss = false,
               .parameter = static_cast<double>(c)});
  }
}

void TowerHead(const ModelArgs& args, Graph& g, const ModelTask& task, Value x) {
  TaskHead(g, task, TowerLogit(args, g, task.name, x, task.logits));
}

Value Gate(const ModelArgs& args, Graph& g, const std::string& name, Value x, int experts) {
  const Value read = args.inputs->Read(name, x);
  return g.Softmax(g.Dense(name, read, experts, IDENTITY, args.config.gate_bias()));
}

}  // namespace pagoda
