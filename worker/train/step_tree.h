// The order of additions along the perfect binary tree over leaves 0, 1, 2, ...:
// ((0 + 1) + (2 + 3)) + ..., where absent leaves are skipped (design.md, section 7).
//
// The values stand in slots of the caller; this class only says which slot a leaf goes to and when
// two neighbours are added. It holds at most one open subtree a level, hence kMaxDepth slots.
//
// **Needs external lock** (a value).
#ifndef PAGODA_WORKER_TRAIN_STEP_TREE_H_
#define PAGODA_WORKER_TRAIN_STEP_TREE_H_

#include <bit>
#include <cstdint>

namespace pagoda {

class TreeOrder {
 public:
  static constexpr int kMaxDepth = 33;  // Leaves are 32-bit numbers.

  // The slot into which to put `leaf`; leaves come in ascending order, each once. Before that,
  // merge(k) is called for each complete subtree: slot k <- slot k + slot k + 1.
  template <typename Merge>
  int Push(uint32_t leaf, Merge&& merge) {
    if (depth_ > 0) {
      // The level of the first common ancestor with the leaf before.
      const int level = std::bit_width(last_ ^ leaf);
      while (depth_ > 1 && level_[depth_ - 1] < level) {
        --depth_;
        merge(depth_ - 1);
      }
      level_[depth_] = level;
    }
    last_ = leaf;
    return depth_++;
  }

  // Merges what is left: the sum of all leaves is in slot 0, if there was one.
  template <typename Merge>
  void Finish(Merge&& merge) {
    while (depth_ > 1) {
      --depth_;
      merge(depth_ - 1);
    }
  }

 private:
  int depth_ = 0;  // Slots in use.
  uint32_t last_ = 0;
  int level_[kMaxDepth];  // Where slot k's subtree meets that of slot k - 1.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_TREE_H_
