// Optimizer rules: stateless arithmetic over memory that they do not own.
//
// One rule serves rows of tables (n = the table's dim, state behind the weights) and dense
// parameters. State is `state_per_weight` arrays of n scalars, one after the other, and behind them
// `state_per_row` scalars: [k, n] [e]. On rows every rule is lazy: it sees touched rows only.
//
// Element-wise rules (most) may be given dense parameters in any cut. The others (LAMB's norms,
// anything with state_per_row) take one row or one whole dense tensor at a time.
//
// Rows come many at a time (ApplyRows), so that what a step has in common (Adam's powers of beta)
// is computed once.
//
// To add one: a file NAME.cc here that ends in PAGODA_REGISTER_RULE; nothing else changes. Tests
// find it through the registry: float against double, every parameter off its default, both signs
// of the gradient. element_wise-inl.h has the loops over rows and elements.
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

enum class ParameterKind { kReal, kWhole, kFlag };  // kFlag: 0 or 1.

// One parameter of a rule, a weighting or a model, declared once.
struct ParameterSpec {
  std::string name;
  double default_value;
  double minimum;  // Inclusive.
  double maximum;  // Inclusive.
  std::string help;
  ParameterKind kind = ParameterKind::kReal;
};

// What rules that torch gives a weight_decay have: the gradient of l2 / 2 |w|^2 is added to g. On
// rows, once each time that a row is touched.
ParameterSpec L2Parameter();

// What rides on a push.
struct RuleStep {
  int64_t step = 1;  // t of the papers: steps this optimizer has taken, this one included.
  double learning_rate = 0.001;
};

// Rows of one table: the weights of row r stand at w[r], its state at w[r] + state_offset. Or one
// dense parameter as a single row, with its state at `state`.
struct RuleRows {
  absl::Span<float* const> w;
  int64_t state_offset = 0;
  float* state = nullptr;

  float* StateOf(float* row) const { return state != nullptr ? state : row + state_offset; }
};

class Rule {
 public:
  virtual ~Rule() = default;
  virtual int state_per_weight() const = 0;
  // Scalars of state of a whole row, or dense tensor: 0 or 1. With one, a rule is not element-wise.
  virtual int state_per_row() const { return 0; }
  int64_t state_size(int64_t n) const { return state_per_weight() * n + state_per_row(); }
  // Arrays of n that hold the state of a dense tensor of n >= 1 weights: the row's scalar stands at
  // the start of the last one.
  int dense_state_arrays() const { return state_per_weight() + (state_per_row() > 0 ? 1 : 0); }
  // Whether a weight's step depends on its own gradient and state alone: then a dense parameter may
  // be cut anywhere. If not, n is one whole dense tensor or one row.
  virtual bool is_element_wise() const { return state_per_row() == 0; }
  // Fills the state of new weights; state [state_size(n)].
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

// A rule whose float form is its ApplyRows: a dense parameter is one row, its state elsewhere.
class KernelRule : public Rule {
 public:
  using Rule::Apply;
  void Apply(const RuleStep& step, float* w, float* state, const float* g, int64_t n) const final {
    ApplyRows(step, {.w = {&w, 1}, .state = state}, g, n);
  }
  void ApplyRows(const RuleStep& step, const RuleRows& rows, const float* g,
                 int64_t n) const override = 0;
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
