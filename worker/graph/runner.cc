#include "worker/graph/runner.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <type_traits>
#include <variant>

#include "worker/graph/dropout.h"

namespace pagoda {
namespace {

int HeightFor(int rows_left) {
  for (int height : kHeights) {
    if (height <= rows_left) return height;
  }
  return kHeights[std::size(kHeights) - 1];
}

std::vector<std::unique_ptr<MatMulCall>> NewCalls(
    const std::vector<std::shared_ptr<const MatMul>>& products) {
  std::vector<std::unique_ptr<MatMulCall>> calls;
  for (const auto& product : products) {
    calls.push_back(product ? std::make_unique<MatMulCall>(product) : nullptr);
  }
  return calls;
}

}  // namespace

CompiledRunner::CompiledRunner(const CompiledProgram& program)
    : program_(program),
      plan_(program.plan()),
      input_width_(program.input_width()),
      scratch_((program.scratch_bytes() + sizeof(float) - 1) / sizeof(float)) {
  GrowArena(Program::kTileRows);
  bases_.resize(plan_.buffers.size());
  for (size_t h = 0; h < std::size(kHeights); ++h) {
    calls_[h].forward = NewCalls(program.forward(h).first);
    for (int p = 0; p < program.pass_count(); ++p) {
      calls_[h].first.push_back(NewCalls(program.pass(p, h).first));
      calls_[h].later.push_back(NewCalls(program.pass(p, h).later));
    }
  }
  for (const Graph::HeadSpec& head : program.heads()) loss_count_ += head.has_loss;
  for (const BatchNormLayer& layer : plan_.batch_norms) {
    means_.resize(layer.column + layer.width);
    scales_.resize(means_.size());
    gradient_means_.resize(std::max<size_t>(gradient_means_.size(), 2 * layer.width));
  }
  size_t sums = 0, most_sums = 0;
  for (const Stage& stage : program.stages()) {
    sums += stage.sums;
    most_sums = std::max<size_t>(most_sums, stage.sums);
  }
  slice_sums_.resize(sums);
  lane_sums_of_run_.resize(most_sums);
  own_sums_of_run_.resize(most_sums);
  for (const Op& op : plan_.forward) {
    const auto* head = std::get_if<HeadOp>(&op);
    const auto* attention = std::get_if<AttentionOp>(&op);
    if (attention != nullptr) attention_scratch_.Fit(attention->shape);
    if (head != nullptr) head_buffers_.Resize(Program::kTileRows, head->width);
  }
}

bool CompiledRunner::NeedsLosses(const RunArgs& args) {
  if (args.losses != nullptr) return true;
  return std::any_of(args.passes.begin(), args.passes.end(),
                     [](const PassArgs& pass) { return pass.gradients != nullptr; });
}

void CompiledRunner::CheckArgs(const RunArgs& args) const {
  CHECK(args.passes.empty() || static_cast<int>(args.passes.size()) == program_.pass_count());
  if (NeedsLosses(args)) {
    CHECK_EQ(static_cast<int>(args.labels.size()), loss_count_);
    CHECK_EQ(static_cast<int>(args.loss_weights.size()), loss_count_);
  }
  CHECK(!args.context.training || plan_.draws.empty() || args.rows == 0 ||
        args.context.global_rows != nullptr);
  CHECK(args.predictions.empty() || args.predictions.size() == program_.heads().size());
  for (size_t p = 0; p < args.passes.size(); ++p) {
    const PassArgs& pass = args.passes[p];
    CHECK(pass.head_scales.empty() || static_cast<int>(pass.head_scales.size()) == loss_count_);
    if (pass.dx == nullptr) continue;
    CHECK(pass.gradients != nullptr);
    CHECK(program_.has_input_gradient(p)) << "pass " << p << " has no dx";
  }
}

void CompiledRunner::ClearGradients(const RunArgs& args) const {
  for (size_t p = 0; p < args.passes.size(); ++p) {
    float* const gradients = args.passes[p].gradients;
    if (gradients == nullptr) continue;
    for (const FlatRange& range : plan_.passes[p].zero_gradients) {
      std::memset(gradients + range.offset, 0, range.count * sizeof(float));
    }
    if (args.rows == 0) std::memset(gradients, 0, plan_.parameter_count * sizeof(float));
  }
}

void CompiledRunner::FindDrawKeys(const StepContext& context) {
  if (!draw_keys_.empty() && draw_seed_ == context.seed) return;
  draw_seed_ = context.seed;
  draw_keys_.clear();
  for (const std::string& name : plan_.draws) {
    draw_keys_.push_back(DropoutKey(context.seed, name));
  }
}

// What it held is lost.
void CompiledRunner::GrowArena(int rows) {
  if (rows <= arena_rows_) return;
  arena_.reset();
  arena_ = std::make_unique<AlignedFloats>(plan_.arena_floats_per_row * rows);
  arena_rows_ = rows;
}

void CompiledRunner::Begin(const RunArgs& args) {
  CheckArgs(args);
  if (args.losses != nullptr) std::fill(args.losses, args.losses + loss_count_, 0.0);
  ClearGradients(args);
  FindDrawKeys(args.context);
}

// visit(tile) for each tile of the slice, in order.
template <typename Visit>
void CompiledRunner::ForTiles(const RunArgs& args, Visit visit) const {
  for (int begin = 0; begin < args.rows;) {
    const int left = args.rows - begin, height = HeightFor(left);
    const int valid = std::min(left, height);
    visit(Tile{&args, begin, valid, height, begin == 0, arena_->get()});
    begin += valid;
  }
}

void CompiledRunner::Run(const RunArgs& args) {
  if (args.context.training && !plan_.batch_norms.empty()) return RunLane(args);
  UseOneThread();
  const FlushDenormals flush;
  Begin(args);
  lane_sums_ = nullptr;
  std::fill(slice_sums_.begin(), slice_sums_.end(), 0.0);
  for (const BatchNormLayer& layer : plan_.batch_norms) {
    FindRunningNormalizer(layer, args.parameters, NormalizerOf(layer));
  }
  ForTiles(args, [this](const Tile& tile) { RunTile(tile); });
}

void CompiledRunner::RunLane(const RunArgs& args) {
  for (int stage = 0; stage < static_cast<int>(program_.stages().size()); ++stage) {
    const int pass = program_.stages()[stage].pass;
    if (pass >= static_cast<int>(args.passes.size())) break;
    if (pass >= 0 && args.passes[pass].gradients == nullptr) continue;
    RunStage(stage, args, lane_sums_of_run_.data(), own_sums_of_run_.data());
    lane_sums_of_run_.swap(own_sums_of_run_);
  }
}

void CompiledRunner::RunStage(int stage, const RunArgs& args, const double* lane, double* own) {
  UseOneThread();
  const FlushDenormals flush;
  CHECK(args.context.training);
  const Stage& of = program_.stages()[stage];
  if (stage == 0) {
    Begin(args);
    int rows = 0;
    ForTiles(args, [&](const Tile& tile) { rows += tile.rows; });
    GrowArena(rows);
  }
  std::fill(own, own + of.sums, 0.0);
  if (of.sums > 0) own[0] = args.rows;
  if (args.rows == 0) return;
  lane_sums_ = lane;
  own_sums_ = own;
  FindNormalizers(stage, lane);
  SetPass(of.pass, args);
  float* arena = arena_->get();
  ForTiles(args, [&](Tile tile) {
    tile.arena = arena;
    PlaceTile(tile);
    RunStageOfTile(stage, tile);
    if (of.pass >= 0 && EndsPass(stage)) ReturnInputGradient(tile);
    arena += plan_.arena_floats_per_row * tile.rows;
  });
}

Normalizer CompiledRunner::NormalizerOf(const BatchNormLayer& layer) {
  return {means_.data() + layer.column, scales_.data() + layer.column};
}

// Of the layers whose sums the forward stage before left.
void CompiledRunner::FindNormalizers(int stage, const double* lane) {
  if (program_.stages()[stage].pass >= 0) return;
  for (const BatchNormLayer& layer : plan_.batch_norms) {
    if (layer.stage != stage - 1 || layer.stage < 0) continue;
    FindNormalizer(layer, lane, NormalizerOf(layer));
  }
}

void CompiledRunner::SetPass(int pass, const RunArgs& args) {
  pass_ = pass;
  pass_args_ = pass < 0 ? nullptr : &args.passes[pass];
}

const CompiledRunner::CallsOfHeight& CompiledRunner::CallsOf(const Tile& tile) const {
  return calls_[std::find(std::begin(kHeights), std::end(kHeights), tile.rows) -
                std::begin(kHeights)];
}

void CompiledRunner::RunStageOfTile(int stage, const Tile& tile) {
  const CallsOfHeight& calls = CallsOf(tile);
  const Stage& of = program_.stages()[stage];
  if (of.pass < 0) return RunOps(plan_.forward, of, calls.forward, tile);
  RunOps(plan_.passes[of.pass].ops, of, (tile.is_first ? calls.first : calls.later)[of.pass], tile);
}

void CompiledRunner::RunTile(const Tile& tile) {
  PlaceTile(tile);
  const std::vector<Stage>& stages = program_.stages();
  double* sums = slice_sums_.data();
  for (int stage = 0; stage < static_cast<int>(stages.size()); ++stage) {
    const int pass = stages[stage].pass;
    if (pass >= static_cast<int>(tile.args->passes.size())) break;
    own_sums_ = sums;
    sums += stages[stage].sums;
    if (pass >= 0 && tile.args->passes[pass].gradients == nullptr) continue;
    SetPass(pass, *tile.args);
    RunStageOfTile(stage, tile);
    if (pass >= 0 && EndsPass(stage)) ReturnInputGradient(tile);
  }
}

// A short tile's dx goes through the arena.
void CompiledRunner::ReturnInputGradient(const Tile& tile) const {
  if (pass_args_->dx == nullptr || tile.valid == tile.rows) return;
  std::copy_n(bases_[InputGradientBuffer(pass_)], int64_t{tile.valid} * input_width_,
              pass_args_->dx + int64_t{tile.begin} * input_width_);
}

// Full tiles read x and write dx where they are; a short one goes through the arena.
void CompiledRunner::PlaceTile(const Tile& tile) {
  for (size_t b = 0; b < bases_.size(); ++b) {
    bases_[b] = tile.arena + plan_.buffers[b].offset * tile.rows;
  }
  const int64_t first = int64_t{tile.begin} * input_width_;
  if (tile.valid == tile.rows) {
    bases_[kInputBuffer] = const_cast<float*>(tile.args->x) + first;
    for (size_t p = 0; p < tile.args->passes.size(); ++p) {
      float* const dx = tile.args->passes[p].dx;
      if (dx != nullptr) bases_[InputGradientBuffer(static_cast<int>(p))] = dx + first;
    }
    return;
  }
  const int64_t valid_floats = int64_t{tile.valid} * input_width_;
  std::copy_n(tile.args->x + first, valid_floats, bases_[kInputBuffer]);
  std::fill(bases_[kInputBuffer] + valid_floats,
            bases_[kInputBuffer] + int64_t{tile.rows} * input_width_, 0.0f);
}

void CompiledRunner::RunOps(const std::vector<Op>& ops, const Stage& stage, const Calls& calls,
                            const Tile& tile) {
  for (int i = stage.begin; i < stage.end; ++i) {
    const Op& op = ops[i];
    if (const auto* product = std::get_if<ProductOp>(&op)) {
      Execute(*product, tile, calls[i].get());
      continue;
    }
    std::visit(
        [&](const auto& op) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(op)>, ProductOp>) Execute(op, tile);
        },
        op);
  }
}

std::unique_ptr<Runner> CompiledProgram::NewRunner() const {
  UseOneThread();
  return std::make_unique<CompiledRunner>(*this);
}

}  // namespace pagoda
