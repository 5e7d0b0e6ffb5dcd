#include "worker/data/lines.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace pagoda {
namespace {

// Bytes of the UTF-8 sequence that starts at s (RFC 3629: no overlong forms, no surrogates); 0:
// none does.
size_t SequenceBytes(const unsigned char* s, size_t left) {
  const auto is_tail = [](unsigned char c) { return (c & 0xC0) == 0x80; };
  if (s[0] >= 0xC2 && s[0] <= 0xDF) return left >= 2 && is_tail(s[1]) ? 2 : 0;
  if (s[0] >= 0xE0 && s[0] <= 0xEF) {
    if (left < 3 || !is_tail(s[1]) || !is_tail(s[2])) return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F)) return 0;
    return 3;
  }
  if (s[0] >= 0xF0 && s[0] <= 0xF4) {
    if (left < 4 || !is_tail(s[1]) || !is_tail(s[2]) || !is_tail(s[3])) return 0;
    if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F)) return 0;
    return 4;
  }
  return 0;
}

// The start of a line that is too long, kept for messages.
constexpr size_t kKeptBytes = 200;
// Of NAME[i]: more places are a slip.
constexpr int kMaxPlaces = 65536;

}  // namespace

bool SplitPlace(absl::string_view column, absl::string_view* name, int* place) {
  const size_t open = column.rfind('[');
  if (open == absl::string_view::npos || column.back() != ']') return false;
  *name = column.substr(0, open);
  return absl::SimpleAtoi(column.substr(open + 1, column.size() - open - 2), place) &&
         *place >= 0 && *place < kMaxPlaces;
}

size_t FindBadByte(absl::string_view text) {
  const auto* s = reinterpret_cast<const unsigned char*>(text.data());
  size_t at = 0;
  while (at < text.size()) {
    // Eight bytes at once while all are ASCII and none is NUL: subtracting 1 borrows into the top
    // bit of a zero byte.
    uint64_t word;
    while (at + 8 <= text.size()) {
      std::memcpy(&word, s + at, 8);
      if (((word | (word - 0x0101010101010101u)) & 0x8080808080808080u) != 0) break;
      at += 8;
    }
    if (at == text.size()) break;
    if (s[at] == 0) return at;
    const size_t bytes = s[at] < 0x80 ? 1 : SequenceBytes(s + at, text.size() - at);
    if (bytes == 0) return at;
    at += bytes;
  }
  return at;
}

NamedFields::NamedFields(const std::vector<std::string>& columns) : values_(columns.size()) {
  for (size_t c = 0; c < columns.size(); ++c) {
    absl::string_view base;
    int place;
    if (!SplitPlace(columns[c], &base, &place)) {
      names_[columns[c]].column = static_cast<int>(c);
      continue;
    }
    std::vector<int>& places = names_[base].places;
    if (places.size() <= static_cast<size_t>(place)) places.resize(place + 1, -1);
    places[place] = static_cast<int>(c);
  }
}

void NamedFields::Clear() {
  for (std::string& value : values_) value.clear();
  for (auto& [key, name] : names_) name.count = 0;
}

void NamedFields::Append(absl::string_view name, absl::string_view value) {
  const auto found = names_.find(name);
  if (found == names_.end()) return;
  Name& known = found->second;
  const size_t place = known.count++;
  if (place < known.places.size() && known.places[place] >= 0) {
    values_[known.places[place]].assign(value.data(), value.size());
  }
  if (known.column < 0) return;
  std::string& list = values_[known.column];
  if (place > 0) list.push_back(kListSeparator);
  list.append(value.data(), value.size());
}

bool NamedFields::Has(absl::string_view name) const {
  const auto found = names_.find(name);
  return found != names_.end() && found->second.count > 0;
}

void NamedFields::Put(std::vector<absl::string_view>* fields) const {
  fields->assign(values_.begin(), values_.end());
}

absl::StatusOr<bool> LineReader::Next(Row* row) {
  for (;;) {
    bool is_cut;
    ASSIGN_OR_RETURN(const bool found, ReadLine(&row->text, &is_cut));
    if (!found) return false;
    row->line = line_;
    row->bad = false;
    row->fields.clear();
    const size_t bad_byte = is_cut ? 0 : FindBadByte(row->text);
    if (is_cut) {
      Fail(row, 0, absl::StrCat("a line of more than ", kMaxRowBytes, " bytes"));
    } else if (row->text.find_first_not_of(" \t") == absl::string_view::npos) {
      continue;
    } else if (bad_byte < row->text.size()) {
      Fail(row, bad_byte, row->text[bad_byte] == '\0' ? "a NUL byte" : "not UTF-8");
    } else if (row->text.find(kListSeparator) != absl::string_view::npos) {
      Fail(row, row->text.find(kListSeparator), "byte 0x1F, which no value may hold");
    } else {
      Parse(row);
    }
    return true;
  }
}

void LineReader::Fail(Row* row, size_t at, std::string reason) {
  row->bad = true;
  row->problem = {-1, std::move(reason), static_cast<int64_t>(at) + 1};
}

// Moves what is unread to the front and reads behind it.
absl::Status LineReader::ReadMore() {
  std::memmove(buffer_.data(), buffer_.data() + at_, end_ - at_);
  end_ -= at_;
  at_ = 0;
  if (buffer_.size() < end_ + kReadBytes) buffer_.resize(end_ + kReadBytes);
  absl::StatusOr<size_t> read = bytes_->Read(buffer_.data() + end_, kReadBytes);
  if (!read.ok()) return WithContext(read.status(), absl::StrCat("after line ", line_));
  end_ += *read;
  at_end_of_stream_ = *read == 0;
  return absl::OkStatus();
}

absl::StatusOr<bool> LineReader::ReadLine(absl::string_view* line, bool* is_cut) {
  *is_cut = false;
  size_t scanned = 0;
  for (;;) {
    const char* begin = buffer_.data() + at_;
    const size_t available = end_ - at_;
    const auto* found =
        available > scanned
            ? static_cast<const char*>(std::memchr(begin + scanned, '\n', available - scanned))
            : nullptr;
    if (found == nullptr && !at_end_of_stream_) {
      if (available > kMaxRowBytes) {
        if (!*is_cut) skipped_.assign(begin, kKeptBytes);
        *is_cut = true;
        at_ = end_;
      }
      scanned = end_ - at_;
      RETURN_IF_ERROR(ReadMore());
      continue;
    }
    if (found == nullptr && available == 0 && !*is_cut) return false;
    *line = absl::string_view(begin, found == nullptr ? available : found - begin);
    at_ += line->size() + (found == nullptr ? 0 : 1);
    ++line_;
    if (*is_cut) *line = skipped_;
    if (!line->empty() && line->back() == '\r') line->remove_suffix(1);
    if (!has_started_ && line->substr(0, 3) == "\xEF\xBB\xBF") line->remove_prefix(3);
    has_started_ = true;
    return true;
  }
}

}  // namespace pagoda
