#include "ps/store/row_files.h"

#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "ps/store/key.h"
#include "ps/store/status.h"

namespace pagoda {
namespace {

constexpr int kLastTable = 65535;  // 2 bytes of a key.

rocksdb::Options FileOptions() {
  rocksdb::Options options;
  options.compression =
      rocksdb::kNoCompression;  // Weights are noise: zstd saves 8 % and costs a core.
  rocksdb::BlockBasedTableOptions table;
  table.block_size = 64 << 10;  // Read front to back.
  table.checksum = rocksdb::kXXH3;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

class SstRowFileWriter : public RowFileWriter {
 public:
  SstRowFileWriter(std::string directory, RowFile file)
      : directory_(std::move(directory)),
        file_(std::move(file)),
        path_(JoinPath(directory_, file_.name())),
        options_(FileOptions()),
        writer_(rocksdb::EnvOptions(), options_) {}

  absl::Status Open() { return FromRocksdb(writer_.Open(path_), "create", path_); }

  absl::Status Add(int table, uint64_t id, absl::Span<const std::byte> row) override {
    const RowKey key = RowKey::Of(table, id);
    file_.set_rows(file_.rows() + 1);
    return FromRocksdb(
        writer_.Put(rocksdb::Slice(key.data(), RowKey::kBytes),
                    rocksdb::Slice(reinterpret_cast<const char*>(row.data()), row.size())),
        "write", path_);
  }

  absl::StatusOr<RowFile> Finish() override {
    if (file_.rows() == 0) {  // RocksDB refuses to finish a file without rows.
      RETURN_IF_ERROR(RemoveTree(path_));
      file_.clear_name();
      return file_;
    }
    RETURN_IF_ERROR(FromRocksdb(writer_.Finish(), "write", path_));
    RETURN_IF_ERROR(SyncFile(path_));
    ASSIGN_OR_RETURN(const uint64_t bytes, FileSize(path_));
    ASSIGN_OR_RETURN(const uint64_t checksum, ChecksumFile(path_));
    file_.set_bytes(bytes);
    file_.set_checksum(checksum);
    return file_;
  }

 private:
  const std::string directory_;
  RowFile file_;
  const std::string path_;
  const rocksdb::Options options_;
  rocksdb::SstFileWriter writer_;
};

// Of a partition in one round: about a block of the file, with rows of 16 floats and Adam.
constexpr int kRoundRows = 256;

// The rows of one file by key; a row that cannot be read ends it with an error.
class SstRows {
 public:
  static absl::StatusOr<std::unique_ptr<SstRows>> Open(const std::string& path,
                                                       size_t readahead_bytes) {
    std::unique_ptr<SstRows> rows(new SstRows(path));
    RETURN_IF_ERROR(FromRocksdb(rows->reader_.Open(path), "open", path));
    rocksdb::ReadOptions read;
    read.verify_checksums = true;
    read.fill_cache = false;
    read.readahead_size = readahead_bytes;
    rows->it_.reset(rows->reader_.NewIterator(read));
    return rows;
  }

  // True when it stands on a row, at or behind the key.
  absl::StatusOr<bool> Seek(const RowKey& key) {
    it_->Seek(rocksdb::Slice(key.data(), RowKey::kBytes));
    return Take();
  }
  absl::StatusOr<bool> Next() {
    it_->Next();
    return Take();
  }
  // REQUIRES: it stands on a row.
  const RowKey& key() const { return key_; }
  absl::Span<const std::byte> row() const {
    return {reinterpret_cast<const std::byte*>(it_->value().data()), it_->value().size()};
  }

 private:
  explicit SstRows(const std::string& path) : path_(path), reader_(FileOptions()) {}

  absl::StatusOr<bool> Take() {
    if (!it_->Valid()) {
      RETURN_IF_ERROR(FromRocksdb(it_->status(), "read", path_));
      return false;
    }
    if (it_->key().size() != RowKey::kBytes) {
      return DataError(absl::StrCat(path_, ": a key has ", it_->key().size(), " bytes, not ",
                                    RowKey::kBytes, ": not a row file of this version"));
    }
    key_ = RowKey::Parse(it_->key().data());
    return true;
  }

  const std::string path_;
  rocksdb::SstFileReader reader_;
  std::unique_ptr<rocksdb::Iterator> it_;
  RowKey key_{0, 0, 0};
};

// Holds the rows of partitions [first, end) that were read against the manifest's entry.
absl::Status CheckRowCount(const std::string& path, const RowFile& file, int first_partition,
                           int end_partition, uint64_t rows) {
  const bool whole = first_partition <= static_cast<int>(file.first_partition()) &&
                     end_partition >= static_cast<int>(file.end_partition());
  if (rows <= file.rows() && !(whole && rows < file.rows())) return absl::OkStatus();
  return DataError(absl::StrCat(path, ": has ", rows, " rows, its manifest says ", file.rows(),
                                ": damaged; use another checkpoint"));
}

// Visits up to kRoundRows rows of one partition from *next_id on; true when there may be more.
absl::StatusOr<bool> ReadRound(SstRows& file, int table, int partition, uint64_t* next_id,
                               const VisitFileRow& visit) {
  ASSIGN_OR_RETURN(bool more, file.Seek(RowKey(table, partition, *next_id)));
  for (int taken = 0; more && taken < kRoundRows; ++taken) {
    const RowKey key = file.key();
    if (key.table() != table || key.partition() != partition) return false;
    RETURN_IF_ERROR(visit(table, key.id(), file.row()));
    *next_id = key.id() + 1;
    if (*next_id == 0) return false;  // The largest id there can be.
    ASSIGN_OR_RETURN(more, file.Next());
  }
  return more;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowFileWriter>> RowFileWriter::Create(const std::string& directory,
                                                                     const std::string& name,
                                                                     int first_partition,
                                                                     int end_partition) {
  RowFile file;
  file.set_name(name);
  file.set_first_partition(static_cast<uint32_t>(first_partition));
  file.set_end_partition(static_cast<uint32_t>(end_partition));
  auto writer = std::make_unique<SstRowFileWriter>(directory, std::move(file));
  RETURN_IF_ERROR(writer->Open());
  return writer;
}

absl::Status ReadRowFile(const std::string& directory, const RowFile& file, int first_partition,
                         int end_partition, const VisitFileRow& visit) {
  if (file.name().empty()) return absl::OkStatus();
  const std::string path = JoinPath(directory, file.name());
  ASSIGN_OR_RETURN(const auto in, SstRows::Open(path, /*readahead_bytes=*/2 << 20));
  uint64_t rows = 0;
  ASSIGN_OR_RETURN(bool more, in->Seek(RowKey(0, first_partition, 0)));
  while (more) {
    const RowKey key = in->key();
    if (key.partition() < first_partition) {
      ASSIGN_OR_RETURN(more, in->Seek(RowKey(key.table(), first_partition, 0)));
    } else if (key.partition() < end_partition) {
      RETURN_IF_ERROR(visit(key.table(), key.id(), in->row()));
      ++rows;
      ASSIGN_OR_RETURN(more, in->Next());
    } else if (key.table() < kLastTable) {
      ASSIGN_OR_RETURN(more, in->Seek(RowKey(key.table() + 1, first_partition, 0)));
    } else {
      break;
    }
  }
  return CheckRowCount(path, file, first_partition, end_partition, rows);
}

absl::Status ReadRowFileInRounds(const std::string& directory, const RowFile& file,
                                 int first_partition, int end_partition,
                                 const VisitFileRow& visit) {
  const uint64_t few = 16 * static_cast<uint64_t>(end_partition - first_partition);
  if (file.rows() < few) {  // A seek for each partition would cost more.
    return ReadRowFile(directory, file, first_partition, end_partition, visit);
  }
  const std::string path = JoinPath(directory, file.name());
  ASSIGN_OR_RETURN(const auto in, SstRows::Open(path, /*readahead_bytes=*/0));
  uint64_t rows = 0;
  const VisitFileRow count = [&](int table, uint64_t id, absl::Span<const std::byte> row) {
    ++rows;
    return visit(table, id, row);
  };
  ASSIGN_OR_RETURN(bool more, in->Seek(RowKey(0, 0, 0)));
  while (more) {
    const int table = in->key().table();
    std::vector<uint64_t> next_id(end_partition - first_partition, 0);
    std::vector<int> left(next_id.size());
    std::iota(left.begin(), left.end(), first_partition);
    while (!left.empty()) {
      std::vector<int> again;
      for (const int partition : left) {
        ASSIGN_OR_RETURN(
            const bool unfinished,
            ReadRound(*in, table, partition, &next_id[partition - first_partition], count));
        if (unfinished) again.push_back(partition);
      }
      left = std::move(again);
    }
    if (table == kLastTable) break;
    ASSIGN_OR_RETURN(more, in->Seek(RowKey(table + 1, 0, 0)));
  }
  return CheckRowCount(path, file, first_partition, end_partition, rows);
}

}  // namespace pagoda
