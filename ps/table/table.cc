#include "ps/table/table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/hash.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

// Slots are prefetched 2 * kAhead ids before their row is used, rows kAhead before: enough to cover
// about 100 ns of memory latency at 20-40 ns a row (measured best between 16 and 32, design.md
// section 10).
constexpr size_t kAhead = 16;
// Rows fetched from the store at a time: bounds the buffer, keeps a MultiGet efficient.
constexpr size_t kFetchRows = 1024;
// Rows spilled at a time: 1 / kSpillShare of the resident ones, within bounds. Fewer make more and
// smaller files, all of which a fetch must ask; more leave memory unused.
constexpr uint64_t kSpillShare = 8, kSpillLeast = 256, kSpillMostBytes = uint64_t{64} << 20;

// For rows that will be written too: a shard's memory is no other core's, so that a line that was
// read can be written at once, while PREFETCHW took longer (Update with SGD on 72-byte rows: 12.0M
// rows/s with it, 18.0M without; 200-byte rows with Adam likewise).
void PrefetchRow(const std::byte* row, size_t bytes) {
  const size_t into_line = reinterpret_cast<uintptr_t>(row) % 64;
  const std::byte* const end = row + bytes;
  for (const std::byte* line = row - into_line; line < end; line += 64) __builtin_prefetch(line);
}

bool IsFinite(const float* x, size_t n) {
  // An exponent of all ones is infinity or NaN. In integers, so that the loop vectorises.
  uint32_t bad = 0;
  for (size_t i = 0; i < n; ++i) {
    bad |= (std::bit_cast<uint32_t>(x[i]) & 0x7f800000u) == 0x7f800000u;
  }
  return bad == 0;
}

RowHeader* HeaderOf(std::byte* row) { return reinterpret_cast<RowHeader*>(row); }

// One push touches a row once, however many optimizers it brings.
void Touch(std::byte* row, int64_t step) {
  RowHeader* header = HeaderOf(row);
  const uint32_t step32 = static_cast<uint32_t>(step);
  const bool same_push = header->updates > 0 && header->last_step == step32;
  if (!same_push && header->updates < std::numeric_limits<uint32_t>::max()) ++header->updates;
  header->last_step = step32;
}

bool KeyLess(uint64_t a, uint64_t b) {
  const int pa = PartitionOf(a), pb = PartitionOf(b);
  return pa != pb ? pa < pb : a < b;
}

}  // namespace

absl::Status CheckFinite(const RowLayout& layout, absl::Span<const uint64_t> ids,
                         const float* gradients) {
  const size_t dim = layout.dim();
  if (IsFinite(gradients, ids.size() * dim)) return absl::OkStatus();
  for (size_t i = 0; i < ids.size(); ++i) {
    if (IsFinite(gradients + i * dim, dim)) continue;
    return DataError(absl::StrCat("table ", layout.name(), " id ", ids[i],
                                  ": gradient is not finite; lower the learning rate, or look for "
                                  "bad values in the data"));
  }
  return absl::OkStatus();
}

struct Table::Impl {
  Impl(int index, RowLayout layout, PartitionRange partitions, MemoryBudget* budget,
       RowStore* store)
      : index(index),
        layout(std::move(layout)),
        row_bytes(this->layout.row_bytes()),
        budget(budget),
        store(store),
        slots(partitions),
        memory(row_bytes) {
    CHECK(store != nullptr || !budget->limited()) << "a budget needs a store";
    budget->used_bytes += slots.bytes();
  }
  ~Impl() { budget->used_bytes -= slots.bytes() + memory.used_bytes(); }

  // Calls visit(i, slot or null, row or null) for ids[i] in order; `touched_bytes` of a row will be
  // used. The visitor must not move slots.
  template <typename Visit>
  void Walk(absl::Span<const uint64_t> ids, size_t touched_bytes, Visit visit);

  // The rows of `ids` that the store has: calls place(i, bytes or null) in order.
  absl::Status Fetch(absl::Span<const uint64_t> ids,
                     const std::function<absl::Status(size_t i, const std::byte* row)>& place);

