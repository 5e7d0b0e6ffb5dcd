#include "ps/store/rocksdb_store.h"

#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/io/file.h"
#include "glog/logging.h"
#include "ps/store/key.h"
#include "ps/store/scratch_files.h"
#include "ps/store/status.h"

namespace pagoda {
namespace {

// From so many rows on, a sorted file that is moved in beats a write batch: a file costs a few
// milliseconds, a batch about 6 us a row (design.md, section 10: 4.3M rows/s against 0.17M).
constexpr size_t kIngestRows = 4096;
constexpr uint64_t kLeastMemtableBytes = uint64_t{1} << 20;
constexpr int kFilterBitsPerRow = 10;  // 1 % of absent ids read a block.
constexpr int kRuns = 8;               // Sorted runs a row may be in before some are merged.

rocksdb::Slice SliceOf(const RowKey& key) { return {key.data(), RowKey::kBytes}; }

}  // namespace

struct RocksdbStore::Impl {
  explicit Impl(const RocksdbStoreOptions& options) : options(options) {}

  absl::Status Open();
  void SetCompaction();
  absl::Status Ingest(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                      absl::Span<const std::byte* const> rows);
  absl::Status WriteBatch(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                          absl::Span<const std::byte* const> rows);
  std::string DatabasePath() const { return JoinPath(options.directory, "db"); }
  absl::Status WrongSize(int table, uint64_t id, size_t bytes, size_t row_bytes) const {
    return DataError(absl::StrCat(DatabasePath(), ": table ", table, " id ", id, ": row has ",
                                  bytes, " bytes, not ", row_bytes));
  }

  const RocksdbStoreOptions options;
  const std::unique_ptr<rocksdb::Env> env = NewScratchEnv();
  rocksdb::Options db_options;
  std::unique_ptr<rocksdb::DB> db;  // Null until the first Put.
  uint64_t next_file = 0;
};

absl::Status RocksdbStore::Impl::Open() {
  RETURN_IF_ERROR(RemoveTree(options.directory));
  RETURN_IF_ERROR(MakeDirectories(options.directory));
  // No block cache: what is worth caching is a row in its table, and the kernel keeps the files'
  // pages. Filters and indexes stay with the open files, outside any cache: one too small for them
  // read a filter block again for every few rows (2k examples/s, design's planted set at 5 %).
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kFilterBitsPerRow));
  table.block_size = 4 << 10;              // A miss of one row reads one block.
  table.index_block_restart_interval = 8;  // About 10 bytes a block, half of what 1 takes.
  table.checksum = rocksdb::kXXH3;
  db_options.create_if_missing = true;
  db_options.error_if_exists = true;
  db_options.compression = rocksdb::kNoCompression;
  db_options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  SetCompaction();
  const uint64_t memtable_bytes = std::max(kLeastMemtableBytes, options.memory_bytes / 8);
  db_options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(memtable_bytes, nullptr);
  db_options.write_buffer_size = memtable_bytes / 2;
  db_options.max_write_buffer_number = 2;
  db_options.max_open_files = -1;  // A file that was closed would read its filter again.
  db_options.keep_log_file_num = 1;
  db_options.info_log_level = rocksdb::ERROR_LEVEL;
  db_options.paranoid_checks = true;
  // Scratch: nothing is read back after a crash.
  db_options.env = env.get();
  db_options.avoid_flush_during_shutdown = true;
  rocksdb::DB* opened = nullptr;
  RETURN_IF_ERROR(FromRocksdb(rocksdb::DB::Open(db_options, DatabasePath(), &opened),
                              "open the row store", DatabasePath()));
  db.reset(opened);
  return absl::OkStatus();
}

// A spill is a few percent of what the store holds, spread over its keys. Merged into one big level
// at once (RocksDB's default), each would rewrite a good part of that level; runs of similar size
// merged with each other ("universal") rewrite a row some 5 times, at the price of a few more
// filters to ask.
void RocksdbStore::Impl::SetCompaction() {
  db_options.compaction_style = rocksdb::kCompactionStyleUniversal;
  db_options.compaction_options_universal.size_ratio = 25;                       // Percent.
  db_options.compaction_options_universal.max_size_amplification_percent = 100;  // Disk: twice.
  db_options.level0_file_num_compaction_trigger = kRuns;
  db_options.level0_slowdown_writes_trigger = 8 * kRuns;
  db_options.level0_stop_writes_trigger = 16 * kRuns;
  db_options.max_background_jobs = 4;  // While one merges all, others merge new spills.
  // Buffers of a merge: some 128 KiB an input, 256 KiB for the output.
  db_options.compaction_readahead_size = 128 << 10;
  db_options.writable_file_max_buffer_size = 256 << 10;
  db_options.target_file_size_base = 16 << 20;  // A filter is built from 8 bytes a row of a file.
}

