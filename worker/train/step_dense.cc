#include "worker/train/step_dense.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "common/optim/ema.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

// Work items of a wave for each thread: with fewer, threads wait for the slowest at every wave.
constexpr int kSlicesPerThread = 4;
constexpr int kUsualSlices = 4;  // Of a lane.

std::vector<int64_t> ShapeOf(const ParameterView& view) {
  const bool is_matrix = view.rows > 1;
  if (is_matrix) return {view.rows, view.columns};
  return {view.columns};
}

std::string StateName(const std::string& name, const std::string& label, int state) {
  return absl::StrCat(name, label.empty() ? "" : ".", label, ".state", state);
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

using Piece = DenseParameters::Piece;

void AppendRows(const ParameterView& view, std::vector<Piece>* pieces) {
  for (int r = 0; r < view.rows; ++r) {
    pieces->push_back({view.offset + r * view.stride, view.columns});
  }
}

// Neighbours that touch become one.
std::vector<Piece> Joined(const std::vector<Piece>& pieces) {
  std::vector<Piece> joined;
  for (const Piece& piece : pieces) {
    if (!joined.empty() && joined.back().begin + joined.back().size == piece.begin) {
      joined.back().size += piece.size;
    } else {
      joined.push_back(piece);
    }
  }
  return joined;
}

// A bias may come as [columns] or as [1, columns], as some programs write it.
bool ShapeFits(const ParameterView& view, const std::vector<int64_t>& shape) {
  return shape == ShapeOf(view) || shape == std::vector<int64_t>{view.rows, view.columns};
}

absl::Status CheckTensor(const ParameterView& view, const Tensor& tensor) {
  if (tensor.dtype != "F32" || !ShapeFits(view, tensor.shape)) {
    return DataError(absl::StrCat("dense tensor ", tensor.name, " is ", tensor.dtype, " ",
                                  ShapeText(tensor.shape), ", the model wants F32 ",
                                  ShapeText(ShapeOf(view)),
                                  "; it was written by another model or configuration"));
  }
  const size_t size = static_cast<size_t>(view.rows) * view.columns;
  if (tensor.bytes.size() != size * sizeof(float)) {
    return DataError(absl::StrCat("dense tensor ", tensor.name, " has ", tensor.bytes.size(),
                                  " bytes, its shape needs ", size * sizeof(float)));
  }
  for (size_t i = 0; i < size; ++i) {
    float x;
    std::memcpy(&x, tensor.bytes.data() + i * sizeof(float), sizeof(x));
    if (!std::isfinite(x)) {
      return DataError(absl::StrCat("dense tensor ", tensor.name, ": element ", i, " is ", x));
    }
  }
  return absl::OkStatus();
}

constexpr float kZeros[DenseParameters::kChunk] = {};

// Sums along the tree of arrays that are not copied before they are added.
class PointerTree {
 public:
  // slots [TreeOrder::kMaxDepth, kChunk]
  PointerTree(float* slots, int64_t n) : slots_(slots), n_(n) {}
  void Push(uint32_t leaf, const float* values) {
    values_[order_.Push(leaf, [this](int k) { Merge(k); })] = values;
  }
  const float* Finish() {
    order_.Finish([this](int k) { Merge(k); });
    return values_[0];
  }

 private:
  void Merge(int k) {
    float* out = slots_ + k * DenseParameters::kChunk;
    for (int64_t i = 0; i < n_; ++i) out[i] = values_[k][i] + values_[k + 1][i];
    values_[k] = out;
  }
  TreeOrder order_;
  float* const slots_;
  const int64_t n_;
  const float* values_[TreeOrder::kMaxDepth];
};

}  // namespace

