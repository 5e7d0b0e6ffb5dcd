#include "common/optim/same_state.h"

#include <map>
#include <string>

#include "common/optim/rule.h"

namespace pagoda {
namespace {

absl::StatusOr<std::unique_ptr<Rule>> RuleOf(const OptimizerSchema& optimizer) {
  const std::map<std::string, double> parameters(optimizer.parameter().begin(),
                                                 optimizer.parameter().end());
  return MakeRule(optimizer.rule(), parameters);
}

}  // namespace

bool HaveSameState(const OptimizerSchema& a, const OptimizerSchema& b) {
  if (a.name() != b.name() || a.rule() != b.rule()) return false;
  const auto rule_a = RuleOf(a), rule_b = RuleOf(b);
  if (!rule_a.ok() || !rule_b.ok()) return false;
  return (*rule_a)->state_per_weight() == (*rule_b)->state_per_weight() &&
         (*rule_a)->state_per_row() == (*rule_b)->state_per_row();
}

}  // namespace pagoda
