#include "common/checkpoint/safetensors_header.h"

#include <limits>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"

namespace pagoda {
namespace {

// numpy's limit is 32, torch's 64.
constexpr size_t kMaxDimensions = 64;

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", static_cast<unsigned>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

void AppendUtf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    out->push_back(static_cast<char>(code));
    return;
  }
  const int extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static constexpr unsigned char kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out->push_back(static_cast<char>(kLead[extra] | (code >> (6 * extra))));
  for (int i = extra - 1; i >= 0; --i) {
    out->push_back(static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F)));
  }
}

// Reads the header's grammar from left to right. Every method leaves with an error that says where.
class Cursor {
 public:
  explicit Cursor(absl::string_view text) : text_(text) {}

  absl::Status Error(absl::string_view what) const {
    return DataError(absl::StrCat("safetensors header, byte ", at_, ": ", what));
  }
  bool AtEnd() {
    SkipBlanks();
    return at_ == text_.size();
  }
  // Takes `c` if it comes next.
  bool Take(char c) {
    SkipBlanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  absl::Status Expect(char c) {
    if (Take(c)) return absl::OkStatus();
    return Error(absl::StrCat("expected ", std::string(1, c)));
  }

  absl::StatusOr<std::string> String() {
    RETURN_IF_ERROR(Expect('"'));
    std::string value;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return value;
      if (static_cast<unsigned char>(c) < 0x20) return Error("a control character in a string");
      if (c != '\\') {
        value.push_back(c);
        continue;
      }
      RETURN_IF_ERROR(Escape(&value));
    }
    return Error("a string without an end");
  }

  absl::StatusOr<uint64_t> Number() {
    SkipBlanks();
    const size_t start = at_;
    uint64_t value = 0;
    for (; at_ < text_.size() && absl::ascii_isdigit(text_[at_]); ++at_) {
      const uint64_t digit = static_cast<uint64_t>(text_[at_] - '0');
      if (value > (uint64_t{std::numeric_limits<int64_t>::max()} - digit) / 10) {
        return Error("a number that is too large");
      }
      value = value * 10 + digit;
    }
    if (at_ == start) return Error("expected a number");
    return value;
  }

  // '[' numbers ']'
  absl::StatusOr<std::vector<uint64_t>> Numbers(size_t most) {
    std::vector<uint64_t> numbers;
    RETURN_IF_ERROR(Expect('['));
    if (Take(']')) return numbers;
    do {
      if (numbers.size() == most) return Error(absl::StrCat("more than ", most, " numbers"));
      ASSIGN_OR_RETURN(const uint64_t number, Number());
      numbers.push_back(number);
    } while (Take(','));
    RETURN_IF_ERROR(Expect(']'));
    return numbers;
  }

  // '{' key ':' value, ... '}': visit(key) reads the value.
  template <typename Visit>
  absl::Status Object(Visit visit) {
    RETURN_IF_ERROR(Expect('{'));
    if (Take('}')) return absl::OkStatus();
    do {
      ASSIGN_OR_RETURN(const std::string key, String());
      RETURN_IF_ERROR(Expect(':'));
      RETURN_IF_ERROR(visit(key));
    } while (Take(','));
    return Expect('}');
  }

 private:
  void SkipBlanks() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  absl::StatusOr<uint32_t> FourHexDigits() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      if (at_ >= text_.size() || !absl::ascii_isxdigit(text_[at_]))
        return Error("a bad \\u escape");
      const char c = absl::ascii_tolower(text_[at_]);
      value = value * 16 + static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
  }

  // What follows a backslash.
  absl::Status Escape(std::string* out) {
    if (at_ >= text_.size()) return Error("a string without an end");
    const char c = text_[at_++];
    static constexpr absl::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    if (const size_t found = kNames.find(c); found != absl::string_view::npos) {
      out->push_back(kValues[found]);
      return absl::OkStatus();
    }
    if (c != 'u') return Error("an unknown escape");
    ASSIGN_OR_RETURN(uint32_t code, FourHexDigits());
    if (code >= 0xD800 && code < 0xDC00) {  // The first of two surrogates (RFC 8259, section 7).
      if (!absl::StartsWith(text_.substr(at_), "\\u")) return Error("half a surrogate pair");
      at_ += 2;
      ASSIGN_OR_RETURN(const uint32_t low, FourHexDigits());
      if (low < 0xDC00 || low >= 0xE000) return Error("half a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
      return Error("half a surrogate pair");
    }
    AppendUtf8(code, out);
    return absl::OkStatus();
  }

  const absl::string_view text_;
  size_t at_ = 0;
};

