// Delimited text: CSV (RFC 4180 quotes), TSV and their like.
//
// A row ends at LF or CR LF outside quotes; a field that opens with a quote may hold delimiters and
// line ends, and a doubled quote stands for one. Lines with nothing on them are passed over. A row
// is bad when its number of fields is wrong, when it holds a NUL byte or bytes that are not UTF-8,
// when text follows a closing quote, when a quote never closes, and when it is longer than
// kMaxRowBytes; reading goes on with the line after it.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "worker/data/format.h"
#include "worker/data/lines.h"

namespace pagoda {
namespace {

struct CsvSettings {
  char delimiter = ',';
  bool header = false, quoted = true, trim = true;
  absl::flat_hash_set<std::string> missing;
};

absl::StatusOr<CsvSettings> SettingsOf(const DatasetConfig& config) {
  CsvSettings settings;
  const CsvConfig& csv = config.csv();
  const std::string& delimiter = csv.delimiter();
  if (delimiter.size() != 1 || delimiter == "\"" || delimiter == "\n" || delimiter == "\r") {
    return UsageError(absl::StrCat("dataset.csv.delimiter: \"", delimiter,
                                   "\" is not one byte other than a quote and a line end"));
  }
  const std::string& separator = csv.list_separator();
  if (separator.size() != 1 || separator == delimiter) {
    return UsageError(absl::StrCat("dataset.csv.list_separator: \"", separator,
                                   "\" is not one byte other than the delimiter"));
  }
  settings.delimiter = delimiter[0];
  settings.header = csv.header();
  settings.quoted = csv.quoted();
  settings.trim = csv.trim();
  settings.missing.insert(csv.missing().begin(), csv.missing().end());
  return settings;
}

class CsvReader : public RowReader {
 public:
  CsvReader(CsvSettings settings, std::string path, std::unique_ptr<ByteReader> bytes)
      : settings_(std::move(settings)), path_(std::move(path)), bytes_(std::move(bytes)) {}

  // `columns`: the configuration's, used when the file carries no header.
  absl::Status Start(std::vector<std::string> columns) {
    columns_ = std::move(columns);
    RETURN_IF_ERROR(ReadMore());
    if (absl::string_view(buffer_.data(), end_).substr(0, 3) == "\xEF\xBB\xBF") at_ = 3;
    if (!settings_.header) return absl::OkStatus();
    Row row;
    ASSIGN_OR_RETURN(const bool found, Next(&row));
    if (!found) return DataError(absl::StrCat(path_, ":1: no header line: the file is empty"));
    if (row.bad) return DataError(absl::StrCat(path_, ":1: header: ", row.problem.reason));
    for (const absl::string_view name : row.fields) columns_.push_back(std::string(name));
    return absl::OkStatus();
  }

  const std::vector<std::string>& columns() const override { return columns_; }

  absl::StatusOr<bool> Next(Row* row) override {
    for (;;) {
      ASSIGN_OR_RETURN(const size_t bytes, FindRow());
      if (bytes == 0 && damage_ != Damage::kTooLong) return false;
      row->text = damage_ == Damage::kTooLong
                      ? absl::string_view(skipped_)
                      : StripLineEnd(absl::string_view(buffer_.data() + at_, bytes));
      at_ += bytes;
      row->line = line_;
      line_ += row_lines_;
      if (row->text.empty()) continue;
      row->bad = false;
      Split(row);
      return true;
    }
  }

 private:
  enum class Damage { kNone, kTooLong, kOpenQuote };

  static absl::string_view StripLineEnd(absl::string_view row) {
    if (!row.empty() && row.back() == '\n') row.remove_suffix(1);
    if (!row.empty() && row.back() == '\r') row.remove_suffix(1);
    return row;
  }

  // Moves what is unread to the front and reads behind it.
  absl::Status ReadMore() {
    std::memmove(buffer_.data(), buffer_.data() + at_, end_ - at_);
    end_ -= at_;
    at_ = 0;
    if (buffer_.size() < end_ + kReadBytes) buffer_.resize(end_ + kReadBytes);
    absl::StatusOr<size_t> read = bytes_->Read(buffer_.data() + end_, kReadBytes);
    if (!read.ok()) return WithContext(read.status(), absl::StrCat("after line ", line_ - 1));
    end_ += *read;
    at_end_of_stream_ = *read == 0;
    return absl::OkStatus();
  }

