// A table's rows of one shard: a hash table over row memory, with the rest of the rows in the
// store.
//
// Every list of ids comes in MixId order, which is the order of the index (slot_index.h): a batch
// walks it forwards, with software prefetch a fixed distance ahead. Rows live in chunks and never
// move (memory.h); residency (dirty, referenced, pinned) stands in the slot. A pull changes
// nothing: an absent row is answered by the initial-value function (at inference, zeros by shards).
//
// Over its budget, the table moves cold rows to the store: a clock hand passes over the index,
// takes unpinned rows that were not referenced since its last pass, writes the dirty ones in key
// order and drops the clean ones. Which rows are in memory never shows in a lookup, an update or
// ForEach. After an error the table may hold part of a batch: its shard must start anew.
//
// **Confined to the shard's thread.**
#ifndef PAGODA_PS_TABLE_TABLE_H_
#define PAGODA_PS_TABLE_TABLE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/optim/rule.h"
#include "ps/table/memory.h"
#include "ps/table/row.h"
#include "ps/table/slot_index.h"

namespace pagoda {

// Where rows go that do not fit in memory; ps/store implements it over RocksDB.
class RowStore {
 public:
  virtual ~RowStore() = default;
  // rows[i] <- the bytes of ids[i] (unique, in MixId order), or found[i] = false.
  virtual absl::Status Get(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                           absl::Span<std::byte* const> rows, std::vector<bool>* found) = 0;
  // Puts n rows, ascending by (partition, id).
  virtual absl::Status Put(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                           absl::Span<const std::byte* const> rows) = 0;
  // Every row of one partition of one table, ascending by id.
  virtual absl::Status ForEach(
      int table, int partition, size_t row_bytes,
      const std::function<absl::Status(uint64_t id, const std::byte* row)>& visit) = 0;
};

struct TableStats {
  uint64_t rows = 0;  // Resident or not.
  uint64_t resident_rows = 0;
  uint64_t resident_bytes = 0;       // Row memory and index.
  uint64_t spills = 0, reloads = 0;  // Rows moved out of memory (written or dropped), and back.
};

// One optimizer's move of n rows.
struct RowUpdate {
  int optimizer;           // Index in layout().optimizers().
  const float* gradients;  // [n, dim]
  RuleStep rule_step;
};

class Table {
 public:
  // `budget` is shared by the tables of a shard; `store` may be null when it has no limit. Both
  // must outlive the table.
  Table(int index, RowLayout layout, PartitionRange partitions, MemoryBudget* budget,
        RowStore* store);
  ~Table();

  const RowLayout& layout() const;

  // All lists of ids: unique, in MixId order, of the shard's partitions.

  // Fetches rows that are in the store and pins all present ones until Unpin of the same list;
  // several lists may be pinned at once. Pinned rows are the budget's floor.
  absl::Status Pin(absl::Span<const uint64_t> ids);
  void Unpin(absl::Span<const uint64_t> ids);

  // out [n, dim] <- weights. Changes nothing that a row, a digest or another lookup could see.
  // absent, unless null: the places in ids without a row are appended, in any order.
  absl::Status Lookup(absl::Span<const uint64_t> ids, float* out,
                      std::vector<size_t>* absent = nullptr);

  // Applies the updates, in their order, to each row; creates absent rows. `step` is recorded in
  // the rows. Several at once visit a row's memory once.
  // REQUIRES: gradients are finite (CheckFinite); a push is checked when it comes, and once.
  absl::Status Update(absl::Span<const uint64_t> ids, absl::Span<const RowUpdate> updates,
                      int64_t step);

  // Puts a row as it is (loading a checkpoint), in place of what the table has under that id.
  absl::Status Insert(uint64_t id, const std::byte* row);
  // The same for an id that is known to be new: the store is not asked, which costs some 4 us.
  // REQUIRES: the store has no row `id`.
  absl::Status InsertNew(uint64_t id, const std::byte* row);
  // Puts rows [n, row_bytes] past memory into the store; ascending by (partition, id).
  // REQUIRES: a store; the table has none of these ids.
  absl::Status InsertNewInStore(absl::Span<const uint64_t> ids, const std::byte* rows);

  // All rows of one partition, ascending by id, wherever they are.
  absl::Status ForEach(int partition,
                       const std::function<absl::Status(uint64_t id, const std::byte* row)>& visit);

  TableStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// DataError naming the table and the first of ids [n] whose gradient, in gradients [n, dim], is not
// finite.
absl::Status CheckFinite(const RowLayout& layout, absl::Span<const uint64_t> ids,
                         const float* gradients);

}  // namespace pagoda

#endif  // PAGODA_PS_TABLE_TABLE_H_
