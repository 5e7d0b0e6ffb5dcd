// The dense parameters of a worker: weights, optimizer states, and the sums of their gradients.
//
// Everything is cut into chunks of kChunk floats: one chunk's partial sums, weights and states stay
// in a core's first caches while a thread adds the slices' gradients and applies the rule in one
// pass. The rule works element by element, so chunks and threads change no bits; gaps between
// parameters have gradients of zero.
//
// A worker with many lanes computes them in waves, so that the gradient buffers of a wave (one a
// slice) bound the memory; waves are aligned subtrees of lanes and are added as such.
//
// Letters: P parameters (gaps included), K states a weight.
//
// **Needs external lock**, but for the chunk functions: Thread-safe for different chunks.
#ifndef PAGODA_WORKER_TRAIN_STEP_DENSE_H_
#define PAGODA_WORKER_TRAIN_STEP_DENSE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/checkpoint/safetensors.h"
#include "common/optim/rule.h"
#include "worker/graph/program.h"
#include "worker/train/step_array.h"
#include "worker/train/step_tree.h"

namespace pagoda {

class DenseParameters {
 public:
  // 8 KiB: a chunk's slots, weights and Adam's two states are 40 KiB, half of them in L1.
  static constexpr int64_t kChunk = 2048;
  static constexpr int kMaxSlices = 16;  // Of a lane; SliceCount gives about 4.

  // Initial values by (seed, name). `program` must outlive this.
  DenseParameters(const Program* program, std::unique_ptr<Rule> rule, uint64_t seed);

  const float* data() const { return weights_.data(); }  // [P]
  int64_t size() const { return size_; }
  int chunk_count() const { return static_cast<int>((size_ + kChunk - 1) / kChunk); }
  int64_t chunk_begin(int chunk) const { return chunk * kChunk; }
  int64_t chunk_size(int chunk) const { return std::min(kChunk, size_ - chunk * kChunk); }

  // Applies the rule to one chunk along `gradient` [chunk_size].
  void ApplyChunk(const RuleStep& step, int chunk, const float* gradient);

  // See step.h.
  std::vector<Tensor> Tensors() const;
  absl::Status Load(const std::vector<Tensor>& tensors, bool require_states);

 private:
  float* StateOf(int chunk, int state) {
    return states_.data() + chunk_begin(chunk) * state_count_ + state * chunk_size(chunk);
  }
  // The place of flat element i of array `state`; -1: the weights.
  float* Element(int state, int64_t i);

  const Program* const program_;
  const std::unique_ptr<Rule> rule_;
  const int64_t size_;
  const int state_count_;  // K
  Array<float> weights_;   // [P]
  Array<float> states_;    // [chunk][K][chunk_size]: the rule wants a chunk's states side by side.
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