// shape x size of a value, or an error when it overflows.
absl::StatusOr<uint64_t> BytesOf(const TensorEntry& entry) {
  uint64_t bytes = static_cast<uint64_t>(DtypeBytes(entry.dtype));
  for (const int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) {
      return DataError("its shape overflows");
    }
  }
  return bytes;
}

absl::Status CheckEntry(const TensorEntry& entry) {
  if (DtypeBytes(entry.dtype) == 0) {
    return DataError(absl::StrCat("unknown dtype \"", entry.dtype, "\""));
  }
  ASSIGN_OR_RETURN(const uint64_t bytes, BytesOf(entry));
  if (entry.begin > entry.end || entry.end - entry.begin != bytes) {
    return DataError(absl::StrCat("data_offsets [", entry.begin, ", ", entry.end, "] do not hold ",
                                  entry.dtype, " [", absl::StrJoin(entry.shape, ", "), "] of ",
                                  bytes, " bytes"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorEntry> ParseEntry(std::string name, Cursor* cursor) {
  TensorEntry entry;
  entry.name = std::move(name);
  std::set<std::string> seen;
  RETURN_IF_ERROR(cursor->Object([&](const std::string& key) -> absl::Status {
    if (!seen.insert(key).second) return cursor->Error(absl::StrCat("\"", key, "\" twice"));
    if (key == "dtype") {
      ASSIGN_OR_RETURN(entry.dtype, cursor->String());
    } else if (key == "shape") {
      ASSIGN_OR_RETURN(const std::vector<uint64_t> shape, cursor->Numbers(kMaxDimensions));
      entry.shape.assign(shape.begin(), shape.end());
    } else if (key == "data_offsets") {
      ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, cursor->Numbers(2));
      if (offsets.size() != 2) return cursor->Error("data_offsets must be two numbers");
      entry.begin = offsets[0];
      entry.end = offsets[1];
    } else {
      return cursor->Error(absl::StrCat("unknown key \"", key, "\""));
    }
    return absl::OkStatus();
  }));
  if (seen.size() != 3) return cursor->Error("needs dtype, shape and data_offsets");
  RETURN_IF_ERROR(CheckEntry(entry));
  return entry;
}

}  // namespace

int DtypeBytes(absl::string_view dtype) {
  static constexpr std::pair<absl::string_view, int> kDtypes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"U16", 2}, {"I16", 2}, {"F16", 2}, {"BF16", 2},
      {"U32", 4},  {"I32", 4}, {"F32", 4}, {"U64", 8}, {"I64", 8}, {"F64", 8}};
  for (const auto& [name, bytes] : kDtypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

std::string FormatSafetensorsHeader(const SafetensorsHeader& header) {
  std::vector<std::string> items;
  if (!header.metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : header.metadata) {
      pairs.push_back(absl::StrCat(Quoted(key), ":", Quoted(value)));
    }
    items.push_back(absl::StrCat("\"__metadata__\":{", absl::StrJoin(pairs, ","), "}"));
  }
  for (const TensorEntry& t : header.tensors) {
    items.push_back(absl::StrCat(Quoted(t.name), ":{\"dtype\":", Quoted(t.dtype), ",\"shape\":[",
                                 absl::StrJoin(t.shape, ","), "],\"data_offsets\":[", t.begin, ",",
                                 t.end, "]}"));
  }
  return absl::StrCat("{", absl::StrJoin(items, ","), "}");
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json) {
  SafetensorsHeader header;
  Cursor cursor(json);
  std::set<std::string> names;
  RETURN_IF_ERROR(cursor.Object([&](const std::string& name) -> absl::Status {
    if (!names.insert(name).second) {
      return cursor.Error(absl::StrCat("tensor \"", name, "\" twice"));
    }
    if (name == "__metadata__") {
      return cursor.Object([&](const std::string& key) -> absl::Status {
        ASSIGN_OR_RETURN(header.metadata[key], cursor.String());
        return absl::OkStatus();
      });
    }
    absl::StatusOr<TensorEntry> entry = ParseEntry(name, &cursor);
    if (!entry.ok()) return WithContext(entry.status(), absl::StrCat("tensor \"", name, "\""));
    header.tensors.push_back(*std::move(entry));
    return absl::OkStatus();
  }));
  if (!cursor.AtEnd()) return cursor.Error("something follows the header's object");
  return header;
}

}  // namespace pagoda
