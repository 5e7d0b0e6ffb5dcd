#include "common/sparse_sum.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>

#include "absl/container/inlined_vector.h"
#include "common/hash.h"

namespace pagoda {
namespace {

// The head of an exhausted leaf. A real id may mix to it too: Take looks at the position, not at
// the head.
constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();

// All leaves are merged in one pass over their values. The tree of the sum is also the tournament
// that finds the next id: head_[node] is the smallest mixed id below the node, so the leaves that
// hold the smallest id are exactly those reached by following equal heads, and their vectors meet
// at the nodes of the tree.
class TreeMerger {
 public:
  TreeMerger(absl::Span<const SparseView> leaves, int dim) : leaves_(leaves), dim_(dim) {
    while (width_ < leaves.size()) {
      width_ *= 2;
      ++depth_;
    }
    head_.resize(2 * width_, kEnd);
    position_.resize(leaves.size(), 0);
    partial_.resize(static_cast<size_t>(depth_ + 1) * dim);
    for (size_t leaf = 0; leaf < leaves.size(); ++leaf) head_[width_ + leaf] = HeadOf(leaf);
    for (size_t node = width_ - 1; node >= 1; --node) {
      head_[node] = std::min(head_[2 * node], head_[2 * node + 1]);
    }
  }

  // The mixed id that Take will sum; kEnd when there may be none left.
  uint64_t head() const { return head_[1]; }
  // The sum [dim] of the vectors of `mixed`, or nullptr when no leaf holds it. Valid until the next
  // call.
  const float* Take(uint64_t mixed) { return Take(1, mixed, 0); }

 private:
  uint64_t HeadOf(size_t leaf) const {
    const SparseView& view = leaves_[leaf];
    return position_[leaf] < view.ids.size() ? MixId(view.ids[position_[leaf]]) : kEnd;
  }

  const float* TakeLeaf(size_t node) {
    const size_t leaf = node - width_;
    if (leaf >= leaves_.size() || position_[leaf] >= leaves_[leaf].ids.size()) return nullptr;
    const float* values = leaves_[leaf].values.data() + position_[leaf] * dim_;
    ++position_[leaf];
    head_[node] = HeadOf(leaf);
    return values;
  }

  const float* Take(size_t node, uint64_t mixed, int level) {
    if (node >= width_) return TakeLeaf(node);
    const size_t left = 2 * node, right = left + 1;
    const float* a = head_[left] == mixed ? Take(left, mixed, level + 1) : nullptr;
    // The left sum, if it is one, stands in partial_[level + 1]; a right sum would overwrite it.
    float* out = partial_.data() + static_cast<size_t>(level) * dim_;
    if (a != nullptr && head_[right] == mixed && right < width_) {
      std::copy_n(a, dim_, out);
      a = out;
    }
    const float* b = head_[right] == mixed ? Take(right, mixed, level + 1) : nullptr;
    head_[node] = std::min(head_[left], head_[right]);
    if (a == nullptr) return b;
    if (b == nullptr) return a;
    for (size_t d = 0; d < dim_; ++d) out[d] = a[d] + b[d];
    return out;
  }

  const absl::Span<const SparseView> leaves_;
  const size_t dim_;
  size_t width_ = 1;  // Leaves of the perfect tree: a power of two; node 1 is the root.
  int depth_ = 0;
  // Inline sizes: 64 lanes of dim 64 without an allocation.
  absl::InlinedVector<uint64_t, 128> head_;     // [2 * width]
  absl::InlinedVector<size_t, 64> position_;    // [leaves]
  absl::InlinedVector<float, 7 * 64> partial_;  // [depth + 1, dim]
};

}  // namespace

void SumTree(absl::Span<const SparseView> leaves, int dim, SparseGradient* sum) {
  CHECK_GT(dim, 0);
  size_t total = 0;
  for (const SparseView& leaf : leaves) {
    CHECK_EQ(leaf.values.size(), leaf.ids.size() * dim);
    total += leaf.ids.size();
  }
  if (leaves.size() == 1) {
    sum->ids.assign(leaves[0].ids.begin(), leaves[0].ids.end());
    sum->values.assign(leaves[0].values.begin(), leaves[0].values.end());
    return;
  }
  sum->ids.clear();
  sum->values.clear();
  if (total == 0) return;
  sum->ids.reserve(total);
  sum->values.reserve(total * dim);
  TreeMerger merger(leaves, dim);
  for (;;) {
    const uint64_t mixed = merger.head();
    const float* values = merger.Take(mixed);
    if (values == nullptr) return;  // mixed == kEnd, and no leaf holds that id.
    sum->ids.push_back(UnmixId(mixed));
    sum->values.insert(sum->values.end(), values, values + dim);
    if (mixed == kEnd) return;
  }
}

}  // namespace pagoda
