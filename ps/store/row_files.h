// Sorted files of rows (RocksDB SST), as checkpoints hold them: written by shards, read by shards
// and psctl.
//
// key   = table u16 | partition u16 | id u64, big-endian
// value = row bytes
// A flipped bit in an SST ends an iterator early and only status() tells: the reader checks it, and
// where it can the row count against the manifest's.
//
// **Confined to one thread** (each object).
#ifndef PAGODA_PS_STORE_ROW_FILES_H_
#define PAGODA_PS_STORE_ROW_FILES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/wire.pb.h"

namespace pagoda {

class RowFileWriter {
 public:
  static absl::StatusOr<std::unique_ptr<RowFileWriter>> Create(const std::string& directory,
                                                               const std::string& name,
                                                               int first_partition,
                                                               int end_partition);
  virtual ~RowFileWriter() = default;
  // Ascending by (table, partition, id).
  virtual absl::Status Add(int table, uint64_t id, absl::Span<const std::byte> row) = 0;
  // Syncs; the entry for the manifest. An empty file is not written: rows = 0, name empty.
  virtual absl::StatusOr<RowFile> Finish() = 0;
};

using VisitFileRow =
    std::function<absl::Status(int table, uint64_t id, absl::Span<const std::byte> row)>;

// Visits the rows of partitions [first, end) of one file, in key order, and reads no more than
// these: one stretch a table. The row count is held against the manifest's when they are all of the
// file's partitions; else a lost row shows by a block's checksum only, and the file should have
// been verified by its own (VerifyFiles, which a job's coordinator calls once for all shards).
absl::Status ReadRowFile(const std::string& directory, const RowFile& file, int first_partition,
                         int end_partition, const VisitFileRow& visit);

// The same rows, a few of each partition in turn: for a table's index, which is ordered by
// partition. Filled in key order, it would be full where the file has come to and empty elsewhere,
// and each new row would search through all those before it.
absl::Status ReadRowFileInRounds(const std::string& directory, const RowFile& file,
                                 int first_partition, int end_partition,
                                 const VisitFileRow& visit);

}  // namespace pagoda

#endif  // PAGODA_PS_STORE_ROW_FILES_H_
