#include "worker/data/ingest.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/random.h"
#include "worker/data/encoder.h"
#include "worker/data/format.h"
#include "worker/data/funnel_check.h"

namespace pagoda {
namespace {

// Rows whose split is decided at the end (TIME) wait in files of this name.
constexpr char kUndecided[] = "undecided";

class Ingester {
 public:
  explicit Ingester(const IngestOptions& options)
      : options_(options),
        config_(*options.config),
        funnel_(config_, options.strict_funnel),
        split_key_(StreamKey(0, "split")),
        negative_key_(StreamKey(0, "negative_sampling")) {
    summary_.positives.resize(config_.task_size());
    summary_.negatives.resize(config_.task_size());
  }

  absl::StatusOr<RecordSummary> Run(const std::vector<ResolvedSource>& sources) {
    ASSIGN_OR_RETURN(format_, FindFormat(config_.format()));
    for (const Split split : kSplits) {
      ASSIGN_OR_RETURN(writers_[split],
                       RecordWriter::Create(options_.layout, options_.folder, SplitName(split)));
    }
    for (size_t begin = 0, end; begin < sources.size(); begin = end) {
      end = begin + 1;
      while (end < sources.size() && sources[end].paths == sources[begin].paths) ++end;
      RETURN_IF_ERROR(ReadSources(absl::MakeConstSpan(&sources[begin], end - begin)));
    }
    RETURN_IF_ERROR(CheckAllSeen());
    if (undecided_ != nullptr) RETURN_IF_ERROR(DecideByTime());
    for (size_t i = 0; i < kSplits.size(); ++i) {
      RETURN_IF_ERROR(writers_[kSplits[i]]->Close());
      summary_.rows[i] = writers_[kSplits[i]]->rows();
    }
    if (quarantine_ != nullptr && std::fflush(quarantine_.get()) != 0) {
      return ErrnoError(errno, "write", options_.quarantine_path);
    }
    return std::move(summary_);
  }

 private:
  struct FileCloser {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  static int64_t EndRow(const ResolvedSource& source) {
    return source.config.has_end_row() ? source.config.end_row()
                                       : std::numeric_limits<int64_t>::max();
  }

  // The tasks that a source's rows are of.
  std::vector<bool> TasksOf(const SourceConfig& source) const {
    const bool is_of_all = source.task_size() == 0 && !source.of_no_task();
    std::vector<bool> tasks(config_.task_size(), is_of_all);
    for (int t = 0; t < config_.task_size(); ++t) {
      for (const std::string& name : source.task()) {
        if (name == config_.task(t).name()) tasks[t] = true;
      }
    }
    return tasks;
  }

  // Sources of the same files, such as one half of a file that validates and one that tests: the
  // files are read once, and each row goes to every source whose range it is in.
  absl::Status ReadSources(absl::Span<const ResolvedSource> sources) {
    source_row_ = 0;
    int64_t end_row = 0;
    std::vector<bool> tasks(config_.task_size());  // Of any of the sources.
    source_tasks_.clear();
    for (const ResolvedSource& source : sources) {
      end_row = std::max(end_row, EndRow(source));
      source_tasks_.push_back(TasksOf(source.config));
      for (size_t t = 0; t < tasks.size(); ++t) tasks[t] = tasks[t] || source_tasks_.back()[t];
    }
    // Other columns are needed; of rows of no task, those that each file has.
    const bool is_of_none = std::find(tasks.begin(), tasks.end(), true) == tasks.end();
    if (is_of_none || tasks != tasks_) encoder_ = nullptr;
    tasks_ = std::move(tasks);
    for (size_t i = 0; i < sources[0].paths.size() && source_row_ < end_row; ++i) {
      RETURN_IF_ERROR(ReadFile(sources, static_cast<int>(i), end_row));
    }
    return absl::OkStatus();
  }

  // The sources' i-th file, up to the sources' row end_row.
  absl::Status ReadFile(absl::Span<const ResolvedSource> sources, int i, int64_t end_row) {
    const std::string& path = sources[0].paths[i];
    name_ = sources[0].names[i];
    ASSIGN_OR_RETURN(std::unique_ptr<RowReader> reader, format_->open(config_, path));
    RETURN_IF_ERROR(BindColumns(reader->columns()));
    Row row;
    while (source_row_ < end_row) {
      absl::StatusOr<bool> more = reader->Next(&row);
      if (!more.ok()) return WithContext(more.status(), name_);
      if (!*more) break;
      const int64_t number = row_number_++, source_row = source_row_++;
      if (!unseen_.empty() && !row.bad) LookForUnseen(row);
      for (size_t s = 0; s < sources.size(); ++s) {
        const SourceConfig& source = sources[s].config;
        if (source_row < source.first_row() || source_row >= EndRow(sources[s])) continue;
        RETURN_IF_ERROR(TakeRow(source, source_tasks_[s], number, row));
      }
    }
    return absl::OkStatus();
  }