absl::Status RocksdbStore::Impl::Ingest(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                                        absl::Span<const std::byte* const> rows) {
  const std::string path = JoinPath(options.directory, absl::StrCat("spill-", next_file++, ".sst"));
  rocksdb::SstFileWriter writer(rocksdb::EnvOptions(db_options), db_options);
  RETURN_IF_ERROR(FromRocksdb(writer.Open(path), "create", path));
  for (size_t i = 0; i < ids.size(); ++i) {
    const RowKey key = RowKey::Of(table, ids[i]);
    const rocksdb::Slice row(reinterpret_cast<const char*>(rows[i]), row_bytes);
    RETURN_IF_ERROR(FromRocksdb(writer.Put(SliceOf(key), row), "write", path));
  }
  RETURN_IF_ERROR(FromRocksdb(writer.Finish(), "write", path));
  rocksdb::IngestExternalFileOptions ingest;
  ingest.move_files = true;
  ingest.write_global_seqno = false;
  return FromRocksdb(db->IngestExternalFile({path}, ingest), "move a spill into", DatabasePath());
}

absl::Status RocksdbStore::Impl::WriteBatch(int table, absl::Span<const uint64_t> ids,
                                            size_t row_bytes,
                                            absl::Span<const std::byte* const> rows) {
  rocksdb::WriteBatch batch(ids.size() * (row_bytes + RowKey::kBytes + 8));
  for (size_t i = 0; i < ids.size(); ++i) {
    const RowKey key = RowKey::Of(table, ids[i]);
    batch.Put(SliceOf(key), rocksdb::Slice(reinterpret_cast<const char*>(rows[i]), row_bytes));
  }
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  return FromRocksdb(db->Write(write, &batch), "spill rows to", DatabasePath());
}

RocksdbStore::RocksdbStore(const RocksdbStoreOptions& options)
    : impl_(std::make_unique<Impl>(options)) {}

RocksdbStore::~RocksdbStore() {
  if (impl_->db == nullptr) return;
  const absl::Status closed = FromRocksdb(impl_->db->Close(), "close", impl_->DatabasePath());
  impl_->db.reset();
  const absl::Status removed = RemoveTree(impl_->options.directory);
  if (!closed.ok() || !removed.ok()) LOG(WARNING) << closed << " " << removed;
}

absl::Status RocksdbStore::Get(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                               absl::Span<std::byte* const> rows, std::vector<bool>* found) {
  found->assign(ids.size(), false);
  if (impl_->db == nullptr || ids.empty()) return absl::OkStatus();
  const size_t n = ids.size();
  // MixId order is partition order, but inside a partition keys ascend by the id itself.
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const int pa = PartitionOf(ids[a]), pb = PartitionOf(ids[b]);
    return pa != pb ? pa < pb : ids[a] < ids[b];
  });
  std::vector<RowKey> keys;
  std::vector<rocksdb::Slice> slices;
  keys.reserve(n);
  slices.reserve(n);
  for (const uint32_t i : order) {
    keys.push_back(RowKey::Of(table, ids[i]));
    slices.push_back(SliceOf(keys.back()));
  }
  std::vector<rocksdb::PinnableSlice> values(n);
  std::vector<rocksdb::Status> statuses(n);
  impl_->db->MultiGet(rocksdb::ReadOptions(), impl_->db->DefaultColumnFamily(), n, slices.data(),
                      values.data(), statuses.data(), /*sorted_input=*/true);
  for (size_t k = 0; k < n; ++k) {
    if (statuses[k].IsNotFound()) continue;
    RETURN_IF_ERROR(FromRocksdb(statuses[k], "read rows from", impl_->DatabasePath()));
    if (values[k].size() != row_bytes) {
      return impl_->WrongSize(table, ids[order[k]], values[k].size(), row_bytes);
    }
    std::memcpy(rows[order[k]], values[k].data(), row_bytes);
    (*found)[order[k]] = true;
  }
  return absl::OkStatus();
}

absl::Status RocksdbStore::Put(int table, absl::Span<const uint64_t> ids, size_t row_bytes,
                               absl::Span<const std::byte* const> rows) {
  if (ids.empty()) return absl::OkStatus();
  if (impl_->db == nullptr) RETURN_IF_ERROR(impl_->Open());
  return ids.size() >= kIngestRows ? impl_->Ingest(table, ids, row_bytes, rows)
                                   : impl_->WriteBatch(table, ids, row_bytes, rows);
}

absl::Status RocksdbStore::ForEach(
    int table, int partition, size_t row_bytes,
    const std::function<absl::Status(uint64_t id, const std::byte* row)>& visit) {
  if (impl_->db == nullptr) return absl::OkStatus();
  rocksdb::ReadOptions read;
  read.fill_cache = false;  // A sweep must not push the working set out.
  const std::unique_ptr<rocksdb::Iterator> it(impl_->db->NewIterator(read));
  for (it->Seek(SliceOf(RowKey(table, partition, 0))); it->Valid(); it->Next()) {
    const RowKey key = RowKey::Parse(it->key().data());
    if (key.table() != table || key.partition() != partition) break;
    if (it->value().size() != row_bytes) {
      return impl_->WrongSize(table, key.id(), it->value().size(), row_bytes);
    }
    RETURN_IF_ERROR(visit(key.id(), reinterpret_cast<const std::byte*>(it->value().data())));
  }
  return FromRocksdb(it->status(), "read rows from", impl_->DatabasePath());
}

}  // namespace pagoda
