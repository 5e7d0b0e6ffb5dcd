#include "common/optim/rule.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/errors.h"

namespace pagoda {
namespace {

std::map<std::string, RuleInfo>& MutableRules() {
  static std::map<std::string, RuleInfo> rules;
  return rules;
}

template <typename Map>
std::vector<std::string> NamesOf(const Map& map) {
  std::vector<std::string> names;
  for (const auto& [name, unused] : map) names.push_back(name);
  return names;
}

}  // namespace

ParameterSpec L2Parameter() {
  return {"l2", 0.0, 0.0, 1e6, "l2 * w is added to the gradient; rows: when they are touched"};
}

void Rule::InitState(float* state, int64_t n) const { std::fill_n(state, state_size(n), 0.0f); }
void Rule::InitState(double* state, int64_t n) const { std::fill_n(state, state_size(n), 0.0); }

void Rule::ApplyRows(const RuleStep& step, const RuleRows& rows, const float* g, int64_t n) const {
  for (size_t r = 0; r < rows.w.size(); ++r) {
    Apply(step, rows.w[r], rows.StateOf(rows.w[r]), g + static_cast<int64_t>(r) * n, n);
  }
}

const std::map<std::string, RuleInfo>& Rules() { return MutableRules(); }

bool RegisterRule(RuleInfo info) {
  const std::string name = info.name;
  CHECK(MutableRules().emplace(name, std::move(info)).second)
      << "two optimizer rules are called " << name;
  return true;
}

absl::StatusOr<std::map<std::string, double>> ResolveParameters(
    absl::string_view owner, const std::vector<ParameterSpec>& declared,
    const std::map<std::string, double>& given) {
  std::map<std::string, double> resolved;
  for (const ParameterSpec& spec : declared) resolved[spec.name] = spec.default_value;
  for (const auto& [name, value] : given) {
    const auto spec =
        std::find_if(declared.begin(), declared.end(),
                     [&name = name](const ParameterSpec& s) { return s.name == name; });
    if (spec == declared.end()) {
      return UsageError(absl::StrCat(owner, " has no parameter \"", name, "\"",
                                     NearestHint(name, NamesOf(resolved))));
    }
    // Written so that NaN is out of range.
    if (!(value >= spec->minimum && value <= spec->maximum)) {
      return UsageError(absl::StrCat(owner, ": parameter ", name, " = ", value,
                                     " is out of range: must be in [", spec->minimum, ", ",
                                     spec->maximum, "] (", spec->help, ")"));
    }
    if (spec->kind == ParameterKind::kFlag && value != 0 && value != 1) {
      return UsageError(absl::StrCat(owner, ": parameter ", name, " = ", value,
                                     ": must be 0 or 1 (", spec->help, ")"));
    }
    if (spec->kind == ParameterKind::kWhole && value != std::floor(value)) {
      return UsageError(absl::StrCat(owner, ": parameter ", name, " = ", value,
                                     ": must be a whole number (", spec->help, ")"));
    }
    resolved[name] = value;
  }
  return resolved;
}

absl::StatusOr<std::unique_ptr<Rule>> MakeRule(const std::string& name,
                                               const std::map<std::string, double>& parameters) {
  const auto rule = Rules().find(name);
  if (rule == Rules().end()) {
    return UsageError(absl::StrCat("there is no optimizer rule \"", name, "\"",
                                   NearestHint(name, NamesOf(Rules()))));
  }
  ASSIGN_OR_RETURN(const auto resolved, ResolveParameters(absl::StrCat("rule ", name),
                                                          rule->second.parameters, parameters));
  return rule->second.make(resolved);
}

}  // namespace pagoda
