#include "worker/train/listing.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/optim/rule.h"
#include "worker/data/format.h"
#include "worker/graph/losses.h"
#include "worker/models/model.h"
#include "worker/train/weighting/weighting.h"

namespace pagoda {
namespace {

struct Entry {
  std::string name, help, source;
  std::vector<ParameterSpec> parameters = {};
};

// Of a registry whose values have name, help, source and parameters.
template <typename Registry>
std::vector<Entry> EntriesOf(const Registry& registry) {
  std::vector<Entry> entries;
  for (const auto& [name, info] : registry) {
    entries.push_back({name, info.help, info.source, info.parameters});
  }
  return entries;
}

// "0 or 1, default 0", "whole, 1 to 64, default 2", "0 to 1e+06, default 0.6".
std::string DomainOf(const ParameterSpec& parameter) {
  const std::string by_default = absl::StrCat(", default ", parameter.default_value);
  if (parameter.kind == ParameterKind::kFlag) return "0 or 1" + by_default;
  return absl::StrCat(parameter.kind == ParameterKind::kWhole ? "whole, " : "", parameter.minimum,
                      " to ", parameter.maximum, by_default);
}

// A line a parameter, in columns, below the name that has them.
std::string ParameterLines(const std::vector<ParameterSpec>& parameters) {
  size_t name_width = 0, domain_width = 0;
  for (const ParameterSpec& parameter : parameters) {
    name_width = std::max(name_width, parameter.name.size());
    domain_width = std::max(domain_width, DomainOf(parameter).size());
  }
  std::string text;
  for (const ParameterSpec& parameter : parameters) {
    absl::StrAppendFormat(&text, "      %-*s  %-*s  %s\n", name_width, parameter.name, domain_width,
                          DomainOf(parameter), parameter.help);
  }
  return text;
}

std::string Section(const std::string& title, const std::vector<Entry>& entries) {
  size_t width = 0;
  for (const Entry& entry : entries) width = std::max(width, entry.name.size());
  std::string text = title + "\n";
  for (const Entry& entry : entries) {
    absl::StrAppendFormat(&text, "  %-*s  %s", width, entry.name, entry.help);
    if (!entry.source.empty()) absl::StrAppend(&text, " (", entry.source, ")");
    text += "\n" + ParameterLines(entry.parameters);
  }
  return text;
}

}  // namespace

std::string ListRegistries() {
  std::vector<Entry> losses, formats;
  for (const LossInfo& info : Losses()) {
    losses.push_back({TaskConfig::Loss_Name(info.loss), info.help, info.source});
  }
  for (const auto& [name, info] : Formats()) formats.push_back({name, info.help, ""});
  return absl::StrCat(Section("models", EntriesOf(Models())), "\n",
                      Section("optimizers", EntriesOf(Rules())), "\n", Section("losses", losses),
                      "\n", Section("weightings", EntriesOf(Weightings())), "\n",
                      Section("formats", formats));
}

}  // namespace pagoda
