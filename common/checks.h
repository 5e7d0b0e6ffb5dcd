// What checks of configurations share: ranges, names, references, and which fields mean something
// with which kind, loss, format or model.
//
// `field` is the field as a person writes it ("train.batch_size"); errors are UsageErrors that name
// it, its value and what is allowed.
//
// Thread-safe (pure functions).
#ifndef PAGODA_COMMON_CHECKS_H_
#define PAGODA_COMMON_CHECKS_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/errors.h"
#include "google/protobuf/message.h"

namespace pagoda {

// Limits that catch a slip; nothing is sized by them.
inline constexpr int64_t kMaxShare = 1 << 20;  // Of a split.
inline constexpr int64_t kMaxInt64 = INT64_MAX;
// Wider embeddings are a typing error, and so are wider layers: their weights alone would be
// gigabytes.
inline constexpr int kMaxDim = 4096;
inline constexpr int kMaxWidth = 1 << 16;

// [least, most]
absl::Status InRange(absl::string_view field, int64_t value, int64_t least, int64_t most);

// At least 0, or above it when `positive`.
absl::Status FiniteAtLeastZero(absl::string_view field, double value, bool positive);

// Names end up in file names, tensor names and JSON.
absl::Status CheckName(absl::string_view field, absl::string_view name);

absl::Status IsOneOf(absl::string_view field, absl::string_view name,
                     const std::vector<std::string>& known);

// Each element's name is well formed and unique; returns them.
template <typename Elements>
absl::StatusOr<std::vector<std::string>> UniqueNames(absl::string_view field,
                                                     const Elements& elements) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const auto& element : elements) {
    RETURN_IF_ERROR(CheckName(absl::StrCat(field, ".name"), element.name()));
    if (!seen.insert(element.name()).second) {
      return UsageError(absl::StrCat(field, " \"", element.name(), "\" is there twice"));
    }
    names.push_back(element.name());
  }
  return names;
}

// Whether a field says something: a message that is there, a list with elements, a scalar other
// than its default. (A layer of the configuration cannot take away what the one below it says, but
// it can say the default.) REQUIRES: the message has the field.
bool IsGiven(const google::protobuf::Message& message, const std::string& name);

// Who reads a field. Fields that stand in no FieldUse are read by all.
struct FieldUse {
  std::string field;
  std::vector<std::string> readers;
};

// UsageError for a field of `message` that is given although `reader` does not read it. `what` says
// what readers are: "kind", "loss", "model".
// REQUIRES: the message has the fields.
absl::Status CheckFieldUse(const google::protobuf::Message& message, absl::string_view where,
                           absl::string_view what, absl::string_view reader,
                           absl::Span<const FieldUse> uses);

}  // namespace pagoda

#endif  // PAGODA_COMMON_CHECKS_H_
