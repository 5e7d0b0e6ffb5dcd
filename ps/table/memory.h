// Memory of tables: the budget that the tables of a shard share, huge-page mappings, and chunks of
// equal rows.
//
// A row is named by its number; rows never move, so a pointer to one is good until it is freed. The
// first 2 MiB use ordinary pages (a small table should not cost 2 MiB); all the rest asks for huge
// pages, which a random walk needs: 13M rows/s with 4 KiB pages, 42M with 2 MiB (design.md, section
// 10).
//
// **Confined to the shard's thread.**
#ifndef PAGODA_PS_TABLE_MEMORY_H_
#define PAGODA_PS_TABLE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagoda {

// What the tables of one shard may use together. 0: no limit.
struct MemoryBudget {
  uint64_t limit_bytes = 0;
  uint64_t used_bytes = 0;
  bool warned = false;  // That pinned rows alone are more than the limit.

  bool limited() const { return limit_bytes > 0; }
  bool Fits(uint64_t more_bytes) const {
    return !limited() || used_bytes + more_bytes <= limit_bytes;
  }
  // For rows that must be there: the limit follows what is used, with one warning.
  void Raise(uint64_t more_bytes);
};

// Zeroed pages, unmapped at destruction.
class Mapping {
 public:
  Mapping() = default;
  // Huge pages but for the first small_bytes (a multiple of 2 MiB, or all). MemoryError when the
  // kernel has none.
  static absl::StatusOr<Mapping> Make(size_t bytes, size_t small_bytes);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

class RowMemory {
 public:
  explicit RowMemory(size_t row_bytes);

  // True when the next row takes memory that no row has used before.
  bool NextRowIsNew() const { return free_.empty(); }
  // A row with undefined contents; at most 2^32 - 1 of them.
  absl::StatusOr<uint32_t> Allocate();
  void Free(uint32_t row) { free_.push_back(row); }
  std::byte* At(uint32_t row) const {
    return chunks_[row >> chunk_shift_].data() + (row & chunk_mask_) * row_bytes_;
  }
  // Of rows that were ever in use: what the kernel has given.
  uint64_t used_bytes() const { return uint64_t{end_} * row_bytes_; }

 private:
  const size_t row_bytes_;
  const int chunk_shift_;  // log2 of rows a chunk.
  const uint32_t chunk_mask_;
  std::vector<Mapping> chunks_;
  std::vector<uint32_t> free_;
  uint32_t end_ = 0;  // Rows [0, end_) were allocated at some time.
};

}  // namespace pagoda

#endif  // PAGODA_PS_TABLE_MEMORY_H_