DenseParameters::DenseParameters(const Program* program, std::vector<DenseOptimizer> optimizers,
                                 uint64_t seed, double ema_decay)
    : program_(program),
      optimizers_(std::move(optimizers)),
      size_(program->parameter_count()),
      weights_(size_) {
  program->InitParameters(seed, weights_.data());
  element_begin_.push_back(0);
  first_chunk_.push_back(0);
  for (int o = 0; o < static_cast<int>(optimizers_.size()); ++o) CutIntoChunks(o);
  optimizers_overlap_ = FindOverlap();
  states_.Resize(state_end_);
  for (const Chunk& chunk : chunks_) {
    const Rule& rule = *optimizers_[chunk.optimizer].rule;
    float* state = states_.data() + chunk.state_begin;
    std::fill_n(state, chunk.size * rule.dense_state_arrays(), 0.0f);
    if (rule.dense_state_arrays() > 0) rule.InitState(state, chunk.size);
    if (!rule.StartsAtZero()) continue;
    for (const Piece& piece : chunk.pieces) {
      std::fill_n(weights_.data() + piece.begin, piece.size, 0.0f);
    }
  }
  if (ema_decay > 0) MakeAverages(ema_decay);
}

bool DenseParameters::Owns(int optimizer, const ParameterView& view) const {
  const DenseOptimizer& one = optimizers_[optimizer];
  return one.owns_all ||
         std::binary_search(one.parameters.begin(), one.parameters.end(), view.name);
}

void DenseParameters::MakeAverages(double decay) {
  std::vector<std::vector<int>> owners;
  for (const ParameterView& view : program_->parameters()) {
    owners.emplace_back();
    for (int o = 0; o < static_cast<int>(optimizers_.size()); ++o) {
      if (Owns(o, view)) owners.back().push_back(o);
    }
  }
  averages_ = std::make_unique<WeightAverages>(decay, program_, std::move(owners),
                                               absl::MakeSpan(weights_.data(), size_));
}

std::vector<const ParameterView*> DenseParameters::ViewsOf(int optimizer) const {
  std::vector<const ParameterView*> views;
  for (const ParameterView& view : program_->parameters()) {
    if (Owns(optimizer, view)) views.push_back(&view);
  }
  std::sort(views.begin(), views.end(),
            [](const ParameterView* a, const ParameterView* b) { return a->offset < b->offset; });
  return views;
}

std::vector<DenseParameters::Piece> DenseParameters::PiecesOf(int optimizer) const {
  if (optimizers_[optimizer].owns_all) return {{0, size_}};
  std::vector<Piece> pieces;
  for (const ParameterView* view : ViewsOf(optimizer)) AppendRows(*view, &pieces);
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  return Joined(pieces);
}

void DenseParameters::AddChunk(int optimizer, std::vector<Piece> pieces) {
  Chunk chunk = {optimizer, element_end_, 0, state_end_, {}};
  for (const Piece& piece : pieces) chunk.size += piece.size;
  if (chunk.size == 0) return;
  pieces_.push_back(std::move(pieces));
  chunk.pieces = pieces_.back();
  element_end_ += chunk.size;
  state_end_ += chunk.size * optimizers_[optimizer].rule->dense_state_arrays();
  chunks_.push_back(chunk);
}

bool DenseParameters::FindOverlap() const {
  std::vector<Piece> pieces;
  for (const Chunk& chunk : chunks_) {
    pieces.insert(pieces.end(), chunk.pieces.begin(), chunk.pieces.end());
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < pieces.size(); ++i) {
    if (pieces[i - 1].begin + pieces[i - 1].size > pieces[i].begin) return true;
  }
  return false;
}

void DenseParameters::CutIntoChunks(int optimizer) {
  if (optimizers_[optimizer].rule->is_element_wise()) {
    std::vector<Piece> pieces;
    int64_t size = 0;
    for (Piece piece : PiecesOf(optimizer)) {
      while (piece.size > 0) {
        const int64_t n = std::min(piece.size, kChunk - size);
        pieces.push_back({piece.begin, n});
        piece = {piece.begin + n, piece.size - n};
        size += n;
        if (size < kChunk) continue;
        AddChunk(optimizer, std::exchange(pieces, {}));
        size = 0;
      }
    }
    AddChunk(optimizer, std::move(pieces));
  } else {
    for (const ParameterView* view : ViewsOf(optimizer)) {
      std::vector<Piece> rows;
      AppendRows(*view, &rows);
      AddChunk(optimizer, Joined(rows));
    }
  }
  element_begin_.push_back(element_end_);
  first_chunk_.push_back(static_cast<int>(chunks_.size()));
}

