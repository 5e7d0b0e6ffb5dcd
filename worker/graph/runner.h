// Runs a compiled program over a slice, tile by tile: forward, then each pass. Inside worker/graph
// only.
//
//   runner.cc      tiles, passes, where buffers lie
//   runner_ops.cc  each operation
//
// **Confined to one thread at a time.**
#ifndef PAGODA_WORKER_GRAPH_RUNNER_H_
#define PAGODA_WORKER_GRAPH_RUNNER_H_

#include <glog/logging.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <vector>

#include "worker/graph/compiled_program.h"
#include "worker/graph/kernels.h"

namespace pagoda {

// 64-byte aligned memory of a fixed size, zeros at first.
class AlignedFloats {
 public:
  explicit AlignedFloats(size_t count)
      : data_(static_cast<float*>(
            std::aligned_alloc(64, std::max<size_t>(64, (count * sizeof(float) + 63) / 64 * 64)))) {
    CHECK(data_ != nullptr) << "no memory for " << count << " floats";
    std::fill(data_.get(), data_.get() + count, 0.0f);
  }
  float* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };
  std::unique_ptr<float, Free> data_;
};

// What a head of a tile reads and writes, in double.
struct HeadBuffers {
  std::vector<double> x, dx;                   // [T, C]
  std::vector<double> y, dy, labels, weights;  // [T]

  void Resize(size_t rows, size_t width) {
    for (auto* of_logits : {&x, &dx}) of_logits->resize(std::max(x.size(), rows * width));
    for (auto* of_rows : {&y, &dy, &labels, &weights}) of_rows->resize(rows);
  }
};

class CompiledRunner : public Runner {
 public:
  explicit CompiledRunner(const CompiledProgram& program);
  void Run(const RunArgs& args) override;
  void RunStage(int stage, const RunArgs& args, const double* lane, double* own) override;

 private:
  using Calls = std::vector<std::unique_ptr<MatMulCall>>;  // [op], null for other operations
  struct CallsOfHeight {
    Calls forward;
    std::vector<Calls> first, later;  // [pass]
  };

  // A tile: rows [begin, begin + valid) of the slice; the rest of `rows` is padding.
  struct Tile {
    const RunArgs* args;
    int begin, valid, rows;
    bool is_first;
    float* arena;
  };

  void CheckArgs(const RunArgs& args) const;
  void FindDrawKeys(const StepContext& context);
  void ClearGradients(const RunArgs& args) const;
  void GrowArena(int rows);
  void Begin(const RunArgs& args);
  void RunLane(const RunArgs& args);
  template <typename Visit>
  void ForTiles(const RunArgs& args, Visit visit) const;
  const CallsOfHeight& CallsOf(const Tile& tile) const;
  void RunTile(const Tile& tile);
  void RunStageOfTile(int stage, const Tile& tile);
  bool EndsPass(int stage) const { return program_.stages()[stage].sums == 0; }
  Normalizer NormalizerOf(const BatchNormLayer& layer);
  void FindNormalizers(int stage, const double* lane);
  void SetPass(int pass, const RunArgs& args);
  void ReturnInputGradient(const Tile& tile) const;
  void PlaceTile(const Tile& tile);
  void RunOps(const std::vector<Op>& ops, const Stage& stage, const Calls& calls, const Tile& tile);

  void Execute(const ProductOp& op, const Tile& tile, MatMulCall* call);
  void Execute(const ActivationOp& op, const Tile& tile);
  void Execute(const ActivationGradientOp& op, const Tile& tile);
  void Execute(const SoftmaxOp& op, const Tile& tile);
  void Execute(const SoftmaxGradientOp& op, const Tile& tile);
  void Execute(const MixtureOp& op, const Tile& tile);
  void Execute(const MixtureGradientOp& op, const Tile& tile);
  void Execute(const RowOp& op, const Tile& tile);
  void Execute(const HeadOp& op, const Tile& tile);
  void Execute(const SeedOp& op, const Tile& tile);
  void Execute(const ZeroOp& op, const Tile& tile);
  void Execute(const DropoutOp& op, const Tile& tile);
  void Execute(const DropoutGradientOp& op, const Tile& tile);
  void Execute(const AttentionOp& op, const Tile& tile);
  void Execute(const AttentionGradientOp& op, const Tile& tile);
  void Execute(const BatchSumsOp& op, const Tile& tile);
  void Execute(const BatchNormOp& op, const Tile& tile);
  void Execute(const BatchGradientSumsOp& op, const Tile& tile);
  void Execute(const BatchNormGradientOp& op, const Tile& tile);

  // Needed for losses, and as the passes' seeds.
  static bool NeedsLosses(const RunArgs& args);

  Columns At(Slot slot) const {
    if (slot.buffer < 0) return {};
    return {bases_[slot.buffer] + slot.column, plan_.buffers[slot.buffer].ld};
  }
  static Columns Shift(Columns columns, int by) { return {columns.data + by, columns.ld}; }

  const CompiledProgram& program_;
  const Plan& plan_;
  const int input_width_;
  int loss_count_ = 0;
  // One tile's; in stages those of all tiles of a slice, which live at once, one behind the other.
  std::unique_ptr<AlignedFloats> arena_;
  int arena_rows_ = 0;
  AlignedFloats scratch_;
  CallsOfHeight calls_[std::size(kHeights)];
  HeadBuffers head_buffers_;
  AttentionScratch attention_scratch_;

  std::vector<uint64_t> draw_keys_;  // [Plan::draws], for draw_seed_.
  uint64_t draw_seed_ = 0;
  std::vector<float> means_, scales_;  // [columns of all BatchNorms]
  std::vector<float> gradient_means_;  // [2, columns of the widest BatchNorm]

  // Of what is running.
  std::vector<float*> bases_;  // [buffer], of the tile
  int pass_ = 0;
  const PassArgs* pass_args_ = nullptr;
  const double* lane_sums_ = nullptr;  // Null while not training.
  double* own_sums_ = nullptr;
  std::vector<double> slice_sums_;  // [sums of all stages], while not training.
  // Of a stage, where the slice is the whole lane.
  std::vector<double> lane_sums_of_run_, own_sums_of_run_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_RUNNER_H_