  // Where rows name their values, a misspelt column would be a missing value in each of them.
  void LookForUnseen(const Row& row) {
    const auto is_there = [&](int column) { return !row.fields[column].empty(); };
    unseen_.erase(std::remove_if(unseen_.begin(), unseen_.end(), is_there), unseen_.end());
  }

  absl::Status CheckAllSeen() const {
    if (unseen_.empty() || row_number_ == summary_.bad_rows) return absl::OkStatus();
    const std::string& column = columns_[unseen_[0]];
    return DataError(absl::StrCat("column \"", column,
                                  "\": no row has it; if that is right, name all "
                                  "columns in dataset.column"));
  }

  // A file's columns bind everything. Later files must carry the same, unless they are of other
  // tasks.
  absl::Status BindColumns(const std::vector<std::string>& columns) {
    if (encoder_ != nullptr) {
      if (columns == columns_) return absl::OkStatus();
      return DataError(absl::StrCat(name_, ":1: the header differs from that of the files before"));
    }
    std::vector<std::string> sorted = columns;
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) {
      return DataError(
          absl::StrCat(name_, ":1: the header has two columns called \"", *twice, "\""));
    }
    if (columns_.empty() && format_->names_values && config_.column_size() == 0) {
      unseen_.resize(columns.size());
      std::iota(unseen_.begin(), unseen_.end(), 0);
    }
    columns_ = columns;
    absl::StatusOr<RowEncoder> encoder =
        RowEncoder::Make(config_, *options_.input, options_.layout, columns_, tasks_);
    if (!encoder.ok()) return WithContext(encoder.status(), name_);
    encoder_ = std::make_unique<RowEncoder>(*std::move(encoder));
    filters_.clear();
    for (const std::string& text : config_.filter()) {
      ASSIGN_OR_RETURN(Expression filter, Expression::ParseOrColumn(text, columns_));
      RETURN_IF_ERROR(WithContext(filter.Bind(columns_), "dataset.filter"));
      filters_.push_back(std::move(filter));
    }
    if (!config_.split().column().empty()) {
      const auto found = std::find(columns_.begin(), columns_.end(), config_.split().column());
      if (found == columns_.end()) {
        return UsageError(absl::StrCat("dataset.split.column: no column \"",
                                       config_.split().column(), "\" in ", name_,
                                       NearestHint(config_.split().column(), columns_)));
      }
      split_field_ = static_cast<int>(found - columns_.begin());
    }
    return absl::OkStatus();
  }

  absl::Status TakeRow(const SourceConfig& source, const std::vector<bool>& tasks, int64_t number,
                       const Row& row) {
    if (row.bad) return Refuse(row, row.problem);
    RowProblem problem;
    for (const Expression& filter : filters_) {
      bool keep;
      if (!filter.Test(row.fields, &keep, &problem)) return Refuse(row, problem);
      if (!keep) return absl::OkStatus();
    }
    if (!encoder_->Encode(row, tasks, &record_, &problem)) return Refuse(row, problem);
    if (const int step = funnel_.FindBreak(record_, &problem.reason); step >= 0) {
      problem.field = encoder_->LabelField(step);
      return Refuse(row, problem);
    }
    if (source.split() != SPLIT_UNSET) return Write(source.split(), number);
    if (config_.split().by() != SplitConfig::TIME) return Write(DrawSplit(number, row), number);
    double time;
    if (!ParseNumber(row.fields[split_field_], &time)) {
      return Refuse(row, {split_field_, "the time that decides the split is not a number"});
    }
    if (undecided_ == nullptr) {
      ASSIGN_OR_RETURN(undecided_,
                       RecordWriter::Create(options_.layout, options_.folder, kUndecided));
    }
    times_.push_back(time);
    undecided_numbers_.push_back(number);
    return undecided_->Append(record_);
  }

  absl::Status Write(Split split, int64_t number) {
    if (split == TRAIN) {
      if (!SampleNegatives(number)) return absl::OkStatus();
      for (size_t t = 0; t < summary_.positives.size(); ++t) {
        if (!(record_.weights[t] > 0)) continue;
        summary_.positives[t] += record_.labels[t] == 1;
        summary_.negatives[t] += record_.labels[t] == 0;
      }
    }
    return writers_[split]->Append(record_);
  }