void DenseParameters::Apply(const RuleStep& step, const Chunk& chunk, const float* gradient,
                            Array<float>* scratch) {
  const Rule& rule = *optimizers_[chunk.optimizer].rule;
  float* state = states_.data() + chunk.state_begin;
  if (chunk.pieces.size() == 1) {
    rule.Apply(step, weights_.data() + chunk.pieces[0].begin, state, gradient, chunk.size);
    return;
  }
  scratch->Resize(chunk.size);
  float* to = scratch->data();
  for (const Piece& piece : chunk.pieces) {
    to = std::copy_n(weights_.data() + piece.begin, piece.size, to);
  }
  rule.Apply(step, scratch->data(), state, gradient, chunk.size);
  const float* from = scratch->data();
  for (const Piece& piece : chunk.pieces) {
    std::copy_n(from, piece.size, weights_.data() + piece.begin);
    from += piece.size;
  }
}

float* DenseParameters::Element(const Named& tensor, int64_t i) {
  if (tensor.kind == Named::kWeights) return &weights_[i];
  if (tensor.kind == Named::kAverage) return averages_->data() + i;
  // Pieces ascend within a chunk, and so do chunks by their first piece; whole tensors may lie
  // between one another's rows, so a tensor is found by where it begins.
  const int64_t first =
      optimizers_[tensor.optimizer].rule->is_element_wise() ? i : tensor.view->offset;
  const auto begin = chunks_.begin() + first_chunk_[tensor.optimizer];
  const auto end = chunks_.begin() + first_chunk_[tensor.optimizer + 1];
  const auto chunk =
      std::upper_bound(begin, end, first,
                       [](int64_t at, const Chunk& c) { return at < c.pieces.front().begin; }) -
      1;
  int64_t place = 0;
  for (const Piece& piece : chunk->pieces) {
    if (i < piece.begin + piece.size) {
      return states_.data() + chunk->state_begin + tensor.state * chunk->size + place + i -
             piece.begin;
    }
    place += piece.size;
  }
  LOG(FATAL) << "element " << i << " of " << tensor.name << " has no state";
}

std::vector<DenseParameters::Named> DenseParameters::Names() const {
  std::vector<Named> names;
  for (const ParameterView& view : program_->parameters()) {
    names.push_back({&view, Named::kWeights, 0, 0, view.name});
    if (averages_ != nullptr && averages_->Has(view)) {
      names.push_back({&view, Named::kAverage, 0, 0, absl::StrCat(view.name, kAverageSuffix)});
    }
    for (int o = 0; o < static_cast<int>(optimizers_.size()); ++o) {
      if (!Owns(o, view)) continue;
      const DenseOptimizer& optimizer = optimizers_[o];
      for (int state = 0; state < optimizer.rule->dense_state_arrays(); ++state) {
        names.push_back(
            {&view, Named::kState, o, state, StateName(view.name, optimizer.label, state)});
      }
    }
  }
  return names;
}

std::vector<Tensor> DenseParameters::Tensors() const {
  auto* self = const_cast<DenseParameters*>(this);  // Element is for both directions.
  std::vector<Tensor> tensors;
  std::vector<float> packed;
  for (const Named& one : Names()) {
    const ParameterView& view = *one.view;
    packed.clear();
    for (int r = 0; r < view.rows; ++r) {
      for (int c = 0; c < view.columns; ++c) {
        packed.push_back(*self->Element(one, view.offset + r * view.stride + c));
      }
    }
    tensors.push_back(Tensor::F32(one.name, ShapeOf(view), packed.data()));
  }
  return tensors;
}