  // Bytes of the row at at_, its line end included, all of it in the buffer; 0 at the end of the
  // stream, and for a line that is too long, which is passed over. Sets row_lines_ and damage_.
  absl::StatusOr<size_t> FindRow() {
    damage_ = Damage::kNone;
    row_lines_ = 0;
    size_t scanned = 0;     // Bytes of the row looked at, up to and with a line end.
    size_t first_line = 0;  // Bytes of its first line.
    bool in_quotes = false;
    for (;;) {
      const char* begin = buffer_.data() + at_;
      const size_t available = end_ - at_;
      const char* found =
          available > scanned
              ? static_cast<const char*>(std::memchr(begin + scanned, '\n', available - scanned))
              : nullptr;
      if (found == nullptr && !at_end_of_stream_ && available <= kMaxRowBytes) {
        RETURN_IF_ERROR(ReadMore());
        continue;
      }
      if (found == nullptr && !at_end_of_stream_) {
        return first_line > 0 ? GiveUp(Damage::kOpenQuote, first_line) : SkipLongLine();
      }
      const size_t line_end = found == nullptr ? available : found - begin + 1;
      ++row_lines_;
      if (first_line == 0) first_line = line_end;
      if (settings_.quoted) in_quotes = EndsInQuotes(begin + scanned, begin + line_end, in_quotes);
      scanned = line_end;
      if (!in_quotes) return scanned;
      if (found == nullptr || scanned > kMaxRowBytes) return GiveUp(Damage::kOpenQuote, first_line);
    }
  }

  // The row is only its first line, so that the lines that a stray quote swallowed are read as
  // rows.
  size_t GiveUp(Damage damage, size_t first_line) {
    damage_ = damage;
    row_lines_ = 1;
    return first_line;
  }

  // Whether a quoted field is open after [s, end), where one was open before it or not.
  bool EndsInQuotes(const char* s, const char* end, bool in_quotes) const {
    if (!in_quotes && std::memchr(s, '"', end - s) == nullptr) return false;
    bool at_field_start = !in_quotes;
    for (; s < end; ++s) {
      if (in_quotes) {
        in_quotes = *s != '"';  // A doubled quote closes here and opens again below.
        at_field_start = false;
        if (!in_quotes && s + 1 < end && s[1] == '"') {
          in_quotes = true;
          ++s;
        }
      } else if (*s == '"' && at_field_start) {
        in_quotes = true;
      } else if (*s == settings_.delimiter) {
        at_field_start = true;
      } else if (*s != ' ' || !settings_.trim) {
        at_field_start = false;
      }
    }
    return in_quotes;
  }

  // Passes over a line that does not fit, keeping its start for messages.
  absl::StatusOr<size_t> SkipLongLine() {
    constexpr size_t kKeptBytes = 200;
    skipped_.assign(buffer_.data() + at_, kKeptBytes);
    damage_ = Damage::kTooLong;
    row_lines_ = 1;
    for (;;) {
      const char* begin = buffer_.data() + at_;
      const auto* found = static_cast<const char*>(std::memchr(begin, '\n', end_ - at_));
      at_ = found == nullptr ? end_ : found + 1 - buffer_.data();
      if (found != nullptr || at_end_of_stream_) return 0;
      RETURN_IF_ERROR(ReadMore());
    }
  }

  void Fail(Row* row, int field, std::string reason) const {
    row->bad = true;
    row->problem = {field, std::move(reason)};
  }

  // Cuts row->text into row->fields.
  void Split(Row* row) {
    row->fields.clear();
    if (damage_ == Damage::kTooLong) {
      return Fail(row, -1, absl::StrCat("a line of more than ", kMaxRowBytes, " bytes"));
    }
    if (damage_ == Damage::kOpenQuote) return Fail(row, -1, "a quote that opens here never closes");
    const size_t bad_byte = FindBadByte(row->text);
    if (bad_byte < row->text.size()) {
      const bool is_nul = row->text[bad_byte] == '\0';
      return Fail(
          row, FieldAt(row->text, bad_byte),
          absl::StrCat("byte ", bad_byte + 1, " of the row is ", is_nul ? "NUL" : "not UTF-8"));
    }
    if (settings_.quoted && row->text.find('"') != absl::string_view::npos) {
      if (!SplitQuoted(row)) return;
    } else {
      SplitPlain(row);
    }
    if (row->fields.size() != columns_.size() && !columns_.empty()) {
      Fail(row, -1,
           absl::StrCat(row->fields.size(), " fields, not ", columns_.size(),
                        " (is dataset.csv.delimiter right?)"));
    }
  }

  int FieldAt(absl::string_view text, size_t byte) const {
    return static_cast<int>(std::count(text.begin(), text.begin() + byte, settings_.delimiter));
  }

  void SplitPlain(Row* row) const {
    const char* begin = row->text.data();
    const char* const end = begin + row->text.size();
    for (;;) {
      const char* stop =
          static_cast<const char*>(std::memchr(begin, settings_.delimiter, end - begin));
      if (stop == nullptr) stop = end;
      AddField(absl::string_view(begin, stop - begin), row);
      if (stop == end) return;
      begin = stop + 1;
    }
  }