  // Takes the weight from negatives that a task's negative_sampling leaves out. The draw is of the
  // row alone, so that what one task keeps a task with a higher share keeps too. False when the row
  // goes: it then weighs nothing in any task.
  bool SampleNegatives(int64_t number) {
    bool left_out = false, weighs = false;
    for (int t = 0; t < config_.task_size(); ++t) {
      const double share = config_.task(t).negative_sampling();
      float& weight = record_.weights[t];
      if (share < 1 && record_.labels[t] == 0 && weight != 0) {
        const float draw = ToUnitFloat(Philox(negative_key_, 0, static_cast<uint64_t>(number))[0]);
        if (draw >= share) {
          weight = std::copysign(0.0f, weight);
          left_out = true;
        }
      }
      weighs |= weight != 0;
    }
    return weighs || !left_out || options_.keeps_weightless;
  }

  // By shares: a draw in [0, train + valid + test) that depends on the row's number or one value
  // alone.
  Split DrawSplit(int64_t number, const Row& row) const {
    const SplitConfig& split = config_.split();
    const uint64_t draw = split.by() == SplitConfig::COLUMN
                              ? MixId(HashBytes(row.fields[split_field_]))
                              : Philox(split_key_, 0, static_cast<uint64_t>(number))[0];
    const int64_t shares = int64_t{split.train()} + split.valid() + split.test();
    const int64_t share = static_cast<int64_t>(draw % static_cast<uint64_t>(shares));
    return share < split.train() ? TRAIN : share < split.train() + split.valid() ? VALID : TEST;
  }

  // The oldest rows train, the newest test; equal times stay in reading order. Inside a split, too,
  // rows keep it.
  absl::Status DecideByTime() {
    RETURN_IF_ERROR(undecided_->Close());
    const int64_t rows = undecided_->rows();
    std::vector<int64_t> by_time(rows);
    std::iota(by_time.begin(), by_time.end(), 0);
    std::stable_sort(by_time.begin(), by_time.end(),
                     [&](int64_t a, int64_t b) { return times_[a] < times_[b]; });
    const SplitConfig& shares = config_.split();
    const int64_t total = int64_t{shares.train()} + shares.valid() + shares.test();
    const int64_t train_end = static_cast<int64_t>(__int128{rows} * shares.train() / total);
    const int64_t valid_end =
        static_cast<int64_t>(__int128{rows} * (shares.train() + shares.valid()) / total);
    std::vector<Split> splits(rows);
    for (int64_t i = 0; i < rows; ++i) {
      splits[by_time[i]] = i < train_end ? TRAIN : i < valid_end ? VALID : TEST;
    }
    {
      ASSIGN_OR_RETURN(const std::unique_ptr<RecordFile> records,
                       RecordFile::Open(options_.layout, options_.folder, kUndecided, rows));
      for (int64_t i = 0; i < rows; ++i) {
        records->Read(i, &record_);
        RETURN_IF_ERROR(Write(splits[i], undecided_numbers_[i]));
      }
    }
    for (const std::string& path : RecordPaths(options_.folder, kUndecided)) {
      RETURN_IF_ERROR(RemoveTree(path));
    }
    return absl::OkStatus();
  }

  // A bad row: an error, or a line in the quarantine file.
  absl::Status Refuse(const Row& row, const RowProblem& problem) {
    std::string where = absl::StrCat(name_, ":", row.line);
    if (problem.field >= 0) {
      absl::StrAppend(&where, ":", problem.field + 1, ": ");
      if (problem.field < static_cast<int>(columns_.size())) {
        absl::StrAppend(&where, columns_[problem.field], ": ");
      }
    } else {
      absl::StrAppend(&where, ":", std::max<int64_t>(1, problem.byte), ": ");
    }
    const std::string message = where + problem.reason;
    if (config_.bad_rows() == FAIL) {
      return DataError(absl::StrCat(
          message, "; mend the row, or set dataset { bad_rows: SKIP } to pass over such rows"));
    }
    if (++summary_.bad_rows > config_.bad_rows_cap()) {
      return DataError(absl::StrCat(message, "; more than ", config_.bad_rows_cap(),
                                    " bad rows (dataset.bad_rows_cap)"));
    }
    return Quarantine(message, row.text);
  }