absl::Status DenseParameters::Load(const std::vector<Tensor>& tensors, bool require_states) {
  std::map<std::string, const Tensor*> by_name;
  for (const Tensor& tensor : tensors) {
    if (!by_name.emplace(tensor.name, &tensor).second) {
      return DataError(absl::StrCat("dense tensor ", tensor.name, " stands there twice"));
    }
  }
  std::vector<std::pair<Named, const Tensor*>> found;
  for (Named& one : Names()) {
    const auto it = by_name.find(one.name);
    if (it == by_name.end()) {
      if (!require_states) continue;
      return DataError(absl::StrCat("dense tensor ", one.name, " is missing; it was written by ",
                                    "another model, configuration or optimizer"));
    }
    RETURN_IF_ERROR(CheckTensor(*one.view, *it->second));
    found.emplace_back(std::move(one), it->second);
    by_name.erase(it);
  }
  if (!by_name.empty()) {
    return UsageError(absl::StrCat(
        "dense tensor ", by_name.begin()->first, " is not in this model, whose parameters are ",
        absl::StrJoin(program_->parameters(), ", ",
                      [](std::string* out, const ParameterView& v) { out->append(v.name); })));
  }
  // Nothing changes unless everything fits. Weights come before their average, which starts at them
  // where none is given.
  for (const auto& [one, tensor] : found) {
    Store(one, *tensor);
    if (one.kind == Named::kWeights && averages_ != nullptr) {
      Store({one.view, Named::kAverage, 0, 0, ""}, *tensor);
    }
  }
  return absl::OkStatus();
}

void DenseParameters::Store(const Named& to, const Tensor& tensor) {
  const ParameterView& view = *to.view;
  const char* from = tensor.bytes.data();
  for (int r = 0; r < view.rows; ++r) {
    for (int c = 0; c < view.columns; ++c, from += sizeof(float)) {
      std::memcpy(Element(to, view.offset + r * view.stride + c), from, sizeof(float));
    }
  }
}

DenseGradients::DenseGradients(int64_t size, int lane_count, int threads)
    : size_(size), lane_count_(lane_count) {
  CHECK(lane_count > 0 && (lane_count & (lane_count - 1)) == 0)
      << "a worker owns a power of two of lanes, not " << lane_count;
  while (wave_lanes_ < lane_count && wave_lanes_ * kUsualSlices < threads * kSlicesPerThread) {
    wave_lanes_ *= 2;
  }
  buffers_.resize(static_cast<size_t>(wave_lanes_) * DenseParameters::kMaxSlices);
  for (int waves = wave_count(); waves > 1; waves /= 2) subtrees_.emplace_back(size);
}

void DenseGradients::MakeBuffer(int lane, int slice) {
  CHECK_LT(slice, DenseParameters::kMaxSlices);
  buffers_[lane * DenseParameters::kMaxSlices + slice].Resize(size_);
}

const float* DenseGradients::SumLane(int lane, int slices, int64_t begin, int64_t n, float* slots) {
  if (slices == 0) return kZeros;
  PointerTree tree(slots, n);
  for (int s = 0; s < slices; ++s) tree.Push(s, Buffer(lane, s) + begin);
  return tree.Finish();
}

const float* DenseGradients::SumWave(int wave, absl::Span<const int> slices, int64_t begin,
                                     int64_t n, Scratch* scratch) {
  constexpr int64_t kChunk = DenseParameters::kChunk;
  // Lane sums need slots of their own: the wave's tree reads them until it merges them.
  const size_t lane_slots = size_t{TreeOrder::kMaxDepth} * kChunk;
  scratch->slots.Resize(lane_slots + slices.size() * 5 * kChunk);
  float* slots = scratch->slots.data();
  PointerTree tree(slots, n);
  for (size_t lane = 0; lane < slices.size(); ++lane) {
    // A tree of kMaxSlices leaves holds at most five slots.
    float* own = slots + lane_slots + lane * 5 * kChunk;
    tree.Push(static_cast<uint32_t>(lane),
              SumLane(static_cast<int>(lane), slices[lane], begin, n, own));
  }
  const float* sum = tree.Finish();
  // As in binary counting: wave 0b0111 completes the subtrees of 1, 2 and 4 waves that wait.
  int level = 0;
  for (; wave >> level & 1; ++level) {
    float* left = subtrees_[level].data() + begin;
    for (int64_t i = 0; i < n; ++i) left[i] += sum[i];
    sum = left;
  }
  if (wave + 1 < wave_count()) std::copy_n(sum, n, subtrees_[level].data() + begin);
  return sum;
}

}  // namespace pagoda
