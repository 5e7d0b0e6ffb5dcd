#include "common/flags.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/io/file.h"

namespace pagoda {
namespace {

constexpr size_t kHelpColumns = 100;
// A flag file may name another; this many deep is a loop.
constexpr int kMaxFlagFileDepth = 8;

bool IsBool(absl::string_view text) {
  const std::string lower = absl::AsciiStrToLower(text);
  for (const char* word : {"1", "t", "true", "y", "yes", "0", "f", "false", "n", "no"}) {
    if (lower == word) return true;
  }
  return false;
}

// As gflags reads numbers: strtoll, base 16 after "0x", else 10; the whole text; in range.
bool IsInteger(const std::string& text, absl::string_view type) {
  const bool is_hex = absl::StartsWith(text, "0x") || absl::StartsWith(text, "0X");
  const bool is_unsigned = absl::StartsWith(type, "u");
  if (text.empty() || (is_unsigned && absl::StrContains(text, '-'))) return false;
  char* end = nullptr;
  errno = 0;
  const int base = is_hex ? 16 : 10;
  const int64_t value = is_unsigned ? static_cast<int64_t>(std::strtoull(text.c_str(), &end, base))
                                    : std::strtoll(text.c_str(), &end, base);
  if (errno != 0 || *end != '\0') return false;
  if (type == "int32") return value >= INT32_MIN && value <= INT32_MAX;
  if (type == "uint32") return static_cast<uint64_t>(value) <= UINT32_MAX;
  return true;
}

bool IsOfType(const std::string& value, absl::string_view type) {
  if (type == "bool") return IsBool(value);
  if (type == "double") {
    char* end = nullptr;
    std::strtod(value.c_str(), &end);
    return !value.empty() && *end == '\0';
  }
  if (type == "string") return true;
  return IsInteger(value, type);
}

// What the type is called to people.
std::string Described(absl::string_view type) {
  if (type == "bool") return "true or false";
  if (type == "double") return "a number";
  if (type == "int32" || type == "int64") return absl::StrCat("a whole number (", type, ")");
  return absl::StrCat("a whole number of at least 0 (", type, ")");
}

class Checker {
 public:
  explicit Checker(const std::vector<FlagSpec>& known) {
    for (const FlagSpec& flag : known) known_[flag.name] = &flag;
  }

  absl::Status Check(const std::vector<std::string>& arguments, int depth) const {
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (arguments[i] == "--") break;
      absl::string_view text = arguments[i];
      if (!absl::ConsumePrefix(&text, "-") || text.empty()) continue;  // Not a flag.
      absl::ConsumePrefix(&text, "-");
      const std::string* next = i + 1 < arguments.size() ? &arguments[i + 1] : nullptr;
      ASSIGN_OR_RETURN(const bool took_next, CheckOne(text, next, depth));
      i += took_next ? 1 : 0;
    }
    return absl::OkStatus();
  }

 private:
  const FlagSpec* Find(absl::string_view name) const {
    std::string wanted(name);
    const auto exact = known_.find(wanted);
    if (exact != known_.end()) return exact->second;
    std::replace(wanted.begin(), wanted.end(), '-', '_');  // gflags takes both.
    const auto found = known_.find(wanted);
    return found == known_.end() ? nullptr : found->second;
  }

  absl::Status Unknown(absl::string_view name) const {
    std::vector<std::string> names;
    for (const auto& [known, unused] : known_) names.push_back(known);
    std::string hint;
    for (const std::string& near : NearestNames(name, names)) {
      absl::StrAppend(&hint, hint.empty() ? "; did you mean --" : ", --", near);
    }
    return UsageError(absl::StrCat("unknown flag --", name,
                                   hint.empty() ? "; --help lists the flags" : hint + "?"));
  }

