#include "common/checks.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "common/config.h"
#include "glog/logging.h"
#include "google/protobuf/text_format.h"

namespace pagoda {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kMaxNameBytes = 100;
// A limit from here on is not worth telling who is below the least.
constexpr int64_t kVast = 1 << 20;

// "a", "a and b", "a, b and c".
std::string JoinAnd(const std::vector<std::string>& names) {
  if (names.size() < 2) return absl::StrJoin(names, "");
  return absl::StrCat(absl::StrJoin(names.begin(), names.end() - 1, ", "), " and ", names.back());
}

// As a configuration has it: 32, "x", LOG1P.
std::string ScalarText(const Message& message, const FieldDescriptor& scalar) {
  std::string text;
  google::protobuf::TextFormat::PrintFieldValueToString(message, &scalar, -1, &text);
  return text;
}

std::string DefaultText(const Message& message, const FieldDescriptor& scalar) {
  return ScalarText(*std::unique_ptr<Message>(message.New()), scalar);
}

// The way for who cannot leave a field out, since a layer below or a checkpoint says it.
std::string OrSayDefault(const Message& message, const std::string& name) {
  const FieldDescriptor& field = *message.GetDescriptor()->FindFieldByName(name);
  const bool is_scalar = !field.is_repeated() && field.message_type() == nullptr;
  if (!is_scalar) return "";
  return absl::StrCat(" (or say its default, ", DefaultText(message, field), ")");
}

}  // namespace

absl::Status InRange(absl::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  if (most == kMaxInt64 || (value < least && most >= kVast)) {
    return UsageError(absl::StrCat(field, " = ", value, ": must be at least ", least));
  }
  return UsageError(absl::StrCat(field, " = ", value, ": must be between ", least, " and ", most));
}

absl::Status FiniteAtLeastZero(absl::string_view field, double value, bool positive) {
  if (std::isfinite(value) && (positive ? value > 0 : value >= 0)) return absl::OkStatus();
  return UsageError(absl::StrCat(field, " = ", value, ": must be a finite number ",
                                 positive ? "above 0" : "of at least 0"));
}

absl::Status CheckName(absl::string_view field, absl::string_view name) {
  bool plain = !name.empty() && name.size() <= kMaxNameBytes && name[0] != '.';
  for (const char c : name) {
    plain &= absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
  }
  if (plain) return absl::OkStatus();
  return UsageError(
      absl::StrCat(field, " = \"", name, "\": must be 1 to ", kMaxNameBytes,
                   " letters, digits, \"_\", \"-\" or \".\", not starting with \".\""));
}

absl::Status IsOneOf(absl::string_view field, absl::string_view name,
                     const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), std::string(name)) != known.end()) {
    return absl::OkStatus();
  }
  return UsageError(
      absl::StrCat(field, " = \"", name, "\": there is none", NearestHint(name, known)));
}

bool IsGiven(const Message& message, const std::string& name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(name);
  CHECK(field != nullptr) << message.GetTypeName() << " has no field " << name;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (field->is_repeated()) return reflection.FieldSize(message, field) > 0;
  if (!reflection.HasField(message, field)) return false;
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return true;
  return ScalarText(message, *field) != DefaultText(message, *field);
}

absl::Status CheckFieldUse(const Message& message, absl::string_view where, absl::string_view what,
                           absl::string_view reader, absl::Span<const FieldUse> uses) {
  for (const FieldUse& use : uses) {
    const auto& readers = use.readers;
    if (std::find(readers.begin(), readers.end(), std::string(reader)) != readers.end()) continue;
    if (!IsGiven(message, use.field)) continue;
    return UsageError(absl::StrCat(where, ".", use.field, ": is for ", what, ": ", JoinAnd(readers),
                                   ", not for ", reader, "; leave it out",
                                   OrSayDefault(message, use.field)));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
