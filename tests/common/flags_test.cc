#include "common/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

std::vector<FlagSpec> Known() {
  return {{"model", "string", "ple", "The model."},
          {"batch_size", "int32", "1024", "Global batch size."},
          {"seed", "uint64", "1", "Seed."},
          {"memory_budget_mb", "double", "0", "Budget."},
          {"resume", "bool", "false", "Go on."},
          {"max_steps", "int64", "0", ""},
          {"flagfile", "string", "", ""}};
}

absl::Status Check(const std::vector<std::string>& arguments) {
  return CheckCommandLine(Known(), arguments);
}

TEST(Flags, WhatGflagsTakes) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {},
           {"--model=ple", "-batch_size=4", "--seed", "18446744073709551615", "--resume"},
           {"--noresume", "--resume=no", "--resume=TRUE", "positional", "-"},
           {"--batch-size=0x10", "--memory_budget_mb=1e-3", "--max_steps=-9223372036854775808"},
           {"--model", "--strange but a value"},
           {"--model=", "--", "--unknown"}}) {
    EXPECT_TRUE(Check(arguments).ok()) << Check(arguments);
  }
}

TEST(Flags, ErrorsSayWhatAndWhatIsNear) {
  const struct {
    std::vector<std::string> arguments;
    const char* error;
  } cases[] = {
      {{"--bach_size=4"}, "unknown flag --bach_size; did you mean --batch_size?"},
      {{"--zzzzzzz"}, "unknown flag --zzzzzzz; --help lists the flags"},
      {{"--nomodel"}, "unknown flag --nomodel"},
      {{"--=3"}, "unknown flag --"},
      {{"--batch_size=4k"}, "flag --batch_size=4k: must be a whole number (int32)"},
      {{"--batch_size", "x"}, "flag --batch_size=x"},
      {{"--batch_size=2147483648"}, "must be a whole number"},
      {{"--batch_size="}, "must be a whole number"},
      {{"--seed=-1"}, "at least 0"},
      {{"--seed=18446744073709551616"}, "at least 0"},
      {{"--max_steps=9223372036854775808"}, "must be a whole number"},
      {{"--memory_budget_mb=lots"}, "must be a number"},
      {{"--resume=maybe"}, "must be true or false"},
      {{"--batch_size"}, "flag --batch_size needs a value"},
      {{"--flagfile=/no/such/file"}, "/no/such/file"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Check(c.arguments);
    ASSERT_FALSE(status.ok()) << c.arguments[0];
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
    EXPECT_THAT(status.message(), HasSubstr(c.error));
  }
}

TEST(Flags, FlagFilesAreChecked) {
  TemporaryDirectory folder;
  const std::string path = folder.File("flags");
  ASSERT_TRUE(WriteFileAtomically(path, "# a comment\n\n--model=ple\n  --batch_size=8\n").ok());
  EXPECT_TRUE(Check({"--flagfile=" + path}).ok());
  ASSERT_TRUE(WriteFileAtomically(path, "--model=ple\n--modle=ple\n").ok());
  EXPECT_THAT(Check({"--flagfile", path}).message(), HasSubstr("flags:2: unknown flag --modle"));
  ASSERT_TRUE(WriteFileAtomically(path, "--flagfile=" + path + "\n").ok());
  EXPECT_THAT(Check({"--flagfile=" + path}).message(), HasSubstr("name each other"));
}

TEST(Flags, HelpIsAlignedAndWrapped) {
  std::vector<FlagSpec> flags = Known();
  flags[0].help = std::string("Long ") + std::string(300, 'x') + " and more words of help" +
                  std::string(90, ' ') + "end";
  const std::string help = HelpText("worker [flags]", flags);
  EXPECT_THAT(help, HasSubstr("worker [flags]\n\n  --model=TEXT"));
  EXPECT_THAT(help, HasSubstr("\n  --batch_size=N        Global batch size. (default 1024)\n"));
  EXPECT_THAT(help, HasSubstr("--resume "));
  for (const auto line : absl::StrSplit(help, '\n')) {
    if (line.find("xxx") != absl::string_view::npos) continue;  // One word cannot be broken.
    EXPECT_LE(line.size(), 100u);
  }
}

}  // namespace
}  // namespace pagoda
