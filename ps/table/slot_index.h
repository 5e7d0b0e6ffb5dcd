// The index of a table: open addressing over 16-byte slots, linear probing, ordered by mixed id.
//
// A slot's home is monotone in the mixed id over the partitions of the shard: home = (mixed - base)
// * M / 2^64. So a list of ids in MixId order walks the slab forwards, a partition is one stretch
// of it (plus the run that spilled over its end), and doubling copies from front to back. MixId
// spreads ids evenly, which is what linear probing wants.
//
// A slot without a row (kResident unset) stands for an id that is pinned and known to be absent
// from the store.
//
// **Confined to the shard's thread.**
#ifndef PAGODA_PS_TABLE_SLOT_INDEX_H_
#define PAGODA_PS_TABLE_SLOT_INDEX_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "common/hash.h"
#include "ps/table/memory.h"

namespace pagoda {

// Partitions [first, end).
struct PartitionRange {
  int first = 0;
  int end = kPartitions;
};

struct Slot {
  enum Flags : uint16_t {
    kUsed = 1,
    kResident = 2,    // `row` is its row's number.
    kDirty = 4,       // The store has no such row, or an older one.
    kReferenced = 8,  // Since the clock hand last passed.
  };
  uint64_t id;
  uint32_t row;
  uint16_t pins;
  uint16_t flags;
};
static_assert(sizeof(Slot) == 16);

class SlotIndex {
 public:
  explicit SlotIndex(PartitionRange partitions);

  size_t capacity() const { return capacity_; }
  size_t size() const { return size_; }
  uint64_t bytes() const { return capacity_ * sizeof(Slot); }
  bool full() const { return size_ >= capacity_ / 8 * 5; }  // Beyond 5/8, runs grow long.
  Slot* slots() const { return slots_; }

  size_t Home(uint64_t id) const { return HomeOfMixed(MixId(id)); }
  void Prefetch(uint64_t id) const { __builtin_prefetch(&slots_[Home(id)]); }
  // The slot of `id`, or null.
  Slot* Find(uint64_t id) const {
    for (size_t at = Home(id);; at = (at + 1) & mask_) {
      Slot& slot = slots_[at];
      if (!(slot.flags & Slot::kUsed)) return nullptr;
      if (slot.id == id) return &slot;
    }
  }
  // REQUIRES: `id` is absent, the index is not full. The new slot is used, has no row and no pins.
  Slot* Insert(uint64_t id);
  // Closes the gap behind it: slots move.
  void Erase(uint64_t id);
  // Doubles the capacity: slots move.
  absl::Status Grow();

  // Calls visit(slot) for each slot of one partition, in no particular order.
  template <typename Visit>
  void ForEach(int partition, Visit visit) const {
    if (size_ == 0) return;
    const uint64_t first = uint64_t(partition) << (64 - kPartitionBits);
    const uint64_t last = first + ((uint64_t{1} << (64 - kPartitionBits)) - 1);
    const size_t end = HomeOfMixed(last);
    bool past_end = false;
    for (size_t at = HomeOfMixed(first);; at = (at + 1) & mask_) {
      const Slot& slot = slots_[at];
      const bool used = slot.flags & Slot::kUsed;
      if (past_end && !used) return;
      if (used && PartitionOf(slot.id) == partition) visit(slot);
      past_end |= at == end;
    }
  }

 private:
  static constexpr size_t kFirstCapacity = 1024;

  // The mask matters only for an id of another shard's partitions, which callers refuse.
  size_t HomeOfMixed(uint64_t mixed) const {
    const auto product = static_cast<unsigned __int128>(mixed - base_) * multiplier_;
    return static_cast<size_t>(product >> 64) & mask_;
  }
  // An empty slab of so many slots; what was there goes to the caller.
  absl::StatusOr<Mapping> Replace(size_t capacity);

  const uint64_t base_;        // The first mixed id.
  const uint64_t partitions_;  // How many.
  uint64_t multiplier_ = 0;    // capacity * 2^10 / partitions.
  size_t capacity_ = 0;        // A power of two.
  size_t mask_ = 0;
  size_t size_ = 0;
  Mapping memory_;
  Slot* slots_ = nullptr;
};

}  // namespace pagoda

#endif  // PAGODA_PS_TABLE_SLOT_INDEX_H_