  // A slot for `id`, which has none. Slots move.
  absl::StatusOr<Slot*> NewSlot(uint64_t id);
  // A resident row for `id` with undefined contents, in its slot or in a new one. Slots move.
  absl::StatusOr<Slot*> NewRow(uint64_t id);
  absl::Status MakeRoom(bool for_slot, bool for_row);
  absl::Status Spill();
  std::vector<uint64_t> ChooseVictims(size_t target);

  absl::Status UpdateAbsent(absl::Span<const uint64_t> ids, absl::Span<const size_t> positions,
                            absl::Span<const RowUpdate> updates, int64_t step);
  // weights: of the rows of places [first, first + R) of the updates' gradients.
  void ApplyRows(absl::Span<float* const> weights, size_t first,
                 absl::Span<const RowUpdate> updates, int64_t step) const {
    for (const RowUpdate& update : updates) {
      const RowOptimizer& optimizer = layout.optimizers()[update.optimizer];
      const size_t state_offset = optimizer.state_offset - RowLayout::kWeightsOffset;
      optimizer.rule->ApplyRows(update.rule_step,
                                {weights, static_cast<int64_t>(state_offset / sizeof(float))},
                                update.gradients + first * layout.dim(), layout.dim());
    }
    for (float* w : weights) {
      Touch(reinterpret_cast<std::byte*>(w) - RowLayout::kWeightsOffset, step);
    }
  }
  static float* WeightsOf(std::byte* row) {
    return reinterpret_cast<float*>(row + RowLayout::kWeightsOffset);
  }

  const int index;
  const RowLayout layout;
  const size_t row_bytes;
  MemoryBudget* const budget;
  RowStore* const store;
  SlotIndex slots;
  RowMemory memory;
  uint64_t row_count = 0, resident_count = 0, spills = 0, reloads = 0;
  size_t hand = 0;  // The clock's, a position in the index.
  // Scratch of one call, kept for its capacity.
  std::vector<size_t> absent;
  std::vector<uint64_t> absent_ids;
  std::vector<std::byte> fetch_buffer;
};

template <typename Visit>
void Table::Impl::Walk(absl::Span<const uint64_t> ids, size_t touched_bytes, Visit visit) {
  struct Found {
    Slot* slot;
    std::byte* row;
  };
  constexpr size_t kRing = kAhead;  // A row is visited before its place in the ring is taken.
  Found ring[kRing];
  const size_t n = ids.size();
  for (size_t i = 0; i < n + 2 * kAhead; ++i) {
    if (i >= 2 * kAhead) {
      const Found& found = ring[i % kRing];
      visit(i - 2 * kAhead, found.slot, found.row);
    }
    if (i >= kAhead && i < n + kAhead) {
      Slot* slot = slots.Find(ids[i - kAhead]);
      std::byte* row = nullptr;
      if (slot != nullptr && slot->flags & Slot::kResident) {
        row = memory.At(slot->row);
        PrefetchRow(row, touched_bytes);
      }
      ring[i % kRing] = {slot, row};
    }
    if (i < n) slots.Prefetch(ids[i]);
  }
}

absl::Status Table::Impl::Fetch(
    absl::Span<const uint64_t> ids,
    const std::function<absl::Status(size_t i, const std::byte* row)>& place) {
  std::vector<std::byte*> rows;
  std::vector<bool> found;
  for (size_t first = 0; first < ids.size(); first += kFetchRows) {
    const size_t n = std::min(kFetchRows, ids.size() - first);
    found.assign(n, false);
    if (store != nullptr) {
      fetch_buffer.resize(kFetchRows * row_bytes);
      rows.resize(n);
      for (size_t i = 0; i < n; ++i) rows[i] = fetch_buffer.data() + i * row_bytes;
      RETURN_IF_ERROR(store->Get(index, ids.subspan(first, n), row_bytes, rows, &found));
    }
    for (size_t i = 0; i < n; ++i) {
      RETURN_IF_ERROR(place(first + i, found[i] ? rows[i] : nullptr));
    }
  }
  return absl::OkStatus();
}

