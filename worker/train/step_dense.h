// The dense parameters of a worker: weights, optimizer states, and the sums of their gradients.
//
// Each optimizer owns some of the parameters and has states for those alone; two may own the same
// one (tasks that alternate). What an optimizer owns is a list of pieces of the flat array: a whole
// layer is one, a layer whose columns were put beside its siblings' is one a row. Its elements are
// cut into chunks of kChunk floats: one chunk's partial sums, weights and states stay in a core's
// first caches while a thread adds the slices' gradients and applies the rule in one pass. A rule
// that works element by element gets the same bits from any cut; another one (LAMB) gets whole
// tensors. An optimizer that owns everything owns the gaps between parameters too, whose gradients
// are zeros: then a chunk is one piece.
//
// A worker with many lanes computes them in waves, so that the gradient buffers of a wave (one a
// slice) bound the memory; waves are aligned subtrees of lanes and are added as such.
//
// Letters: P parameters (gaps included), K state arrays of a tensor, E elements owned, summed over
// optimizers.
//
// **Needs external lock**, but for the chunk functions: Thread-safe for different chunks.
#ifndef PAGODA_WORKER_TRAIN_STEP_DENSE_H_
#define PAGODA_WORKER_TRAIN_STEP_DENSE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/checkpoint/safetensors.h"
#include "common/optim/clip.h"
#include "common/optim/rule.h"
#include "worker/graph/program.h"
#include "worker/train/step_array.h"
#include "worker/train/step_average.h"
#include "worker/train/step_threads.h"
#include "worker/train/step_tree.h"

namespace pagoda {

struct DenseOptimizer {
  std::string label;  // States are called NAME.LABEL.stateN; empty: NAME.stateN.
  std::unique_ptr<Rule> rule;
  int pass = 0;       // Whose gradients it applies.
  ClipLimits limits;  // Of the step's whole gradient.
  bool owns_all = true;
  std::vector<std::string> parameters;  // Those owned, in name order, unless all are.
};

class DenseParameters {
 public:
  // 8 KiB: a chunk's slots, weights and Adam's two states are 40 KiB, half of them in L1.
  static constexpr int64_t kChunk = 2048;
  static constexpr int kMaxSlices = 16;  // Of a lane; SliceCount gives about 4.

  // Initial values by (seed, name). `program` must outlive this. ema_decay 0: no averages.
  DenseParameters(const Program* program, std::vector<DenseOptimizer> optimizers, uint64_t seed,
                  double ema_decay = 0);

  const float* data() const { return weights_.data(); }  // [P]
  // For what no optimizer moves: running statistics.
  float* mutable_data() { return weights_.data(); }
  // What predictions are made with: averages where there are any; [P].
  const float* Serving() { return averages_ == nullptr ? data() : averages_->Serving(data()); }
  // Ends a step, after all rules: steps [optimizer], its count with this step, 0 if it stood.
  void Average(absl::Span<const int64_t> steps, ComputeThreads* threads) {
    if (averages_ != nullptr) averages_->Step(steps, data(), threads);
  }
  int64_t size() const { return size_; }

  // Elements [begin, begin + size) of the flat array.
  struct Piece {
    int64_t begin;
    int64_t size;
  };
  struct Chunk {
    int optimizer;
    int64_t begin;  // Of its elements among the E; chunks go by (optimizer, place in the array).
    int64_t size;
    int64_t state_begin;  // In the states.
    absl::Span<const Piece> pieces;
  };
  absl::Span<const Chunk> chunks() const { return chunks_; }
  // The elements of optimizer o are [element_begin(o), element_begin(o + 1)) of the E.
  int64_t element_begin(int optimizer) const { return element_begin_[optimizer]; }
  int64_t element_count() const { return element_begin_.back(); }

  const DenseOptimizer& optimizer(int index) const { return optimizers_[index]; }
  // True if an element belongs to two optimizers: then they are applied one after the other.
  bool optimizers_overlap() const { return optimizers_overlap_; }

