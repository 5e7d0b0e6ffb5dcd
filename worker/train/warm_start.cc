#include "worker/train/warm_start.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "common/optim/ema.h"
#include "common/optim/same_state.h"

namespace pagoda {
namespace {

// Names in a note; the rest is counted.
constexpr size_t kNamesTold = 5;

const OptimizerSchema* FindOptimizer(const Schema& schema, absl::string_view name) {
  for (const OptimizerSchema& one : schema.optimizer()) {
    if (one.name() == name) return &one;
  }
  return nullptr;
}

const TableSchema* FindTable(const Schema& schema, absl::string_view name) {
  for (const TableSchema& one : schema.table()) {
    if (one.name() == name) return &one;
  }
  return nullptr;
}

// "w" of "w.state1"; empty: not a state's name.
absl::string_view OwnerOfState(absl::string_view name) {
  const size_t at = name.rfind(".state");
  if (at == absl::string_view::npos) return "";
  const absl::string_view digits = name.substr(at + sizeof(".state") - 1);
  const bool is_number = !digits.empty() && absl::c_all_of(digits, absl::ascii_isdigit);
  return is_number ? name.substr(0, at) : "";
}

// Whose states may be called NAME.stateN: the optimizers without a table, or all if each has one.
std::vector<const OptimizerSchema*> DenseOptimizersOf(const Schema& schema) {
  std::set<uint32_t> of_rows;
  for (const TableSchema& table : schema.table()) {
    of_rows.insert(table.optimizer().begin(), table.optimizer().end());
  }
  std::vector<const OptimizerSchema*> all, found;
  for (int o = 0; o < schema.optimizer_size(); ++o) {
    all.push_back(&schema.optimizer(o));
    if (of_rows.count(static_cast<uint32_t>(o)) == 0) found.push_back(all.back());
  }
  return found.empty() ? all : found;
}

bool SameDenseOptimizers(const Schema& a, const Schema& b) {
  return absl::c_equal(DenseOptimizersOf(a), DenseOptimizersOf(b),
                       [](const auto* x, const auto* y) { return HaveSameState(*x, *y); });
}

}  // namespace

bool HasIds(const Schema& schema, absl::string_view table, uint32_t slot) {
  const TableSchema* const found = FindTable(schema, table);
  return found != nullptr && absl::c_any_of(found->feature(), [&](const FeatureSchema& feature) {
           return feature.slot() == slot;
         });
}

absl::Status CheckSameIds(const Schema& from, const Schema& wanted) {
  for (const TableSchema& table : wanted.table()) {
    const TableSchema* const stored = FindTable(from, table.name());
    if (stored == nullptr) continue;
    for (const FeatureSchema& now : table.feature()) {
      for (const FeatureSchema& then : stored->feature()) {
        // Features without a slot have the table's ids in common.
        if ((now.name() == then.name()) == (now.slot() == then.slot())) continue;
        if (now.slot() == 0 && then.slot() == 0) continue;
        return UsageError(absl::StrCat(
            "table ", table.name(), ": feature \"", now.name(), "\" has slot ", now.slot(),
            ", in the checkpoint \"", then.name(), "\" has ", then.slot(), ": its rows would be ",
            "another's. Keep the order and the names of the checkpoint's features, put new ones ",
            "behind them, or give new ones tables of their own"));
      }
    }
  }
  return absl::OkStatus();
}

std::vector<Tensor> DropForeignStates(std::vector<Tensor> stored, const Schema& from,
                                      const Schema& wanted) {
  std::set<std::string> names;
  for (const Tensor& tensor : stored) names.insert(tensor.name);
  const bool same_dense = SameDenseOptimizers(from, wanted);
  const auto is_foreign = [&](const Tensor& tensor) {
    const std::string owner(OwnerOfState(tensor.name));
    if (owner.empty()) return false;
    if (names.count(owner) > 0) return !same_dense;        // NAME.stateN
    for (const OptimizerSchema& one : from.optimizer()) {  // NAME.OPTIMIZER.stateN
      if (!absl::EndsWith(owner, absl::StrCat(".", one.name()))) continue;
      const OptimizerSchema* const namesake = FindOptimizer(wanted, one.name());
      return namesake == nullptr || !HaveSameState(one, *namesake);
    }
    return true;
  };
  stored.erase(std::remove_if(stored.begin(), stored.end(), is_foreign), stored.end());
  return stored;
}

std::vector<Tensor> TakeDense(std::vector<Tensor> stored, size_t all,
                              const std::vector<Tensor>& wanted, std::string* note) {
  std::map<std::string, Tensor*> by_name;
  for (Tensor& tensor : stored) by_name[tensor.name] = &tensor;
  std::vector<Tensor> taken;
  std::vector<std::string> anew;
  for (const Tensor& tensor : wanted) {
    const auto found = by_name.find(tensor.name);
    const bool fits = found != by_name.end() && found->second->shape == tensor.shape &&
                      found->second->dtype == tensor.dtype;
    if (fits) {
      taken.push_back(std::move(*found->second));
    } else if (!absl::EndsWith(tensor.name, kAverageSuffix)) {
      anew.push_back(tensor.name);
    }
  }
  *note = absl::StrCat(taken.size(), " of its ", all, " dense tensors are taken");
  if (!anew.empty()) {
    const size_t more = anew.size() > kNamesTold ? anew.size() - kNamesTold : 0;
    anew.resize(anew.size() - more);
    absl::StrAppend(note, "; these start anew: ", absl::StrJoin(anew, ", "));
    if (more > 0) absl::StrAppend(note, " and ", more, " more");
  }
  return taken;
}

std::vector<int64_t> TakeClocks(const Manifest& manifest, const Schema& schema) {
  const Schema& stored = manifest.schema();
  std::vector<int64_t> taken;
  for (const OptimizerSchema& optimizer : schema.optimizer()) {
    int64_t& steps = taken.emplace_back(0);
    for (const OptimizerClock& clock : manifest.state().clock()) {
      if (clock.optimizer() >= static_cast<uint32_t>(stored.optimizer_size())) continue;
      const OptimizerSchema& one = stored.optimizer(static_cast<int>(clock.optimizer()));
      if (HaveSameState(one, optimizer)) steps = clock.step();
    }
  }
  return taken;
}

}  // namespace pagoda