absl::Status Table::Impl::MakeRoom(bool for_slot, bool for_row) {
  const auto needed_bytes = [&] {
    return (for_slot && slots.full() ? slots.bytes() : 0) +
           (for_row && memory.NextRowIsNew() ? row_bytes : 0);
  };
  if (const uint64_t need = needed_bytes(); need > 0 && !budget->Fits(need)) {
    const uint64_t before = resident_count;
    RETURN_IF_ERROR(Spill());
    // Nearly all is pinned: without some slack, every new row would search the whole index again.
    const uint64_t still = needed_bytes();
    if (before - resident_count < kSpillLeast / 4 && !budget->Fits(still)) {
      budget->Raise(still + kSpillLeast * row_bytes);
    } else {
      budget->Raise(still);
    }
  }
  if (for_slot && slots.full()) {
    budget->used_bytes += slots.bytes();
    RETURN_IF_ERROR(slots.Grow());
  }
  return absl::OkStatus();
}

absl::StatusOr<Slot*> Table::Impl::NewSlot(uint64_t id) {
  RETURN_IF_ERROR(MakeRoom(/*for_slot=*/true, /*for_row=*/false));
  return slots.Insert(id);
}

absl::StatusOr<Slot*> Table::Impl::NewRow(uint64_t id) {
  const bool has_slot = slots.Find(id) != nullptr;
  RETURN_IF_ERROR(MakeRoom(/*for_slot=*/!has_slot, /*for_row=*/true));
  const uint64_t before = memory.used_bytes();
  ASSIGN_OR_RETURN(const uint32_t row, memory.Allocate());
  budget->used_bytes += memory.used_bytes() - before;
  Slot* slot = has_slot ? slots.Find(id) : slots.Insert(id);
  slot->row = row;
  slot->flags |= Slot::kResident | Slot::kReferenced;
  ++resident_count;
  return slot;
}

std::vector<uint64_t> Table::Impl::ChooseVictims(size_t target) {
  std::vector<uint64_t> victims;
  // Twice around: the first pass may only take reference bits away.
  size_t left = 2 * slots.capacity();
  for (; left > 0 && victims.size() < target; --left, hand = (hand + 1) & (slots.capacity() - 1)) {
    Slot& slot = slots.slots()[hand & (slots.capacity() - 1)];
    if (!(slot.flags & Slot::kResident) || slot.pins > 0) continue;
    if (slot.flags & Slot::kReferenced) {
      slot.flags &= ~Slot::kReferenced;
    } else {
      victims.push_back(slot.id);
      slot.flags |= Slot::kReferenced;  // So that the second time around does not take it again.
    }
  }
  return victims;
}

absl::Status Table::Impl::Spill() {
  const uint64_t most = std::max(kSpillLeast, kSpillMostBytes / row_bytes);
  std::vector<uint64_t> victims =
      ChooseVictims(std::clamp(resident_count / kSpillShare, kSpillLeast, most));
  std::sort(victims.begin(), victims.end(), KeyLess);

  std::vector<uint64_t> dirty_ids;
  std::vector<const std::byte*> dirty_rows;
  for (const uint64_t id : victims) {
    const Slot* slot = slots.Find(id);
    if (!(slot->flags & Slot::kDirty)) continue;
    dirty_ids.push_back(id);
    dirty_rows.push_back(memory.At(slot->row));
  }
  if (!dirty_ids.empty()) {
    RETURN_IF_ERROR(store->Put(index, dirty_ids, row_bytes, dirty_rows));
  }
  for (const uint64_t id : victims) {
    memory.Free(slots.Find(id)->row);
    slots.Erase(id);
  }
  resident_count -= victims.size();
  spills += victims.size();
  return absl::OkStatus();
}

