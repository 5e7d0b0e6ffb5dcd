#include "worker/data/format.h"

#include <utility>

#include "common/config.h"
#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

std::map<std::string, FormatInfo>& Registry() {
  static auto* const formats = new std::map<std::string, FormatInfo>;
  return *formats;
}

}  // namespace

const std::map<std::string, FormatInfo>& Formats() { return Registry(); }

absl::StatusOr<const FormatInfo*> FindFormat(const std::string& name) {
  const auto found = Registry().find(name);
  if (found != Registry().end()) return &found->second;
  std::vector<std::string> known;
  for (const auto& [format, info] : Registry()) known.push_back(format);
  return UsageError(
      absl::StrCat("dataset.format: no format \"", name, "\"", NearestHint(name, known)));
}

bool RegisterFormat(FormatInfo info) {
  const std::string name = info.name;
  CHECK(Registry().emplace(name, std::move(info)).second) << "two formats are called " << name;
  return true;
}

}  // namespace pagoda
