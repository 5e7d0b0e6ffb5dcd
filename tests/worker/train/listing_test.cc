#include "worker/train/listing.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/optim/rule.h"
#include "worker/data/format.h"
#include "worker/graph/losses.h"
#include "worker/models/model.h"
#include "worker/train/weighting/weighting.h"

namespace pagoda {
namespace {

TEST(Listing, HasOneLineForEveryNameUnderItsTitle) {
  std::set<std::string> wanted;
  for (const auto& [name, info] : Models()) wanted.insert("models/" + name);
  for (const auto& [name, info] : Rules()) wanted.insert("optimizers/" + name);
  for (const auto& [name, info] : Weightings()) wanted.insert("weightings/" + name);
  for (const auto& [name, info] : Formats()) wanted.insert("formats/" + name);
  for (const LossInfo& info : Losses()) {
    wanted.insert("losses/" + TaskConfig::Loss_Name(info.loss));
  }
  std::set<std::string> listed;
  std::string title;
  const std::vector<std::string> lines = absl::StrSplit(ListRegistries(), '\n');
  for (const std::string& line : lines) {
    if (line.empty()) continue;
    if (line[0] != ' ') {
      title = line;
      continue;
    }
    if (line.substr(0, 6) == "      ") continue;  // A parameter.
    const std::string name = line.substr(2, line.find(' ', 2) - 2);
    EXPECT_GT(line.size(), name.size() + 8) << "no help: " << line;
    EXPECT_TRUE(listed.insert(title + "/" + name).second) << line;
  }
  EXPECT_EQ(listed, wanted);
  EXPECT_TRUE(wanted.count("losses/PAIRWISE") == 1 && wanted.count("models/ple") == 1);
}

// The lines below NAME that are its parameters'.
std::vector<std::string> ParameterLinesOf(const std::string& name) {
  std::vector<std::string> found;
  bool is_below = false;
  const std::vector<std::string> lines = absl::StrSplit(ListRegistries(), '\n');
  for (const std::string& line : lines) {
    const bool is_parameter = line.substr(0, 6) == "      ";
    if (!is_parameter) is_below = line.substr(0, name.size() + 3) == "  " + name + " ";
    if (is_parameter && is_below) found.push_back(line);
  }
  return found;
}

TEST(Listing, HasALineForEveryParameterWithRangeDefaultAndHelp) {
  std::map<std::string, std::vector<ParameterSpec>> all;
  for (const auto& [name, info] : Models()) all[name] = info.parameters;
  for (const auto& [name, info] : Rules()) all[name] = info.parameters;
  for (const auto& [name, info] : Weightings()) all[name] = info.parameters;
  size_t count = 0;
  for (const auto& [name, parameters] : all) {
    SCOPED_TRACE(name);
    const std::vector<std::string> lines = ParameterLinesOf(name);
    ASSERT_EQ(lines.size(), parameters.size());
    for (size_t i = 0; i < lines.size(); ++i, ++count) {
      EXPECT_EQ(lines[i].substr(6, parameters[i].name.size()), parameters[i].name);
      EXPECT_NE(lines[i].find(absl::StrCat("default ", parameters[i].default_value, " ")),
                std::string::npos)
          << lines[i];
      EXPECT_NE(lines[i].find(parameters[i].help), std::string::npos) << lines[i];
    }
  }
  EXPECT_GT(count, 20u);
  EXPECT_EQ(ParameterLinesOf("aitm"),
            (std::vector<std::string>{"      alpha  0 to 1e+06, default 0.6  " +
                                      Models().at("aitm").parameters[0].help}));
}

}  // namespace
}  // namespace pagoda
