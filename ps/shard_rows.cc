// What a shard does with all of its rows: load, write, digest, count.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checkpoint/manifest.h"
#include "common/errors.h"
#include "ps/shard_impl.h"
#include "ps/store/row_files.h"

namespace pagoda {
namespace {

// table in the checkpoint's schema -> table in this job's.
absl::StatusOr<std::vector<int>> MatchTables(const Schema& stored, const Schema& wanted) {
  std::vector<int> match;
  for (const TableSchema& table : stored.table()) {
    int found = -1;
    for (int i = 0; i < wanted.table_size(); ++i) {
      if (wanted.table(i).name() == table.name()) found = i;
    }
    if (found < 0) {
      return DataError(absl::StrCat("it has a table ", table.name(),
                                    ", the model has none of that ",
                                    "name: the checkpoint is another model's"));
    }
    match.push_back(found);
  }
  return match;
}

bool Overlap(const PartitionRange& a, const PartitionRange& b) {
  return a.first < b.end && b.first < a.end;
}

PartitionRange PartitionsOf(const RowFile& file) {
  return {static_cast<int>(file.first_partition()), static_cast<int>(file.end_partition())};
}

// Puts rows that come in key order into their tables' store, kBytes at a time.
class ColdRows {
 public:
  explicit ColdRows(const std::vector<std::unique_ptr<Table>>* tables) : tables_(*tables) {}

  absl::Status Add(int table, uint64_t id, absl::Span<const std::byte> row) {
    if (table != table_ || bytes_.size() + row.size() > kBytes) RETURN_IF_ERROR(Flush());
    table_ = table;
    ids_.push_back(id);
    bytes_.insert(bytes_.end(), row.begin(), row.end());
    return absl::OkStatus();
  }
  absl::Status Flush() {
    if (ids_.empty()) return absl::OkStatus();
    const absl::Status put = tables_[table_]->InsertNewInStore(ids_, bytes_.data());
    ids_.clear();
    bytes_.clear();
    return put;
  }