  bool SplitQuoted(Row* row) {
    // Fields with doubled quotes are written out here; never longer than the row, so views into it
    // stay valid.
    unquoted_.clear();
    unquoted_.reserve(row->text.size());
    absl::string_view rest = row->text;
    for (;;) {
      const size_t blanks = settings_.trim ? rest.find_first_not_of(' ') : 0;
      size_t stop;
      if (blanks < rest.size() && rest[blanks] == '"') {
        stop = TakeQuoted(rest, blanks + 1, row);
        if (stop == absl::string_view::npos) return false;
      } else {
        stop = std::min(rest.find(settings_.delimiter), rest.size());
        AddField(rest.substr(0, stop), row);
      }
      if (stop >= rest.size()) return true;
      rest.remove_prefix(stop + 1);
    }
  }

  // The field whose text starts at `from`, after its quote; returns where its delimiter is, npos
  // for a bad row.
  size_t TakeQuoted(absl::string_view rest, size_t from, Row* row) {
    const size_t begin = unquoted_.size();
    for (;;) {
      const size_t quote = rest.find('"', from);
      if (quote == absl::string_view::npos) {
        Fail(row, static_cast<int>(row->fields.size()), "a quote that opens here never closes");
        return absl::string_view::npos;
      }
      unquoted_.append(rest.data() + from, quote - from);
      from = quote + 1;
      if (from >= rest.size() || rest[from] != '"') break;
      unquoted_.push_back('"');
      ++from;
    }
    const size_t stop = std::min(rest.find(settings_.delimiter, from), rest.size());
    for (size_t i = from; i < stop; ++i) {
      if (rest[i] == ' ' && settings_.trim) continue;
      Fail(row, static_cast<int>(row->fields.size()), "text after a closing quote");
      return absl::string_view::npos;
    }
    AddField(absl::string_view(unquoted_).substr(begin), row);
    return stop;
  }

  void AddField(absl::string_view text, Row* row) const {
    if (settings_.trim) {
      while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
      while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    }
    if (!settings_.missing.empty() && settings_.missing.contains(text)) text = {};
    row->fields.push_back(text);
  }

  const CsvSettings settings_;
  const std::string path_;
  const std::unique_ptr<ByteReader> bytes_;
  std::vector<std::string> columns_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
  size_t at_ = 0, end_ = 0;  // Unread bytes are buffer_[at_, end_).
  bool at_end_of_stream_ = false;
  int64_t line_ = 1;       // Of the byte at at_.
  int64_t row_lines_ = 0;  // Line ends in the row that FindRow found.
  Damage damage_ = Damage::kNone;
  std::string unquoted_;
  std::string skipped_;  // The start of a line that was too long.
};

absl::StatusOr<std::vector<std::string>> CsvColumns(const DatasetConfig& config) {
  RETURN_IF_ERROR(SettingsOf(config).status());
  if (config.csv().header() && config.column_size() > 0) {
    return UsageError("dataset.column and dataset.csv.header: give one, the other says the same");
  }
  if (!config.csv().header() && config.column_size() == 0) {
    return UsageError(
        "dataset.column: name the columns, in file order, or set csv { header: true }");
  }
  return std::vector<std::string>(config.column().begin(), config.column().end());
}

// A header that was not cut is one column, which nothing reads.
absl::Status CheckHeader(const DatasetConfig& config, const std::vector<std::string>& columns) {
  constexpr size_t kShownBytes = 80;
  if (columns.size() != 1) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> read, ColumnsRead(config));
  if (std::find(read.begin(), read.end(), columns[0]) != read.end()) return absl::OkStatus();
  return UsageError(absl::StrCat("the header is one column, \"", columns[0].substr(0, kShownBytes),
                                 "\"; is dataset.csv.delimiter right?"));
}

absl::StatusOr<std::unique_ptr<RowReader>> OpenCsv(const DatasetConfig& config,
                                                   const std::string& path) {
  ASSIGN_OR_RETURN(CsvSettings settings, SettingsOf(config));
  ASSIGN_OR_RETURN(std::vector<std::string> columns, CsvColumns(config));
  ASSIGN_OR_RETURN(std::unique_ptr<ByteReader> bytes, ByteReader::Open(path));
  auto reader = std::make_unique<CsvReader>(std::move(settings), path, std::move(bytes));
  RETURN_IF_ERROR(reader->Start(std::move(columns)));
  if (config.csv().header()) {
    RETURN_IF_ERROR(WithContext(CheckHeader(config, reader->columns()), path + ":1"));
  }
  return std::unique_ptr<RowReader>(std::move(reader));
}

PAGODA_REGISTER_FORMAT({"csv", "delimited text: CSV, TSV; RFC 4180 quotes", true, CsvColumns,
                        OpenCsv});

}  // namespace
}  // namespace pagoda
