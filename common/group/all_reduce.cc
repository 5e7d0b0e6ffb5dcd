// AllReduceTree. Letters: W ranks, n elements, c a rank's chunk of them.
//
// Long vectors: rank r gets every rank's elements [rn/W, (r+1)n/W), adds them, and gives the sums
// to all; each element is added along the same tree as if rank 0 had added all of them. Short ones:
// every rank gets all of every rank's and adds them itself, which saves one of two waits.
#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "common/errors.h"
#include "common/group/group.h"
#include "common/group/tags.h"

namespace pagoda {
namespace {

// Up to here the second wait costs more than the additions and bytes that it saves.
constexpr size_t kWholeBytes = 4096;

// Elements that all ranks' parts are added by before the next ones: W blocks of 4 KiB stay in L1 or
// L2.
constexpr size_t kBlockBytes = 4096;

}  // namespace

class TreeReduction {
 public:
  explicit TreeReduction(Group& group) : group_(group), rank_(group.rank()), ranks_(group.size()) {}

  template <typename T>
  absl::Status Run(absl::Span<T> x) {
    if (ranks_ == 1) return absl::OkStatus();
    if (x.size() * sizeof(T) <= kWholeBytes) return RunWhole(x);
    const absl::Span<T> mine = Chunk(x, rank_);
    // parts [W, c]; our own in its place, so that the tree sees all leaves.
    T* parts = Parts<T>(mine.size());
    std::copy(mine.begin(), mine.end(), parts + rank_ * mine.size());
    Clear();
    for (int other = 0; other < ranks_; ++other) {
      if (other == rank_) continue;
      group_.out_.push_back({other, Bytes(Chunk(x, other))});
      group_.in_.push_back(
          {other, Bytes(absl::MakeSpan(parts + other * mine.size(), mine.size()))});
    }
    RETURN_IF_ERROR(group_.Exchange(kReduceTag, group_.out_, group_.in_));
    AddTree(parts, mine);
    Clear();
    for (int other = 0; other < ranks_; ++other) {
      if (other == rank_) continue;
      group_.out_.push_back({other, Bytes(mine)});
      group_.in_.push_back({other, Bytes(Chunk(x, other))});
    }
    return group_.Exchange(kShareTag, group_.out_, group_.in_);
  }

 private:
  template <typename T>
  absl::Status RunWhole(absl::Span<T> x) {
    T* parts = Parts<T>(x.size());  // [W, n]
    std::copy(x.begin(), x.end(), parts + rank_ * x.size());
    Clear();
    for (int other = 0; other < ranks_; ++other) {
      if (other == rank_) continue;
      group_.out_.push_back({other, Bytes(x)});
      group_.in_.push_back({other, Bytes(absl::MakeSpan(parts + other * x.size(), x.size()))});
    }
    RETURN_IF_ERROR(group_.Exchange(kReduceTag, group_.out_, group_.in_));
    AddTree(parts, x);
    return absl::OkStatus();
  }

  // sum [c] <- parts [W, c] added along the tree; parts are used up.
  template <typename T>
  void AddTree(T* parts, absl::Span<T> sum) {
    const size_t c = sum.size();
    constexpr size_t kBlock = kBlockBytes / sizeof(T);
    for (size_t begin = 0; begin < c; begin += kBlock) {
      const size_t end = std::min(c, begin + kBlock);
      for (int stride = 1; stride < ranks_; stride *= 2) {
        for (int left = 0; left + stride < ranks_; left += 2 * stride) {
          T* __restrict to = parts + left * c;
          const T* __restrict from = parts + (left + stride) * c;
          for (size_t i = begin; i < end; ++i) to[i] += from[i];
        }
      }
    }
    std::copy(parts, parts + c, sum.begin());
  }

  template <typename T>
  absl::Span<T> Chunk(absl::Span<T> x, int rank) const {
    const size_t begin = x.size() * rank / ranks_;
    return x.subspan(begin, x.size() * (rank + 1) / ranks_ - begin);
  }

  // Aligned as operator new aligns: enough for any T.
  template <typename T>
  T* Parts(size_t elements) {
    group_.scratch_.resize(std::max(group_.scratch_.size(), elements * ranks_ * sizeof(T)));
    return reinterpret_cast<T*>(group_.scratch_.data());
  }

  template <typename T>
  static absl::Span<std::byte> Bytes(absl::Span<T> items) {
    return {reinterpret_cast<std::byte*>(items.data()), items.size() * sizeof(T)};
  }

  void Clear() {
    group_.out_.clear();
    group_.in_.clear();
  }

  Group& group_;
  const int rank_;
  const int ranks_;
};

absl::Status AllReduceTree(Group& group, absl::Span<float> x) {
  return TreeReduction(group).Run(x);
}
absl::Status AllReduceTree(Group& group, absl::Span<double> x) {
  return TreeReduction(group).Run(x);
}

}  // namespace pagoda
