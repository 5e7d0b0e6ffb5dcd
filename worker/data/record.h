// Records: examples as fixed-width rows of bytes, in files that every rank maps into memory.
//
// folder  = CACHE_DIR/NAME-FINGERPRINT/    written as ....tmp and renamed: whole, or not there
// files   = SPLIT.records SPLIT.lists summary             SPLIT = train | valid | test
// records = record*                        record n stands at byte n * RecordLayout::bytes
// record  = id u64 * ids | (begin u64, count u64) * lists | number f32 * numbers
//           | label f32 * tasks | weight f32 * tasks | zeros to a multiple of 8 bytes
// lists   = (id u64 * | id u64 * weight f32 *) *     a list has `count` ids from word `begin` on, a
//           weighted one as many weights behind them, padded to 8 bytes
// summary = "pagoda-records 3\n" "rows" train valid test "\n" "bad_rows" n "\n"
//           "positives" n... "\n" "negatives" n... "\n" "stamp" bytes checksum "\n"
//
// All little-endian. A weight's sign bit is set outside of the task's sample space. A record is one
// row, not one column, since a shuffled epoch reads records at random: one record is a handful of
// neighbouring cache lines. Ids are stored ids (salted). Numbers are the raw values, one a column
// that any dense or bucket feature reads, NaN when missing; statistics are applied when a batch is
// filled, so that the files do not depend on them.
#ifndef PAGODA_WORKER_DATA_RECORD_H_
#define PAGODA_WORKER_DATA_RECORD_H_

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/io/file.h"
#include "proto/config.pb.h"

namespace pagoda {

inline constexpr int kRecordVersion = 3;
inline constexpr std::array<Split, 3> kSplits = {TRAIN, VALID, TEST};
// "train", "valid", "test".
const char* SplitName(Split split);

// The two files of records under this name: records and lists.
std::array<std::string, 2> RecordPaths(const std::string& folder, const std::string& name);

// Where a feature's value stands in a record: the index among the record's ids, lists or numbers;
// -1: nowhere, a cross is made from other features' values.
struct FeaturePlace {
  FeatureConfig::Kind kind;
  int index;
};

// Whether values come from an id column: a list, or (when it is no cross) one id.
bool IsList(const FeatureConfig& feature);
bool IsWeighted(const FeatureConfig& feature);
// The column that a feature reads; of a cross none.
const std::string& ColumnOf(const FeatureConfig& feature);

// **Thread-safe** (const after construction).
struct RecordLayout {
  explicit RecordLayout(const DatasetConfig& config);

  std::vector<FeaturePlace> features;       // [feature], in configuration order.
  std::vector<std::string> number_columns;  // [numbers]
  std::vector<bool> list_is_weighted;       // [lists]
  int ids = 0, lists = 0, numbers = 0, tasks = 0;
  size_t lists_at, numbers_at, labels_at, weights_at;  // Byte offsets in a record; ids stand at 0.
  size_t bytes;                                        // Of one record.
};

// One example before it is written.
struct Record {
  std::vector<uint64_t> ids;                     // [ids]
  std::vector<std::vector<uint64_t>> lists;      // [lists]
  std::vector<std::vector<float>> list_weights;  // [lists], empty where not weighted.
  std::vector<float> numbers;                    // [numbers]
  std::vector<float> labels;                     // [tasks]
  std::vector<float> weights;                    // [tasks] -0.0 or less outside the sample space.
};

// Appends records to the two files of one split. **Confined to one thread.**
class RecordWriter {
 public:
  static absl::StatusOr<std::unique_ptr<RecordWriter>> Create(const RecordLayout* layout,
                                                              const std::string& folder,
                                                              const std::string& name);
  absl::Status Append(const Record& record);
  // Flushes and syncs. REQUIRES: nothing is appended afterwards.
  absl::Status Close();
  int64_t rows() const { return rows_; }

 private:
  struct FileCloser {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  struct OutputFile {
    std::string path;
    std::unique_ptr<std::FILE, FileCloser> file;
  };

  explicit RecordWriter(const RecordLayout* layout) : layout_(layout) {}

  absl::Status AppendWords(const uint64_t* words, size_t count);  // To the lists.

  const RecordLayout* const layout_;
  OutputFile records_, lists_;
  std::vector<std::byte> bytes_;  // One record.
  std::vector<uint64_t> weight_words_;
  int64_t rows_ = 0;
  uint64_t list_words_ = 0;
};

// The two files of one split, mapped. **Thread-safe** (const).
class RecordFile {
 public:
  // `rows`: what the summary says. DataError when the files are not of that size.
  static absl::StatusOr<std::unique_ptr<RecordFile>> Open(const RecordLayout* layout,
                                                          const std::string& folder,
                                                          const std::string& name, int64_t rows);
  int64_t rows() const { return rows_; }
  const std::byte* record(int64_t number) const { return records_ + number * layout_->bytes; }
  // The ids of list `list` of a record, and its weights when it is weighted, else null. DataError
  // when they lie outside the file.
  absl::Status List(int64_t number, int list, absl::Span<const uint64_t>* ids,
                    const float** weights) const;
  // The inverse of RecordWriter::Append.
  void Read(int64_t number, Record* record) const;

 private:
  explicit RecordFile(const RecordLayout* layout) : layout_(layout) {}

  const RecordLayout* const layout_;
  std::unique_ptr<MappedFile> records_file_, lists_file_;
  const std::byte* records_ = nullptr;
  absl::Span<const uint64_t> list_words_;
  int64_t rows_ = 0;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_RECORD_H_
