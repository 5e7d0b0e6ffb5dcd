#include "ps/table/slot_index.h"

#include <utility>

#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {

SlotIndex::SlotIndex(PartitionRange partitions)
    : base_(uint64_t(partitions.first) << (64 - kPartitionBits)),
      partitions_(partitions.end - partitions.first) {
  CHECK(0 <= partitions.first && partitions.first < partitions.end &&
        partitions.end <= kPartitions);
  const auto nothing = Replace(kFirstCapacity);
  CHECK(nothing.ok()) << nothing.status();
}

absl::StatusOr<Mapping> SlotIndex::Replace(size_t capacity) {
  const size_t bytes = capacity * sizeof(Slot);
  const size_t small_bytes = bytes < (size_t{2} << 20) ? bytes : 0;
  ASSIGN_OR_RETURN(Mapping fresh, Mapping::Make(bytes, small_bytes));
  std::swap(memory_, fresh);
  slots_ = reinterpret_cast<Slot*>(memory_.data());
  capacity_ = capacity;
  mask_ = capacity - 1;
  multiplier_ = (uint64_t{capacity} << kPartitionBits) / partitions_;  // Down: home < capacity.
  return fresh;
}

Slot* SlotIndex::Insert(uint64_t id) {
  size_t at = Home(id);
  while (slots_[at].flags & Slot::kUsed) at = (at + 1) & mask_;
  slots_[at] = {id, 0, 0, Slot::kUsed};
  ++size_;
  return &slots_[at];
}

void SlotIndex::Erase(uint64_t id) {
  Slot* slot = Find(id);
  CHECK(slot != nullptr) << "id " << id << " has no slot";
  size_t gap = static_cast<size_t>(slot - slots_);
  for (size_t at = (gap + 1) & mask_; slots_[at].flags & Slot::kUsed; at = (at + 1) & mask_) {
    // It may move into the gap unless its home lies behind the gap (cyclically).
    const size_t home = Home(slots_[at].id);
    if (((at - home) & mask_) >= ((at - gap) & mask_)) {
      slots_[gap] = slots_[at];
      gap = at;
    }
  }
  slots_[gap] = {};
  --size_;
}

absl::Status SlotIndex::Grow() {
  const Slot* const old = slots_;
  const size_t old_capacity = capacity_;
  ASSIGN_OR_RETURN(const Mapping old_memory, Replace(2 * old_capacity));
  for (size_t from = 0; from < old_capacity; ++from) {
    if (!(old[from].flags & Slot::kUsed)) continue;
    size_t at = Home(old[from].id);
    while (slots_[at].flags & Slot::kUsed) at = (at + 1) & mask_;
    slots_[at] = old[from];
  }
  return absl::OkStatus();
}

}  // namespace pagoda
