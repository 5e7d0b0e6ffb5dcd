#include "ps/store/row_files.h"

#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

#include <utility>

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
  rocksdb::SstFileReader reader(FileOptions());
  RETURN_IF_ERROR(FromRocksdb(reader.Open(path), "open", path));
  rocksdb::ReadOptions read;
  read.verify_checksums = true;
  read.fill_cache = false;
  read.readahead_size = 2 << 20;
  const std::unique_ptr<rocksdb::Iterator> it(reader.NewIterator(read));
  const auto seek = [&](int table) {
    const RowKey key(table, first_partition, 0);
    it->Seek(rocksdb::Slice(key.data(), RowKey::kBytes));
  };
  uint64_t rows = 0;
  seek(0);
  while (it->Valid()) {
    if (it->key().size() != RowKey::kBytes) {
      return DataError(absl::StrCat(path, ": a key has ", it->key().size(), " bytes, not ",
                                    RowKey::kBytes, ": not a row file of this version"));
    }
    const RowKey key = RowKey::Parse(it->key().data());
    if (key.partition() < first_partition) {
      seek(key.table());
    } else if (key.partition() < end_partition) {
      const auto* row = reinterpret_cast<const std::byte*>(it->value().data());
      RETURN_IF_ERROR(visit(key.table(), key.id(), {row, it->value().size()}));
      ++rows;
      it->Next();
    } else if (key.table() < kLastTable) {
      seek(key.table() + 1);
    } else {
      break;
    }
  }
  RETURN_IF_ERROR(FromRocksdb(it->status(), "read", path));
  const bool whole = first_partition <= static_cast<int>(file.first_partition()) &&
                     end_partition >= static_cast<int>(file.end_partition());
  if (rows > file.rows() || (whole && rows < file.rows())) {
    return DataError(absl::StrCat(path, ": has ", rows, " rows, its manifest says ", file.rows(),
                                  ": damaged; use another checkpoint"));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