  // `text` is "name" or "name=value". True when the value was the next argument.
  absl::StatusOr<bool> CheckOne(absl::string_view text, const std::string* next, int depth) const {
    const size_t equals = text.find('=');
    const bool has_value = equals != absl::string_view::npos;
    const absl::string_view name = text.substr(0, equals);
    const FlagSpec* flag = Find(name);
    if (flag == nullptr) {
      absl::string_view positive = name;
      const bool negated = !has_value && absl::ConsumePrefix(&positive, "no");
      const FlagSpec* negated_flag = negated ? Find(positive) : nullptr;
      if (negated_flag != nullptr && negated_flag->type == "bool") return false;
      return Unknown(name);
    }
    if (!has_value && flag->type == "bool") return false;
    if (!has_value && next == nullptr) {
      return UsageError(absl::StrCat("flag --", flag->name, " needs a value: --", flag->name, "=",
                                     absl::AsciiStrToUpper(flag->type)));
    }
    const std::string value = has_value ? std::string(text.substr(equals + 1)) : *next;
    if (!IsOfType(value, flag->type)) {
      return UsageError(
          absl::StrCat("flag --", flag->name, "=", value, ": must be ", Described(flag->type)));
    }
    if (flag->name == "flagfile") RETURN_IF_ERROR(CheckFlagFiles(value, depth));
    return !has_value;
  }

  absl::Status CheckFlagFiles(const std::string& paths, int depth) const {
    if (depth == kMaxFlagFileDepth) {
      return UsageError(absl::StrCat("--flagfile=", paths, ": flag files that name each other"));
    }
    const std::vector<std::string> files = absl::StrSplit(paths, ',', absl::SkipEmpty());
    for (const std::string& path : files) {
      const absl::StatusOr<std::string> contents = ReadFile(path);
      if (!contents.ok()) {
        return UsageError(absl::StrCat("--flagfile: ", contents.status().message()));
      }
      int line_number = 0;
      for (const absl::string_view line : absl::StrSplit(*contents, '\n')) {
        ++line_number;
        const std::string text(absl::StripAsciiWhitespace(line));
        // gflags takes other lines for names of programs that the flags below them are for.
        if (!absl::StartsWith(text, "-")) continue;
        RETURN_IF_ERROR(
            WithContext(Check({text}, depth + 1), absl::StrCat(path, ":", line_number)));
      }
    }
    return absl::OkStatus();
  }

  std::map<std::string, const FlagSpec*> known_;
};

// `text` broken between words into lines of at most `width` bytes; a longer word stands alone.
std::vector<std::string> Wrapped(absl::string_view text, size_t width) {
  std::vector<std::string> lines(1);
  for (const absl::string_view word :
       absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width)
      lines.emplace_back();
    absl::StrAppend(&lines.back(), lines.back().empty() ? "" : " ", word);
  }
  return lines;
}

// "--name=TYPE"; a bool needs no value.
std::string Usage(const FlagSpec& flag) {
  if (flag.type == "bool") return absl::StrCat("  --", flag.name);
  const bool is_integer = absl::StrContains(flag.type, "int");
  return absl::StrCat("  --", flag.name, "=",
                      is_integer              ? "N"
                      : flag.type == "double" ? "X"
                                              : "TEXT");
}

}  // namespace

absl::Status CheckCommandLine(const std::vector<FlagSpec>& known,
                              const std::vector<std::string>& arguments) {
  return Checker(known).Check(arguments, 0);
}

std::string HelpText(const std::string& usage, const std::vector<FlagSpec>& flags) {
  size_t column = 0;
  for (const FlagSpec& flag : flags) column = std::max(column, Usage(flag).size() + 2);
  column = std::min<size_t>(column, 36);
  std::string text = absl::StrCat(absl::StripTrailingAsciiWhitespace(usage), "\n\n");
  for (const FlagSpec& flag : flags) {
    std::string help = flag.help;
    // A flag that is off, empty or says itself what it defaults to needs no second word.
    const bool says_it = flag.default_value.empty() || flag.default_value == "false" ||
                         absl::StrContains(help, "(default");
    if (!says_it) absl::StrAppend(&help, " (default ", flag.default_value, ")");
    std::string start = Usage(flag);
    for (const std::string& line : Wrapped(help, kHelpColumns - column)) {
      // A name that reaches into the help's column has its line for itself.
      if (start.size() + 1 > column) {
        absl::StrAppend(&text, start, "\n");
        start.clear();
      }
      start.resize(column, ' ');
      absl::StrAppend(&text, start, line, "\n");
      start.clear();
    }
  }
  return text;
}

}  // namespace pagoda