 private:
  static constexpr size_t kBytes = size_t{4} << 20;
  const std::vector<std::unique_ptr<Table>>& tables_;
  int table_ = -1;
  std::vector<uint64_t> ids_;
  std::vector<std::byte> bytes_;  // [ids, row_bytes]
};

}  // namespace

// Rows of the checkpoint's files that are this shard's, by their bytes.
bool Shard::Impl::FitsBudget(const Manifest& manifest) const {
  if (!job_->budget.limited()) return true;
  double bytes = 0;
  for (const RowFile& file : manifest.rows()) {
    const PartitionRange range = PartitionsOf(file);
    const int first = std::max(job_->first_partition, range.first);
    const int end = std::min(job_->end_partition, range.end);
    if (first >= end) continue;
    bytes += static_cast<double>(file.bytes()) * (end - first) / (range.end - range.first);
  }
  return bytes <= static_cast<double>(job_->budget.limit_bytes);
}

absl::Status Shard::Impl::LoadCheckpoint() {
  const std::string& directory = job_->hello.checkpoint();
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  absl::StatusOr<std::vector<int>> tables = MatchTables(manifest.schema(), job_->hello.schema());
  if (!tables.ok()) return WithContext(tables.status(), directory);
  // Rows that do not fit go to the store at once, in key order: through memory, they would spill
  // each other and crowd one stretch of the index.
  const bool fits = FitsBudget(manifest);
  ColdRows cold(&job_->tables);
  std::vector<PartitionRange> covered;  // By the files read so far.
  bool may_be_there = false;
  const auto insert = [&](int stored_table, uint64_t id,
                          absl::Span<const std::byte> row) -> absl::Status {
    if (stored_table >= static_cast<int>(tables->size())) {
      return DataError(
          absl::StrCat(directory, ": a row of table ", stored_table, " of ", tables->size()));
    }
    const int table_index = (*tables)[stored_table];
    Table& table = *job_->tables[table_index];
    if (row.size() != table.layout().row_bytes()) {
      return DataError(absl::StrCat(directory, ": table ", table.layout().name(), " id ", id,
                                    ": row of ", row.size(), " bytes, this model's have ",
                                    table.layout().row_bytes(),
                                    ": dim and optimizers must be those of the checkpoint"));
    }
    if (may_be_there) return table.Insert(id, row.data());
    return fits ? table.InsertNew(id, row.data()) : cold.Add(table_index, id, row);
  };
  for (const RowFile& file : manifest.rows()) {
    // Keys are unique in a file; only a later file over the same partitions can repeat one.
    const PartitionRange range = PartitionsOf(file);
    may_be_there =
        absl::c_any_of(covered, [&](const PartitionRange& one) { return Overlap(one, range); });
    covered.push_back(range);
    // No more than the file says it covers: so that what another file brings is new.
    const int first = std::max(job_->first_partition, range.first);
    const int end = std::min(job_->end_partition, range.end);
    if (first >= end) continue;
    RETURN_IF_ERROR(fits ? ReadRowFileInRounds(directory, file, first, end, insert)
                         : ReadRowFile(directory, file, first, end, insert));
    RETURN_IF_ERROR(cold.Flush());
  }
  return absl::OkStatus();
}

absl::Status Shard::Impl::ForEachRow(const VisitRow& visit) {
  for (size_t i = 0; i < job_->tables.size(); ++i) {
    Table& table = *job_->tables[i];
    const size_t row_bytes = table.layout().row_bytes();
    for (int partition = job_->first_partition; partition < job_->end_partition; ++partition) {
      RETURN_IF_ERROR(table.ForEach(partition, [&](uint64_t id, const std::byte* row) {
        return visit(static_cast<int>(i), id, absl::MakeConstSpan(row, row_bytes));
      }));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Message> Shard::Impl::HandleCheckpoint(const CheckpointRequest& request) {
  if (request.step() != job_->next_step) {
    return TemporaryError(absl::StrCat("checkpoint of step ", request.step(), ": this shard has ",
                                       "applied ", job_->next_step, " steps"));
  }
  const std::string name = absl::StrFormat("rows-%05d.sst", job_->hello.shard());
  ASSIGN_OR_RETURN(auto writer, RowFileWriter::Create(request.directory(), name,
                                                      job_->first_partition, job_->end_partition));
  RowDigest digest;
  RETURN_IF_ERROR(ForEachRow([&](int table, uint64_t id, absl::Span<const std::byte> row) {
    digest.AddRow(job_->tables[table]->layout().name(), id, row);
    return writer->Add(table, id, row);
  }));
  ASSIGN_OR_RETURN(const RowFile file, writer->Finish());
  if (file.rows() != RowCount()) {
    return DataError(absl::StrCat("checkpoint ", request.directory(), ": wrote ", file.rows(),
                                  " rows, the tables have ", RowCount(), ": the store is damaged"));
  }
  Message reply;
  CheckpointReply& body = *reply.header.mutable_checkpoint_reply();
  if (file.rows() > 0) *body.add_file() = file;
  body.set_digest_high(digest.high());
  body.set_digest_low(digest.low());
  body.set_rows(file.rows());
  return reply;
}

absl::StatusOr<Message> Shard::Impl::HandleDigest() {
  RowDigest digest;
  uint64_t rows = 0;
  RETURN_IF_ERROR(ForEachRow([&](int table, uint64_t id, absl::Span<const std::byte> row) {
    digest.AddRow(job_->tables[table]->layout().name(), id, row);
    ++rows;
    return absl::OkStatus();
  }));
  if (rows != RowCount()) {
    return DataError(absl::StrCat("digest: found ", rows, " rows, the tables have ", RowCount(),
                                  ": the store is damaged"));
  }
  Message reply;
  reply.header.mutable_digest_reply()->set_digest_high(digest.high());
  reply.header.mutable_digest_reply()->set_digest_low(digest.low());
  reply.header.mutable_digest_reply()->set_rows(rows);
  return reply;
}

Message Shard::Impl::HandleStatus() const {
  Message reply;
  StatusReply& status = *reply.header.mutable_status_reply();
  status.set_duplicate_requests(duplicate_requests_);
  status.set_refused_requests(refused_requests_);
  status.set_holder(Holder());
  if (job_ == nullptr) return reply;
  status.set_applied_step(job_->next_step);
  for (const std::unique_ptr<Table>& table : job_->tables) {
    const TableStats stats = table->stats();
    status.set_rows(status.rows() + stats.rows);
    status.set_resident_rows(status.resident_rows() + stats.resident_rows);
    status.set_resident_bytes(status.resident_bytes() + stats.resident_bytes);
    status.set_spills(status.spills() + stats.spills);
    status.set_reloads(status.reloads() + stats.reloads);
    TableStatus& one = *status.add_table();
    one.set_name(table->layout().name());
    one.set_rows(stats.rows);
    one.set_row_bytes(static_cast<uint32_t>(table->layout().row_bytes()));
  }
  return reply;
}

uint64_t Shard::Impl::RowCount() const {
  uint64_t rows = 0;
  for (const std::unique_ptr<Table>& table : job_->tables) rows += table->stats().rows;
  return rows;
}

}  // namespace pagoda