  // Applies its optimizer's rule to one chunk along `gradient` [chunk.size]; scratch is a thread's
  // own. Thread-safe for different chunks of one optimizer, and of several that do not overlap.
  void Apply(const RuleStep& step, const Chunk& chunk, const float* gradient,
             Array<float>* scratch);

  // See step.h.
  std::vector<Tensor> Tensors() const;
  absl::Status Load(const std::vector<Tensor>& tensors, bool require_states);

 private:
  // A tensor of Tensors(): a parameter, its average, or one of its states.
  struct Named {
    enum Kind { kWeights, kAverage, kState };
    const ParameterView* view;
    Kind kind;
    int optimizer;  // kState: whose ...
    int state;      // ... and which.
    std::string name;
  };
  bool Owns(int optimizer, const ParameterView& view) const;
  void MakeAverages(double decay);
  std::vector<Named> Names() const;
  void CutIntoChunks(int optimizer);
  // What an optimizer owns, in the order of the array.
  std::vector<const ParameterView*> ViewsOf(int optimizer) const;
  std::vector<Piece> PiecesOf(int optimizer) const;
  void AddChunk(int optimizer, std::vector<Piece> pieces);
  bool FindOverlap() const;
  // Where flat element i of a tensor stands.
  float* Element(const Named& tensor, int64_t i);
  void Store(const Named& to, const Tensor& tensor);

  const Program* const program_;
  const std::vector<DenseOptimizer> optimizers_;
  const int64_t size_;
  std::deque<std::vector<Piece>> pieces_;  // [chunk]: what chunks view.
  std::vector<Chunk> chunks_;
  std::vector<int> first_chunk_;        // [optimizer + 1]
  std::vector<int64_t> element_begin_;  // [optimizer + 1]
  bool optimizers_overlap_ = false;
  Array<float> weights_;                      // [P]
  std::unique_ptr<WeightAverages> averages_;  // Null: none are wanted.
  // What chunks have taken so far, while they are cut.
  int64_t element_end_ = 0;
  int64_t state_end_ = 0;
  // [chunk][K][chunk.size]: the rule wants a chunk's states side by side.
  Array<float> states_;
};

// Sums of gradient buffers: slices of a lane, then lanes, along the tree.
class DenseGradients {
 public:
  // `size` floats a buffer; lane_count is a power of two.
  DenseGradients(int64_t size, int lane_count, int threads);

  int wave_lanes() const { return wave_lanes_; }  // Lanes of a wave, a power of two.
  int wave_count() const { return lane_count_ / wave_lanes_; }

  // Makes the buffer [P] of slice `slice` of the wave's lane `lane`, at its first use.
  void MakeBuffer(int lane, int slice);
  float* Buffer(int lane, int slice) {
    return buffers_[lane * DenseParameters::kMaxSlices + slice].data();
  }

  // One thread's temporary sums.
  struct Scratch {
    Array<float> slots;  // [TreeOrder::kMaxDepth, kChunk]
  };
  // Adds elements [begin, begin + n), n <= kChunk, of a whole wave: slices[lane] buffers a lane (0:
  // an empty lane, a zero) and, where this wave completes a larger subtree, the waves before it.
  // After the last wave the result is the sum of all lanes; it stands in `scratch` or a buffer
  // until the next call with either.
  const float* SumWave(int wave, absl::Span<const int> slices, int64_t begin, int64_t n,
                       Scratch* scratch);

 private:
  const float* SumLane(int lane, int slices, int64_t begin, int64_t n, float* slots);

  const int64_t size_;
  const int lane_count_;
  int wave_lanes_ = 1;
  std::vector<Array<float>> buffers_;   // [lane * kMaxSlices + slice][P]
  std::vector<Array<float>> subtrees_;  // [level][P]: the sum of 2^level waves that wait for more.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_DENSE_H_
