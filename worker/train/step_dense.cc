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

std::string StateName(const std::string& name, int state) {
  return state < 0 ? name : absl::StrCat(name, ".state", state);
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
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

DenseParameters::DenseParameters(const Program* program, std::unique_ptr<Rule> rule, uint64_t seed)
    : program_(program),
      rule_(std::move(rule)),
      size_(program->parameter_count()),
      state_count_(rule_->state_per_weight()),
      weights_(size_),
      states_(size_ * state_count_) {
  program->InitParameters(seed, weights_.data());
  if (rule_->StartsAtZero()) std::fill_n(weights_.data(), size_, 0.0f);
  for (int chunk = 0; chunk < chunk_count(); ++chunk) {
    if (state_count_ > 0) rule_->InitState(StateOf(chunk, 0), chunk_size(chunk));
  }
}

void DenseParameters::ApplyChunk(const RuleStep& step, int chunk, const float* gradient) {
  float* state = state_count_ > 0 ? StateOf(chunk, 0) : nullptr;
  rule_->Apply(step, weights_.data() + chunk_begin(chunk), state, gradient, chunk_size(chunk));
}

float* DenseParameters::Element(int state, int64_t i) {
  if (state < 0) return &weights_[i];
  const int chunk = static_cast<int>(i / kChunk);
  return StateOf(chunk, state) + (i - chunk_begin(chunk));
}

std::vector<Tensor> DenseParameters::Tensors() const {
  auto* self = const_cast<DenseParameters*>(this);  // Element is for both directions.
  std::vector<Tensor> tensors;
  std::vector<float> packed;
  for (const ParameterView& view : program_->parameters()) {
    for (int state = -1; state < state_count_; ++state) {
      packed.clear();
      for (int r = 0; r < view.rows; ++r) {
        for (int c = 0; c < view.columns; ++c) {
          packed.push_back(*self->Element(state, view.offset + r * view.stride + c));
        }
      }
      tensors.push_back(Tensor::F32(StateName(view.name, state), ShapeOf(view), packed.data()));
    }
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
  struct Found {
    const ParameterView* view;
    int state;
    const Tensor* tensor;
  };
  std::vector<Found> found;
  for (const ParameterView& view : program_->parameters()) {
    for (int state = -1; state < state_count_; ++state) {
      const std::string name = StateName(view.name, state);
      const auto it = by_name.find(name);
      if (it == by_name.end()) {
        if (!require_states) continue;
        return DataError(absl::StrCat("dense tensor ", name, " is missing; it was written by ",
                                      "another model, configuration or optimizer"));
      }
      RETURN_IF_ERROR(CheckTensor(view, *it->second));
      found.push_back({&view, state, it->second});
      by_name.erase(it);
    }
  }
  if (!by_name.empty()) {
    return UsageError(absl::StrCat(
        "dense tensor ", by_name.begin()->first, " is not in this model, whose parameters are ",
        absl::StrJoin(program_->parameters(), ", ",
                      [](std::string* out, const ParameterView& v) { out->append(v.name); })));
  }
  // Nothing changes unless everything fits.
  for (const Found& f : found) {
    const char* from = f.tensor->bytes.data();
    for (int r = 0; r < f.view->rows; ++r) {
      for (int c = 0; c < f.view->columns; ++c, from += sizeof(float)) {
        std::memcpy(Element(f.state, f.view->offset + r * f.view->stride + c), from, sizeof(float));
      }
    }
  }
  return absl::OkStatus();
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