absl::Status Table::Impl::UpdateAbsent(absl::Span<const uint64_t> ids,
                                       absl::Span<const size_t> positions,
                                       absl::Span<const RowUpdate> updates, int64_t step) {
  // Those with a slot are known to be in no store: they need no fetch.
  std::vector<size_t> unknown;
  const auto create = [&](size_t position, const std::byte* stored) -> absl::Status {
    const uint64_t id = ids[position];
    ASSIGN_OR_RETURN(Slot * slot, NewRow(id));
    std::byte* row = memory.At(slot->row);
    slot->flags |= Slot::kDirty;
    if (stored != nullptr) {
      std::memcpy(row, stored, row_bytes);
      ++reloads;
    } else {
      layout.InitialRow(id, row);
      ++row_count;
    }
    float* const weights = WeightsOf(row);
    ApplyRows({&weights, 1}, position, updates, step);
    return absl::OkStatus();
  };
  absent_ids.clear();
  for (const size_t position : positions) {
    if (store == nullptr || slots.Find(ids[position]) != nullptr) {
      RETURN_IF_ERROR(create(position, nullptr));
    } else {
      unknown.push_back(position);
      absent_ids.push_back(ids[position]);
    }
  }
  return Fetch(absent_ids, [&](size_t i, const std::byte* row) { return create(unknown[i], row); });
}

Table::Table(int index, RowLayout layout, PartitionRange partitions, MemoryBudget* budget,
             RowStore* store)
    : impl_(std::make_unique<Impl>(index, std::move(layout), partitions, budget, store)) {}
Table::~Table() = default;

const RowLayout& Table::layout() const { return impl_->layout; }

absl::Status Table::Pin(absl::Span<const uint64_t> ids) {
  Impl& t = *impl_;
  if (t.store == nullptr) return absl::OkStatus();  // Rows never leave: nothing to fetch or hold.
  t.absent_ids.clear();
  t.Walk(ids, 1, [&](size_t i, Slot* slot, std::byte*) {
    if (slot == nullptr) {
      t.absent_ids.push_back(ids[i]);
      return;
    }
    CHECK_LT(slot->pins, std::numeric_limits<uint16_t>::max());
    ++slot->pins;
    slot->flags |= Slot::kReferenced;
  });
  return t.Fetch(t.absent_ids, [&](size_t i, const std::byte* stored) -> absl::Status {
    Slot* slot = nullptr;
    if (stored == nullptr) {
      ASSIGN_OR_RETURN(slot, t.NewSlot(t.absent_ids[i]));
    } else {
      ASSIGN_OR_RETURN(slot, t.NewRow(t.absent_ids[i]));
      std::memcpy(t.memory.At(slot->row), stored, t.row_bytes);
      ++t.reloads;
    }
    slot->pins = 1;
    return absl::OkStatus();
  });
}

void Table::Unpin(absl::Span<const uint64_t> ids) {
  Impl& t = *impl_;
  if (t.store == nullptr) return;
  t.absent_ids.clear();
  t.Walk(ids, 1, [&](size_t i, Slot* slot, std::byte* row) {
    if (slot == nullptr || slot->pins == 0) return;
    if (--slot->pins == 0 && row == nullptr) t.absent_ids.push_back(ids[i]);
  });
  for (const uint64_t id : t.absent_ids) t.slots.Erase(id);
}

absl::Status Table::Lookup(absl::Span<const uint64_t> ids, float* out,
                           std::vector<size_t>* absent) {
  Impl& t = *impl_;
  const size_t dim = t.layout.dim(), bytes = dim * sizeof(float);
  const bool marks = t.store != nullptr;
  t.absent.clear();
  t.absent_ids.clear();
  t.Walk(ids, RowLayout::kWeightsOffset + bytes, [&](size_t i, Slot* slot, const std::byte* row) {
    if (row != nullptr) {
      std::memcpy(out + i * dim, row + RowLayout::kWeightsOffset, bytes);
      if (marks) slot->flags |= Slot::kReferenced;
    } else if (slot != nullptr || !marks) {
      t.layout.InitialWeights(ids[i], out + i * dim);
      if (absent != nullptr) absent->push_back(i);
    } else {
      t.absent.push_back(i);
      t.absent_ids.push_back(ids[i]);
    }
  });
  return t.Fetch(t.absent_ids, [&](size_t i, const std::byte* stored) {
    float* weights = out + t.absent[i] * dim;
    if (stored != nullptr) {
      std::memcpy(weights, stored + RowLayout::kWeightsOffset, bytes);
    } else {
      t.layout.InitialWeights(t.absent_ids[i], weights);
      if (absent != nullptr) absent->push_back(t.absent[i]);
    }
    return absl::OkStatus();
  });
}

