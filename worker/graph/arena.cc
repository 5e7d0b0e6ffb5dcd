#include "worker/graph/arena.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "absl/types/span.h"

namespace pagoda {
namespace {

// f(slot) for each of the operation's slots; those that are not wanted have buffer -1.
template <typename F>
struct ForSlots {
  const F& f;

  void operator()(const ProductOp& op) const { All(op.x, op.y); }
  void operator()(const ActivationOp& op) const { All(op.y); }
  void operator()(const ActivationGradientOp& op) const { All(op.y, op.dy); }
  void operator()(const SoftmaxOp& op) const { All(op.x, op.y); }
  void operator()(const SoftmaxGradientOp& op) const { All(op.y, op.dy, op.dx); }
  void operator()(const HeadOp& op) const { All(op.x, op.y, op.dx, op.dy); }
  void operator()(const SeedOp& op) const { All(op.seed, op.dx); }
  void operator()(const DropoutOp& op) const { All(op.x, op.kept, op.y); }
  void operator()(const DropoutGradientOp& op) const { All(op.dy, op.kept, op.dx); }
  void operator()(const BatchSumsOp& op) const { All(op.x); }
  void operator()(const BatchNormOp& op) const { All(op.x, op.y); }
  void operator()(const BatchGradientSumsOp& op) const { All(op.x, op.dy); }
  void operator()(const BatchNormGradientOp& op) const { All(op.x, op.dy, op.dx); }
  void operator()(const ZeroOp& op) const { All(op.x); }
  void operator()(const RowOp& op) const { All(op.x, op.x2, op.y, op.dy, op.out); }
  void operator()(const AttentionOp& op) const { All(op.q, op.k, op.v, op.mask, op.y); }
  void operator()(const AttentionGradientOp& op) const {
    All(op.of.q, op.of.k, op.of.v, op.of.mask, op.dy, op.d[0], op.d[1], op.d[2]);
  }
  void operator()(const MixtureOp& op) const {
    All(op.gate, op.y);
    for (Slot expert : op.experts) f(expert);
  }
  void operator()(const MixtureGradientOp& op) const {
    All(op.gate, op.dgate, op.dy);
    for (Slot expert : op.experts) f(expert);
    for (Slot expert : op.dexperts) f(expert);
  }

  template <typename... Slots>
  void All(Slots... slots) const {
    (f(slots), ...);
  }
};

void FindLives(Plan* plan) {
  int index = 0;
  const auto touch = [&](Slot slot) {
    if (slot.buffer < 0) return;
    ArenaBuffer& buffer = plan->buffers[slot.buffer];
    if (buffer.first_op < 0) buffer.first_op = index;
    buffer.last_op = index;
  };
  const auto touch_all = [&](const std::vector<Op>& ops) {
    for (const Op& op : ops) {
      std::visit(ForSlots<decltype(touch)>{touch}, op);
      ++index;
    }
  };
  touch_all(plan->forward);
  for (size_t p = 0; p < plan->passes.size(); ++p) {
    // dx is handed back after the last operation of its pass.
    ArenaBuffer& dx = plan->buffers[InputGradientBuffer(static_cast<int>(p))];
    dx.first_op = index;
    touch_all(plan->passes[p].ops);
    dx.last_op = index;
  }
  // x is read by the last weight gradient at the latest.
  plan->buffers[kInputBuffer].first_op = 0;
  plan->buffers[kInputBuffer].last_op = index;
}

// First fit beside those of `placed` that are alive when `buffer` is born; returns the end of its
// columns.
int64_t PlaceBuffer(ArenaBuffer* buffer, absl::Span<ArenaBuffer* const> placed) {
  std::vector<std::pair<int64_t, int64_t>> taken;  // [begin, end)
  for (const ArenaBuffer* other : placed) {
    if (other->last_op >= buffer->first_op) {
      taken.emplace_back(other->offset, other->offset + RoundUp(other->ld, kLineFloats));
    }
  }
  std::sort(taken.begin(), taken.end());
  int64_t offset = 0;
  for (const auto& [begin, end] : taken) {
    if (begin - offset >= buffer->ld) break;
    offset = std::max(offset, end);
  }
  buffer->offset = offset;
  return offset + RoundUp(buffer->ld, kLineFloats);
}

}  // namespace

void PlaceArena(Plan* plan) {
  FindLives(plan);
  std::vector<ArenaBuffer*> by_birth;
  for (ArenaBuffer& buffer : plan->buffers) {
    if (buffer.first_op >= 0) by_birth.push_back(&buffer);
  }
  std::stable_sort(
      by_birth.begin(), by_birth.end(),
      [](const ArenaBuffer* a, const ArenaBuffer* b) { return a->first_op < b->first_op; });
  for (size_t i = 0; i < by_birth.size(); ++i) {
    const int64_t end = PlaceBuffer(by_birth[i], absl::MakeConstSpan(by_birth.data(), i));
    plan->arena_floats_per_row = std::max(plan->arena_floats_per_row, end);
  }
}

}  // namespace pagoda
