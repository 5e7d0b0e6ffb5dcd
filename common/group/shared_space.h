// Memory that all ranks of a group see, when they run on one host, and a barrier on it: what
// AllReduceTree works in there, without messages.
//
// A rank counts its barriers in a word of its own and sleeps on a common one that the last to
// arrive changes; so whoever is missing can be named. Nobody trusts a count to be more than that:
// no size or place is read from the memory.
//
// **Confined to the group's thread.**
#ifndef PAGODA_COMMON_GROUP_SHARED_SPACE_H_
#define PAGODA_COMMON_GROUP_SHARED_SPACE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/io/shared_memory.h"

namespace pagoda {

class Group;

class SharedSpace {
 public:
  static constexpr size_t kNoteBytes = 8192;
  static constexpr size_t kPartBytes = size_t{4} << 20;
  static constexpr int kMaxRanks = 256;

  // All ranks of the group must call it. Null at all of them when one cannot reach the memory that
  // rank 0 made (it is on another host) or there are too many; rank 0 then logs why.
  static absl::StatusOr<std::unique_ptr<SharedSpace>> Open(Group& group);

  // What `rank` writes for all, up to kNoteBytes or kPartBytes: read between a barrier and the
  // next. There are two sets of notes, so that whoever alternates needs no second barrier: who
  // writes set i again has seen all others write the other one, and so be done with this.
  std::byte* note(int set, int rank) const {
    return notes_ + (size_t(set) * ranks_ + rank) * kNoteBytes;
  }
  std::byte* part(int rank) const { return parts_ + size_t(rank) * kPartBytes; }
  // Written by all ranks, each its own piece, before a barrier, and read after it.
  std::byte* sum() const { return parts_ + size_t(ranks_) * kPartBytes; }
  // 0, 1, 0, ...
  int NextSet() { return set_ ^= 1; }

  // Called every kLookEveryMs of a wait with those who have not arrived; its error ends the wait.
  using Look = absl::FunctionRef<absl::Status(absl::FunctionRef<std::set<int>()> missing)>;
  static constexpr int64_t kLookEveryMs = 20;
  // Returns when all ranks have come here as often as this one. What they wrote before is seen.
  absl::Status Barrier(Look look);

 private:
  struct alignas(64) Count {
    std::atomic<uint32_t> value;
  };
  struct Shared {
    Count arrived[kMaxRanks];  // Barriers that each rank has come to, modulo 2^32.
    Count bell;                // Changed when the last one came.
    Count sleepers;
  };

  SharedSpace(std::unique_ptr<SharedMemory> memory, int rank, int ranks);
  static size_t Bytes(int ranks) {
    return kHeadBytes + 2 * ranks * kNoteBytes + (size_t(ranks) + 1) * kPartBytes;
  }
  bool HasArrived(int rank) const {
    return static_cast<int32_t>(shared_->arrived[rank].value.load() - barriers_) >= 0;
  }
  bool AllArrived() const;
  std::set<int> Missing() const;

  static constexpr size_t kHeadBytes = size_t{64} << 10;
  static_assert(sizeof(Shared) <= kHeadBytes);

  const std::unique_ptr<SharedMemory> memory_;
  Shared* const shared_;
  std::byte* const notes_;  // [2, ranks, kNoteBytes]
  std::byte* const parts_;  // [ranks + 1, kPartBytes]
  const int rank_;
  const int ranks_;
  const bool polls_;  // There is a core for each rank: a wait may keep its own for a while.
  uint32_t barriers_ = 0;
  int set_ = 0;
};

}  // namespace pagoda

#endif  // PAGODA_COMMON_GROUP_SHARED_SPACE_H_