  absl::Status Quarantine(const std::string& message, absl::string_view text) {
    // Enough to find the row by; a damaged file's rows can be megabytes.
    constexpr size_t kShownBytes = 4096;
    if (options_.quarantine_path.empty()) return absl::OkStatus();
    if (quarantine_ == nullptr) {
      quarantine_.reset(std::fopen(options_.quarantine_path.c_str(), "wb"));
      if (quarantine_ == nullptr) return ErrnoError(errno, "create", options_.quarantine_path);
    }
    const std::string line = absl::StrCat(message, "\t", text.substr(0, kShownBytes), "\n");
    if (std::fwrite(line.data(), 1, line.size(), quarantine_.get()) != line.size()) {
      return ErrnoError(errno, "write", options_.quarantine_path);
    }
    return absl::OkStatus();
  }

  const IngestOptions& options_;
  const DatasetConfig& config_;
  const FunnelCheck funnel_;
  const uint64_t split_key_, negative_key_;
  const FormatInfo* format_ = nullptr;
  std::string name_;  // Of the file being read.
  std::vector<std::string> columns_;
  std::vector<int> unseen_;  // Columns that no row has had yet, where that counts.
  std::vector<std::vector<bool>> source_tasks_;  // [source being read, task]: its rows are of it.
  std::vector<bool> tasks_;                      // [task] any of them are.
  std::unique_ptr<RowEncoder> encoder_;  // Of columns_ and tasks_; null before the first file.
  std::vector<Expression> filters_;
  int split_field_ = -1;
  int64_t row_number_ = 0;                                // Of the next row read, over all files.
  int64_t source_row_ = 0;                                // Of the next row in its source.
  std::array<std::unique_ptr<RecordWriter>, 4> writers_;  // [Split]
  std::unique_ptr<RecordWriter> undecided_;
  std::vector<double> times_;               // Of the undecided rows.
  std::vector<int64_t> undecided_numbers_;  // Their numbers.
  Record record_;
  std::unique_ptr<std::FILE, FileCloser> quarantine_;
  RecordSummary summary_;
};

// "WORD n n n": the numbers, when the line is that.
template <typename Number = int64_t>
absl::StatusOr<std::vector<Number>> NumbersAfter(absl::string_view word, absl::string_view line) {
  const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
  std::vector<Number> numbers(parts.size() - 1);
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!absl::SimpleAtoi(parts[i + 1], &numbers[i])) return DataError("not a number");
  }
  if (parts[0] != word) return DataError(absl::StrCat("no line \"", word, "\""));
  return numbers;
}

}  // namespace

std::string RecordSummary::ToText() const {
  std::string text = absl::StrCat("pagoda-records ", kRecordVersion, "\nrows ",
                                  absl::StrJoin(rows, " "), "\nbad_rows ", bad_rows, "\npositives");
  for (const int64_t count : positives) absl::StrAppend(&text, " ", count);
  absl::StrAppend(&text, "\nnegatives");
  for (const int64_t count : negatives) absl::StrAppend(&text, " ", count);
  return absl::StrCat(text, "\nstamp ", bytes, " ", checksum, "\n");
}

absl::StatusOr<RecordSummary> RecordSummary::FromText(const std::string& text) {
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (lines.size() != 7 || lines[0] != absl::StrCat("pagoda-records ", kRecordVersion)) {
    return DataError(absl::StrCat("not a summary of records, version ", kRecordVersion));
  }
  RecordSummary summary;
  ASSIGN_OR_RETURN(const std::vector<int64_t> rows, NumbersAfter("rows", lines[1]));
  ASSIGN_OR_RETURN(const std::vector<int64_t> bad_rows, NumbersAfter("bad_rows", lines[2]));
  ASSIGN_OR_RETURN(summary.positives, NumbersAfter("positives", lines[3]));
  ASSIGN_OR_RETURN(summary.negatives, NumbersAfter("negatives", lines[4]));
  ASSIGN_OR_RETURN(const std::vector<uint64_t> stamp, NumbersAfter<uint64_t>("stamp", lines[5]));
  if (rows.size() != kSplits.size() || bad_rows.size() != 1 || stamp.size() != 2) {
    return DataError("a line is short");
  }
  std::copy(rows.begin(), rows.end(), summary.rows.begin());
  summary.bad_rows = bad_rows[0];
  summary.bytes = stamp[0];
  summary.checksum = stamp[1];
  return summary;
}

absl::StatusOr<RecordSummary> Ingest(const IngestOptions& options,
                                     const std::vector<ResolvedSource>& sources) {
  return Ingester(options).Run(sources);
}

}  // namespace pagoda
