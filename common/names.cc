// The nearest known names to a misspelt one (common/config.h).
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config.h"

namespace pagoda {
namespace {

// Most names that a message lists in full.
constexpr size_t kMaxListed = 40;

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours cost 1.
int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

// '-' and '_' are the same to people.
std::string Normalized(absl::string_view name) {
  std::string lower = absl::AsciiStrToLower(name);
  std::replace(lower.begin(), lower.end(), '-', '_');
  return lower;
}

}  // namespace

std::vector<std::string> NearestNames(absl::string_view name,
                                      const std::vector<std::string>& known) {
  // A name past this length is no slip of the finger, and the distance costs its length.
  if (name.empty() || name.size() > 200) return {};
  const std::string wanted = Normalized(name);
  std::vector<std::pair<int, std::string>> near;
  for (const std::string& candidate : known) {
    const std::string normalized = Normalized(candidate);
    // A third of the letters may be wrong; a beginning of at least three letters is near too.
    const int limit =
        std::max<int>(1, static_cast<int>(std::min(wanted.size(), normalized.size()) / 3));
    const int distance = EditDistance(wanted, normalized);
    if (distance <= limit) {
      near.emplace_back(distance, candidate);
    } else if (wanted.size() >= 3 && absl::StartsWith(normalized, wanted)) {
      near.emplace_back(limit + 1, candidate);
    }
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min<size_t>(3, near.size()); ++i) names.push_back(near[i].second);
  return names;
}

std::string NearestHint(absl::string_view name, const std::vector<std::string>& known) {
  const std::vector<std::string> near = NearestNames(name, known);
  if (!near.empty()) return absl::StrCat("; did you mean ", absl::StrJoin(near, ", "), "?");
  if (known.empty()) return "; none is known";
  if (known.size() <= kMaxListed) return absl::StrCat("; known: ", absl::StrJoin(known, ", "));
  const std::vector<std::string> first(known.begin(), known.begin() + kMaxListed);
  return absl::StrCat("; known: ", absl::StrJoin(first, ", "), " and ", known.size() - kMaxListed,
                      " more");
}

}  // namespace pagoda
