// The tier below memory: rows of one shard in a RocksDB database of their own.
//
// The database is scratch of one run epoch: opened at the first Put (a job that fits its budget
// never makes one), its write-ahead log off, removed when this object ends. Reads of a store that
// was never written find nothing. Spills come as sorted batches of rows that the clock hand met in
// key order: large ones become an SST file that is moved in, small ones a write batch.
//
// A full disk is fatal for the shard: RocksDB 7.8.3 does not come back from it. The error names the
// path.
//
// **Confined to the shard's thread.**
#ifndef PAGODA_PS_STORE_ROCKSDB_STORE_H_
#define PAGODA_PS_STORE_ROCKSDB_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ps/table/table.h"

namespace pagoda {

struct RocksdbStoreOptions {
  std::string directory;      // Emptied before it is used.
  uint64_t memory_bytes = 0;  // Memtables, filters and indexes together.
};

class RocksdbStore : public RowStore {
 public:
  explicit RocksdbStore(const RocksdbStoreOptions& options);
  ~RocksdbStore() override;

  absl::Status Get(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                   absl::Span<std::byte* const> rows, std::vector<bool>* found) override;
  absl::Status Put(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                   absl::Span<const std::byte* const> rows) override;
  absl::Status ForEach(
      int table, int partition, size_t row_bytes,
      const std::function<absl::Status(uint64_t id, const std::byte* row)>& visit) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda

#endif  // PAGODA_PS_STORE_ROCKSDB_STORE_H_
