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
#include "worker/data/expression.h"
#include "worker/data/format.h"
#include "worker/data/record.h"

namespace pagoda {

// The id (not salted) of a missing value.
inline uint64_t MissingId(uint32_t slot) {
  return slot == 0 ? std::numeric_limits<uint64_t>::max() : kSaltedIdMask;
}

// The stored id (salted) of one value that is not missing, a text or a number; vocabulary 0: not
// bounded. False with *reason, to be read behind the value, when it cannot be one.
bool StoredIdOf(absl::string_view value, uint32_t slot, uint64_t vocabulary, uint64_t* id,
                std::string* reason);
bool StoredIdOf(uint64_t number, uint32_t slot, uint64_t vocabulary, uint64_t* id,
                std::string* reason);

// A task's label, sample space and sample weight, and the features' columns, bound to the fields of
// rows.
// **Thread-safe** (const after Make).
class RowEncoder {
 public:
  // `columns`: names of a row's fields. `tasks` [task]: those that rows can be of; the columns of
  // others, and of tasks without a label, need not be there. `layout` outlives this. UsageError for
  // columns that are not there.
  static absl::StatusOr<RowEncoder> Make(const DatasetConfig& config, const InputLayout& input,
                                         const RecordLayout* layout,
                                         const std::vector<std::string>& columns,
                                         const std::vector<bool>& tasks);

  // `tasks` [task]: those that the row is of, a part of Make's. True with *record filled in, or
  // false with *problem. *record's buffers are reused.
  bool Encode(const Row& row, const std::vector<bool>& tasks, Record* record,
              RowProblem* problem) const;

  // The field that a problem of the task's label is shown at; -1: of none in particular.
  int LabelField(int task) const { return tasks_[task].label.field(); }

 private:
  struct IdField {
    int field;
    uint32_t slot;
    uint64_t vocabulary;  // 0: not bounded.
  };
  struct ListField {
    IdField id;
    size_t max_length;  // The last so many ids are taken.
    bool is_weighted;
    int weights_field;     // -1: weights stand behind the ids, when is_weighted.
    bool allows_negative;  // Weights below 0.
  };
  struct TaskFields {
    bool has_label = false;  // Else nothing of the task is read.
    Expression label;
    bool has_space = false, has_weight = false;
    Expression space, weight;
    double inside_weight = 1, outside_weight = 0;
    TaskConfig::Loss loss = TaskConfig::BCE;
    TaskConfig::LabelTransform transform = TaskConfig::RAW;
    int classes = 0;
  };

  static absl::StatusOr<TaskFields> BindTask(const TaskConfig& task,
                                             const std::vector<std::string>& columns,
                                             bool has_rows);
  bool EncodeId(const IdField& id, absl::string_view text, uint64_t* out,
                RowProblem* problem) const;
  bool EncodeList(const ListField& list, const Row& row, std::vector<uint64_t>* ids,
                  std::vector<float>* weights, RowProblem* problem) const;
  bool EncodeWeight(const ListField& list, int field, absl::string_view text,
                    std::vector<float>* weights, RowProblem* problem) const;
  bool EncodeTask(const TaskFields& task, const Row& row, float* label, float* weight,
                  RowProblem* problem) const;
  bool EncodeSampleWeight(const TaskFields& task, const Row& row, bool counts, float* weight,
                          RowProblem* problem) const;

  const RecordLayout* layout_ = nullptr;
  char list_separator_ = '|';
  std::vector<IdField> ids_;        // [layout.ids]
  std::vector<ListField> lists_;    // [layout.lists]
  std::vector<int> number_fields_;  // [layout.numbers]
  std::vector<TaskFields> tasks_;   // [layout.tasks]
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_ENCODER_H_
