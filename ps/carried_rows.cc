#include "ps/carried_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "common/errors.h"
#include "common/optim/same_state.h"
#include "ps/store/row_files.h"
#include "ps/table/row.h"

namespace pagoda {
namespace {

// How a row of one stored table becomes one of a table of the new job.
class Carrier {
 public:
  static absl::StatusOr<Carrier> Make(const Schema& from, int from_table, const Schema& to,
                                      int to_table) {
    const TableSchema& stored = from.table(from_table);
    if (stored.dim() != to.table(to_table).dim()) {
      return UsageError(absl::StrCat("table ", stored.name(), " has dim ", stored.dim(),
                                     ", this model wants ", to.table(to_table).dim()));
    }
    ASSIGN_OR_RETURN(RowLayout source, RowLayout::Make(from, from_table));
    ASSIGN_OR_RETURN(RowLayout target, RowLayout::Make(to, to_table));
    Carrier carrier(std::move(target), to_table, source.row_bytes());
    const size_t weight_bytes = carrier.layout_.dim() * sizeof(float);
    carrier.copies_.push_back({RowLayout::kWeightsOffset, RowLayout::kWeightsOffset, weight_bytes});
    for (const RowOptimizer& optimizer : carrier.layout_.optimizers()) {
      const OptimizerSchema& wanted = to.optimizer(static_cast<int>(optimizer.schema_index));
      for (const RowOptimizer& one : source.optimizers()) {
        const OptimizerSchema& there = from.optimizer(static_cast<int>(one.schema_index));
        if (!HaveSameState(there, wanted)) continue;
        const int64_t state = optimizer.rule->state_size(carrier.layout_.dim());
        carrier.copies_.push_back(
            {one.state_offset, optimizer.state_offset, state * sizeof(float)});
      }
    }
    return carrier;
  }

  int table() const { return table_; }

  // The new row stands in the carrier until the next call. DataError: not a row of that table.
  absl::StatusOr<absl::Span<const std::byte>> Carry(uint64_t id, absl::Span<const std::byte> row) {
    if (row.size() != source_bytes_) {
      return DataError(absl::StrCat("table ", layout_.name(), " id ", id, ": row of ", row.size(),
                                    " bytes, its checkpoint's have ", source_bytes_));
    }
    layout_.InitialRow(id, row_.data());
    for (const Copy& copy : copies_) {
      std::memcpy(row_.data() + copy.to, row.data() + copy.from, copy.bytes);
    }
    return absl::MakeConstSpan(row_);
  }

 private:
  struct Copy {
    size_t from, to, bytes;
  };
  Carrier(RowLayout layout, int table, size_t source_bytes)
      : layout_(std::move(layout)),
        table_(table),
        source_bytes_(source_bytes),
        row_(layout_.row_bytes()) {}

  RowLayout layout_;
  int table_;
  size_t source_bytes_;
  std::vector<Copy> copies_;
  std::vector<std::byte> row_;
};

// [stored table]: empty for one that the new job does not have.
absl::StatusOr<std::vector<std::optional<Carrier>>> MakeCarriers(const Schema& from,
                                                                 const Schema& to) {
  std::vector<std::optional<Carrier>> carriers;
  for (int s = 0; s < from.table_size(); ++s) {
    carriers.emplace_back();
    for (int t = 0; t < to.table_size(); ++t) {
      if (from.table(s).name() != to.table(t).name()) continue;
      ASSIGN_OR_RETURN(carriers.back(), Carrier::Make(from, s, to, t));
    }
  }
  return carriers;
}

}  // namespace

absl::StatusOr<std::vector<RowFile>> CarryRows(const std::string& checkpoint,
                                               const Manifest& manifest, const Schema& schema,
                                               const std::string& directory) {
  auto carriers = MakeCarriers(manifest.schema(), schema);
  if (!carriers.ok()) return WithContext(carriers.status(), checkpoint);
  std::vector<RowFile> files;
  for (const RowFile& file : manifest.rows()) {
    // A file a table: the new job may number its tables in another order.
    std::vector<std::unique_ptr<RowFileWriter>> writers(schema.table_size());
    for (int t = 0; t < schema.table_size(); ++t) {
      const std::string name = absl::StrFormat("warm-%05d-%05d.sst", files.size(), t);
      ASSIGN_OR_RETURN(writers[t], RowFileWriter::Create(directory, name, file.first_partition(),
                                                         file.end_partition()));
    }
    const auto carry = [&](int table, uint64_t id,
                           absl::Span<const std::byte> row) -> absl::Status {
      if (table >= static_cast<int>(carriers->size())) {
        return DataError(absl::StrCat(checkpoint, "/", file.name(), ": a row of table ", table));
      }
      std::optional<Carrier>& carrier = (*carriers)[table];
      if (!carrier.has_value()) return absl::OkStatus();
      ASSIGN_OR_RETURN(const auto carried, carrier->Carry(id, row));
      return writers[carrier->table()]->Add(carrier->table(), id, carried);
    };
    RETURN_IF_ERROR(
        ReadRowFile(checkpoint, file, file.first_partition(), file.end_partition(), carry));
    for (const auto& writer : writers) {
      ASSIGN_OR_RETURN(RowFile written, writer->Finish());
      if (written.rows() > 0) files.push_back(std::move(written));
    }
  }
  return files;
}

}  // namespace pagoda
