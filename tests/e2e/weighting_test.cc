// Whole runs of every weighting: the same bits in all forms, killed or not, and what they log.
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

using ::testing::HasSubstr;

class WeightingRun : public ::testing::TestWithParam<const char*> {
 protected:
  std::string RunDir(const std::string& run) const { return folder_.File(run); }

  // 60 steps.
  Arguments Worker(const std::string& run, const Arguments& more = {}) const {
    return Joined(
        {Binary("worker"), "--model=mmoe", "--dataset=planted",
         "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run), "--lanes=4",
         "--batch_size=64", "--max_steps=60", "--log_every=1",
         absl::StrCat("--override=model { embedding_dim: 4 expert: [16] tower: [8] experts: 3 } "
                      "dataset { planted { rows: 4000 } } train { checkpoint_every_steps: 7 "
                      "weighting { ",
                      GetParam(), " } }")},
        more);
  }
  std::string Line(const std::string& run, const std::string& event) const {
    return LastEvent(RunDir(run), event);
  }
  std::string DigestOfRun(const std::string& run) const { return DigestOf(RunDir(run)); }

  TemporaryDirectory folder_;
};

TEST_P(WeightingRun, HasTheSameBitsInAllForms) {
  OutputOf(Worker("one"));
  const std::string digest = DigestOfRun("one");
  ASSERT_EQ(digest.size(), 32u);
  EXPECT_THAT(Line("one", "step"), HasSubstr("\"weight\":{\"click\":"));
  EXPECT_THAT(Line("one", "done"), HasSubstr("\"bytes_pushed\":"));

  OutputOf(Mpirun(2, Worker("two", {"--threads=2"})));
  EXPECT_EQ(DigestOfRun("two"), digest);
  // Servers of their own: three shards for two workers.
  OutputOf(Mpirun(3, {Binary("pserver")}, 2, Worker("three")));
  EXPECT_EQ(DigestOfRun("three"), digest);

  const Arguments command = Mpirun(2, Worker("killed", {"--resume"}));
  for (int kill = 0; kill < 2; ++kill) KillAfterCheckpoint(command, RunDir("killed"));
  ResumeToEnd(command);
  EXPECT_EQ(DigestOfRun("killed"), digest);
}

INSTANTIATE_TEST_SUITE_P(
    All, WeightingRun,
    ::testing::Values("name: 'uwl'", "name: 'dwa' parameter { name: 'window_steps' value: 5 }",
                      "name: 'gradnorm' group: 'experts*'", "name: 'pcgrad'", "name: 'mgda'",
                      "name: 'famo' parameter { name: 'rate' value: 1 }"),
    [](const auto& param) {
      const std::string text = param.param;
      const size_t begin = text.find('\'') + 1;
      return text.substr(begin, text.find('\'', begin) - begin);
    });

}  // namespace
}  // namespace pagoda::test
