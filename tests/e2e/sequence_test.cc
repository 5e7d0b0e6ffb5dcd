// Whole runs on a history that is pooled by attention: the same bits in one process and in two.
#include <cstdlib>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

class SequenceRun : public ::testing::Test {
 protected:
  std::string RunDir(const std::string& run) const { return folder_.File(run); }
  Arguments Worker(const std::string& run, const std::string& override_text) const {
    return {Binary("worker"),
            "--model=din",
            "--dataset=planted_history",
            "--config_root=" PAGODA_SOURCE_DIR "/configs",
            "--run_dir=" + RunDir(run),
            "--lanes=4",
            "--batch_size=128",
            "--epochs=6",
            "--override=" + override_text};
  }
  double Auc(const std::string& run) const {
    return std::atof(Field(LastEvent(RunDir(run), "eval"), "auc").c_str());
  }

  TemporaryDirectory folder_;
};

TEST_F(SequenceRun, AttentionToTheCandidateHasTheSameBitsInTwoProcesses) {
  OutputOf(Worker("one", ""));
  OutputOf(Mpirun(2, Worker("two", "")));
  EXPECT_EQ(DigestOf(RunDir("two")), DigestOf(RunDir("one")));
  EXPECT_GT(Auc("one"), 0.65);  // 0.72; chance is 0.5.
}

TEST_F(SequenceRun, SelfAttentionToo) {
  const std::string self = "model { sequence { feature: 'history' heads: 2 } }";
  OutputOf(Worker("one", self));
  OutputOf(Mpirun(2, Worker("two", self)));
  EXPECT_EQ(DigestOf(RunDir("two")), DigestOf(RunDir("one")));
  OutputOf(Worker("target", ""));
  EXPECT_NE(DigestOf(RunDir("target")), DigestOf(RunDir("one")));
}

}  // namespace
}  // namespace pagoda::test
