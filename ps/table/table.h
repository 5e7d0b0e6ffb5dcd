// A table's rows of one shard: a hash table over row memory, with the rest of the rows in the store.
//
// The index is a slab of 16-byte slots addressed by the mixed id below the partition bits, so that a list of ids in MixId order
// walks it forwards; linear probing, software prefetch a fixed distance ahead. Rows live in chunks and never move; residency (dirty,
// referenced, pinned) stands in the slot. A pull changes nothing: an absent row is answered by the initial-value function.
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
#include "ps/table/row.h"

namespace pagoda {

// Where rows go that do not fit in memory; ps/store implements it over RocksDB.
class RowStore {
 public:
  virtual ~RowStore() = default;
  // rows[i] <- the bytes of ids[i] (in MixId order), or found[i] = false.
  virtual absl::Status Get(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                           absl::Span<std::byte* const> rows, std::vector<bool>* found) = 0;
  // Puts n rows (ids in MixId order).
  virtual absl::Status Put(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                           absl::Span<const std::byte* const> rows) = 0;
  // Every row of one partition of one table, ascending by id.
  virtual absl::Status ForEach(int table, int partition, size_t row_bytes,
                               const std::function<absl::Status(uint64_t id, const std::byte* row)>& visit) = 0;
};

struct TableStats {
  uint64_t rows = 0;            // Resident or not.
  uint64_t resident_rows = 0;
  uint64_t resident_bytes = 0;  // Row chunks and index.
  uint64_t spills = 0, reloads = 0;
};

class Table {
 public:
  // `store` may be null when budget_bytes is 0 (no limit); it must outlive the table.
  Table(int index, RowLayout layout, uint64_t budget_bytes, RowStore* store);
  ~Table();

  const RowLayout& layout() const;

  // All lists of ids: in MixId order, unique.

  // Fetches rows that are in the store and pins all present ones until Unpin of the same list; several lists may be pinned at once.
  absl::Status Pin(absl::Span<const uint64_t> ids);
  void Unpin(absl::Span<const uint64_t> ids);

  // out [n, dim] <- weights. Changes nothing that a row, a digest or another lookup could see.
  absl::Status Lookup(absl::Span<const uint64_t> ids, float* out);

  // Applies optimizer `optimizer` (index in layout().optimizers()) along gradients [n, dim]; creates absent rows. `step` is
  // recorded in the rows. A gradient that is not finite is refused before anything changes (DataError naming the id).
  absl::Status Update(absl::Span<const uint64_t> ids, const float* gradients, int optimizer,
                      const RuleStep& rule_step, int64_t step);

  // Puts a row as it is (loading a checkpoint).
  absl::Status Insert(uint64_t id, const std::byte* row);

  // All rows of one partition, ascending by id, wherever they are.
  absl::Status ForEach(int partition,
                       const std::function<absl::Status(uint64_t id, const std::byte* row)>& visit);

  TableStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda

#endif  // PAGODA_PS_TABLE_TABLE_H_
