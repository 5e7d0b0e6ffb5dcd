// Optimizer rules: stateless arithmetic over memory that they do not own.
//
// One rule serves rows of tables (n = the table's dim, state behind the weights) and dense
// parameters (n = all of them, state arrays of the same length). State is `state_per_weight` arrays
// of n scalars, one after the other: [k, n]. Adam on rows is lazy: a rule sees touched rows only.
//
// Rows come many at a time (ApplyRows), so that what a step has in common (Adam's powers of beta)
// is computed once.
//
// To add one: a file NAME.cc here that ends in PAGODA_REGISTER_RULE; nothing else changes. Tests
// find it through the registry: float against double, every parameter off its default, both signs
// of the gradient.
//
// Thread-safe (const).
#ifndef PAGODA_COMMON_OPTIM_RULE_H_
#define PAGODA_COMMON_OPTIM_RULE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace pagoda {

// One parameter of a rule (or of a model), declared once.
struct ParameterSpec {
  std::string name;
  double default_value;
  double minimum;  // Inclusive.
  double maximum;  // Inclusive.
  std::string help;
};

// What rides on a push.
struct RuleStep {
  int64_t step = 1;  // t of the papers: steps this optimizer has taken, this one included.
  double learning_rate = 0.001;
};

// Rows of one table: the weights of row r stand at w[r], its state at w[r] + state_offset.
struct RuleRows {
  absl::Span<float* const> w;
  int64_t state_offset = 0;
};

class Rule {
 public:
  virtual ~Rule() = default;
  virtual int state_per_weight() const = 0;
  // Fills the state of new weights; state [state_per_weight, n].
  virtual void InitState(float* state, int64_t n) const;  // Default: zeros.
  virtual void InitState(double* state, int64_t n) const;
  // True for rules whose weights start at zero, not at the initial-value function (FTRL: w = z = n
  // = 0).
  virtual bool StartsAtZero() const { return false; }
  // w [n] <- the rule's step along gradient g [n]. The double form is the plain reference.
  virtual void Apply(const RuleStep& step, float* w, float* state, const float* g,
                     int64_t n) const = 0;
  virtual void Apply(const RuleStep& step, double* w, double* state, const double* g,
                     int64_t n) const = 0;
  // Apply to each of R rows of n weights along g [R, n]: the same bits. Default: one by one.
  virtual void ApplyRows(const RuleStep& step, const RuleRows& rows, const float* g,
                         int64_t n) const;
};

struct RuleInfo {
  std::string name;
  std::string help;    // One line.
  std::string source;  // The paper.
  std::vector<ParameterSpec> parameters;
  // `parameters` has every declared name, in range.
  std::unique_ptr<Rule> (*make)(const std::map<std::string, double>& parameters);
};

// All rules, by name; filled before main.
const std::map<std::string, RuleInfo>& Rules();

// Checks names and ranges, fills in defaults. Errors name the near ones and the range.
absl::StatusOr<std::map<std::string, double>> ResolveParameters(
    absl::string_view owner, const std::vector<ParameterSpec>& declared,
    const std::map<std::string, double>& given);

// `parameters` resolved by ResolveParameters.
absl::StatusOr<std::unique_ptr<Rule>> MakeRule(const std::string& name,
                                               const std::map<std::string, double>& parameters);

// CHECKs that the name is new.
bool RegisterRule(RuleInfo info);
#define PAGODA_REGISTER_RULE(...) \
  static const bool registered_ [[maybe_unused]] = ::pagoda::RegisterRule(__VA_ARGS__)

}  // namespace pagoda

#endif  // PAGODA_COMMON_OPTIM_RULE_H_
