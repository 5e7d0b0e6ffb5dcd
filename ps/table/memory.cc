#include "ps/table/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kChunkBytes = size_t{16} << 20;
// Of addresses; memory is given page by page, so that a chunk's end costs nothing before its use.
constexpr size_t kMostChunkBytes = size_t{256} << 20;

// log2 of rows a chunk: whole huge pages where that is possible, or else its end would be small
// ones (1 MiB of 9 with rows of 72 bytes).
int ChunkShift(size_t row_bytes) {
  const int at_least = std::bit_width(std::max<size_t>(1, kChunkBytes / row_bytes)) - 1;
  const int whole = std::countr_zero(kHugePageBytes) - std::countr_zero(row_bytes);
  const bool fits = whole <= at_least || row_bytes << whole <= kMostChunkBytes;
  return fits ? std::max(at_least, whole) : at_least;
}

}  // namespace

void MemoryBudget::Raise(uint64_t more_bytes) {
  const uint64_t need_bytes = used_bytes + more_bytes;
  if (!limited() || need_bytes <= limit_bytes) return;
  if (!warned) {
    LOG(WARNING) << "memory budget of " << limit_bytes
                 << " bytes is less than the rows of the steps in flight need: raised to "
                 << need_bytes << " bytes; give the tables more memory or take smaller batches";
    warned = true;
  }
  limit_bytes = need_bytes;
}

absl::StatusOr<Mapping> Mapping::Make(size_t bytes, size_t small_bytes) {
  // Huge pages want an aligned start: map one page more and give the ends back.
  const bool huge_pages = small_bytes < bytes;
  const size_t slack = huge_pages ? kHugePageBytes : 0;
  void* mapped =
      mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    return MemoryError(absl::StrCat("no memory for ", bytes, " more bytes of table rows; set ",
                                    "--memory_budget_mb or use more servers"));
  }
  std::byte* begin = static_cast<std::byte*>(mapped);
  if (huge_pages) {
    const size_t past = reinterpret_cast<uintptr_t>(begin) % kHugePageBytes;
    const size_t head = past == 0 ? 0 : kHugePageBytes - past;
    const size_t page = 4096, end = (head + bytes + page - 1) / page * page;
    if (head > 0) munmap(begin, head);
    if (end < bytes + slack) munmap(begin + end, bytes + slack - end);
    begin += head;
    // Advice: where it is refused, small pages work too.
    madvise(begin + small_bytes, bytes - small_bytes, MADV_HUGEPAGE);
  }
  Mapping mapping;
  mapping.data_ = begin;
  mapping.bytes_ = bytes;
  return mapping;
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

RowMemory::RowMemory(size_t row_bytes)
    : row_bytes_(row_bytes),
      chunk_shift_(ChunkShift(row_bytes)),
      chunk_mask_((uint32_t{1} << chunk_shift_) - 1) {}

absl::StatusOr<uint32_t> RowMemory::Allocate() {
  if (!free_.empty()) {
    const uint32_t row = free_.back();
    free_.pop_back();
    return row;
  }
  if (end_ == std::numeric_limits<uint32_t>::max()) {
    return MemoryError("a shard's table has 2^32 - 1 rows in memory; use more shards");
  }
  if ((end_ >> chunk_shift_) == chunks_.size()) {
    const size_t small_bytes = chunks_.empty() ? kHugePageBytes : 0;
    ASSIGN_OR_RETURN(Mapping chunk, Mapping::Make(row_bytes_ << chunk_shift_, small_bytes));
    chunks_.push_back(std::move(chunk));
  }
  return end_++;
}

}  // namespace pagoda
