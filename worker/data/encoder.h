// Rows to records: ids, numbers, labels and weights, with every value checked against its domain.
//
// An id is a non-negative integer literal as it is, any other text hashed (XXH3-64). In a shared
// table (slot > 0) an id has 48 bits: hashes are cut, larger integers are refused. Missing is an id
// of its own, the largest of the domain.
#ifndef PAGODA_WORKER_DATA_ENCODER_H_
#define PAGODA_WORKER_DATA_ENCODER_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/hash.h"
#include "proto/config.pb.h"
#include "worker/data/batch.h"
#include "worker/data/format.h"
#include "worker/data/predicate.h"
#include "worker/data/record.h"

namespace pagoda {

// The id (not salted) of a missing value.
inline uint64_t MissingId(uint32_t slot) {
  return slot == 0 ? std::numeric_limits<uint64_t>::max() : kSaltedIdMask;
}

// A task's label, sample space and sample weight, and the features' columns, bound to the fields of
// rows.
// **Thread-safe** (const after Make).
class RowEncoder {
 public:
  // `columns`: names of a row's fields. `layout` outlives this. UsageError for columns that are not
  // there.
  static absl::StatusOr<RowEncoder> Make(const DatasetConfig& config, const InputLayout& input,
                                         const RecordLayout* layout,
                                         const std::vector<std::string>& columns);

  // True with *record filled in, or false with *problem. *record's buffers are reused.
  bool Encode(const Row& row, Record* record, RowProblem* problem) const;

 private:
  struct IdField {
    int field;
    uint32_t slot;
    uint64_t vocabulary;  // 0: not bounded.
  };
  struct TaskFields {
    Predicate label;       // When label_field is -1.
    int label_field = -1;  // The label is this field's number.
    bool has_space = false;
    Predicate space;
    int weight_field = -1;  // -1: weight 1.
    bool is_binary = true;  // BCE: labels 0 and 1 only.
  };

  bool EncodeId(const IdField& id, absl::string_view text, uint64_t* out,
                RowProblem* problem) const;
  bool EncodeList(const IdField& id, absl::string_view text, std::vector<uint64_t>* out,
                  RowProblem* problem) const;
  bool EncodeTask(const TaskFields& task, const Row& row, float* label, float* weight,
                  RowProblem* problem) const;

  const RecordLayout* layout_ = nullptr;
  char list_separator_ = '|';
  std::vector<IdField> ids_;        // [layout.ids]
  std::vector<IdField> lists_;      // [layout.lists]
  std::vector<int> number_fields_;  // [layout.numbers]
  std::vector<TaskFields> tasks_;   // [layout.tasks]
};

// The label is a column's number when `label` is nothing but a column's name (in `` or not);
// *column is set then.
bool IsColumnLabel(absl::string_view label, const std::vector<std::string>& columns,
                   std::string* column);

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_ENCODER_H_