absl::Status Table::Update(absl::Span<const uint64_t> ids, absl::Span<const RowUpdate> updates,
                           int64_t step) {
  Impl& t = *impl_;
  t.absent.clear();
  // Rows that were prefetched and wait for their rules: those of ids[end - count, end).
  std::array<float*, kAhead> weights;
  size_t count = 0, end = 0;
  const auto flush = [&] {
    t.ApplyRows({weights.data(), count}, end - count, updates, step);
    count = 0;
  };
  t.Walk(ids, t.row_bytes, [&](size_t i, Slot* slot, std::byte* row) {
    if (row == nullptr) {
      flush();
      t.absent.push_back(i);
      return;
    }
    if (count == weights.size()) flush();
    weights[count++] = Impl::WeightsOf(row);
    end = i + 1;
    // Mostly set already: then the slot's line need not be written back.
    constexpr uint16_t kMarks = Slot::kDirty | Slot::kReferenced;
    if ((slot->flags & kMarks) != kMarks) slot->flags |= kMarks;
  });
  flush();
  return t.UpdateAbsent(ids, t.absent, updates, step);
}

absl::Status Table::Insert(uint64_t id, const std::byte* row) {
  Impl& t = *impl_;
  const Slot* slot = t.slots.Find(id);
  bool is_new = slot == nullptr || !(slot->flags & Slot::kResident);
  if (is_new) {
    RETURN_IF_ERROR(t.Fetch({&id, 1}, [&](size_t, const std::byte* stored) {
      is_new = stored == nullptr;
      return absl::OkStatus();
    }));
  }
  const uint64_t before = t.row_count;
  RETURN_IF_ERROR(InsertNew(id, row));
  if (!is_new) t.row_count = before;
  return absl::OkStatus();
}

absl::Status Table::InsertNew(uint64_t id, const std::byte* row) {
  Impl& t = *impl_;
  Slot* slot = t.slots.Find(id);
  if (slot == nullptr || !(slot->flags & Slot::kResident)) {
    ASSIGN_OR_RETURN(slot, t.NewRow(id));
    ++t.row_count;
  }
  std::memcpy(t.memory.At(slot->row), row, t.row_bytes);
  slot->flags |= Slot::kDirty;
  return absl::OkStatus();
}

absl::Status Table::InsertNewInStore(absl::Span<const uint64_t> ids, const std::byte* rows) {
  Impl& t = *impl_;
  std::vector<const std::byte*> pointers(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) pointers[i] = rows + i * t.row_bytes;
  RETURN_IF_ERROR(t.store->Put(t.index, ids, t.row_bytes, pointers));
  t.row_count += ids.size();
  return absl::OkStatus();
}

absl::Status Table::ForEach(
    int partition, const std::function<absl::Status(uint64_t id, const std::byte* row)>& visit) {
  Impl& t = *impl_;
  std::vector<std::pair<uint64_t, uint32_t>> resident;  // (id, row)
  t.slots.ForEach(partition, [&](const Slot& slot) {
    if (slot.flags & Slot::kResident) resident.emplace_back(slot.id, slot.row);
  });
  std::sort(resident.begin(), resident.end());
  size_t next = 0;
  if (t.store != nullptr) {
    RETURN_IF_ERROR(t.store->ForEach(
        t.index, partition, t.row_bytes, [&](uint64_t id, const std::byte* row) -> absl::Status {
          for (; next < resident.size() && resident[next].first < id; ++next) {
            RETURN_IF_ERROR(visit(resident[next].first, t.memory.At(resident[next].second)));
          }
          const bool newer_is_resident = next < resident.size() && resident[next].first == id;
          return newer_is_resident ? absl::OkStatus() : visit(id, row);
        }));
  }
  for (; next < resident.size(); ++next) {
    RETURN_IF_ERROR(visit(resident[next].first, t.memory.At(resident[next].second)));
  }
  return absl::OkStatus();
}

TableStats Table::stats() const {
  const Impl& t = *impl_;
  return {t.row_count, t.resident_count, t.slots.bytes() + t.memory.used_bytes(), t.spills,
          t.reloads};
}

}  // namespace pagoda
