// Whole runs with averages of the dense weights: the same bits in all forms, killed or not; what
// evaluates and is dumped is the averages.
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

constexpr char kAverages[] = "train { ema_decay: 0.98 checkpoint_every_steps: 7 }";

class Averages : public ::testing::Test {
 protected:
  std::string RunDir(const std::string& run) const { return folder_.File(run); }
  // 2 epochs of 50 steps.
  Arguments Worker(const std::string& run, const std::string& override_text,
                   const Arguments& more = {}) const {
    return Joined(
        {Binary("worker"), "--model=shared_bottom", "--dataset=planted",
         "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run), "--lanes=8",
         "--batch_size=64", "--epochs=2",
         "--override=model { embedding_dim: 4 bottom: [16] tower: [8] } dataset { planted "
         "{ rows: 4000 } } " +
             override_text},
        more);
  }

  TemporaryDirectory folder_;
};

TEST_F(Averages, HaveTheSameBitsInAllForms) {
  OutputOf(Worker("one", kAverages));
  const std::string digest = DigestOf(RunDir("one"));
  ASSERT_EQ(digest.size(), 32u);
  OutputOf(Mpirun(2, Worker("two", kAverages, {"--threads=2"})));
  EXPECT_EQ(DigestOf(RunDir("two")), digest);
  const Arguments command = Mpirun(2, Worker("killed", kAverages, {"--resume"}));
  KillAfterCheckpoint(command, RunDir("killed"));
  ResumeToEnd(command);
  EXPECT_EQ(DigestOf(RunDir("killed")), digest);
  EXPECT_EQ(LastEvent(RunDir("killed"), "eval"), LastEvent(RunDir("one"), "eval"));

  // They are part of the digest, and of what is evaluated.
  OutputOf(Worker("none", ""));
  EXPECT_NE(DigestOf(RunDir("none")), digest);
  EXPECT_NE(LastEvent(RunDir("none"), "eval"), LastEvent(RunDir("one"), "eval"));
}

TEST_F(Averages, EvaluateAndServeTheModel) {
  OutputOf(Worker("run", kAverages));
  const std::string best = RunDir("run") + "/checkpoints/best";
  const std::string output =
      OutputOf({Binary("worker"), "--mode=evaluate", "--checkpoint=" + best});
  EXPECT_THAT(output, ::testing::HasSubstr(LastEvent(RunDir("run"), "eval")));

  OutputOf(
      {Binary("psctl"), "dump", "--checkpoint=" + best, "--output=" + RunDir("dump"), "--dense"});
  const auto stored = ReadSafetensors(best + "/dense.safetensors");
  const auto dumped = ReadSafetensors(RunDir("dump") + "/dense.safetensors");
  ASSERT_TRUE(stored.ok() && dumped.ok()) << stored.status() << dumped.status();
  const auto find = [](const SafetensorsFile& file, const std::string& name) {
    for (const Tensor& tensor : file.tensors) {
      if (tensor.name == name) return tensor.bytes;
    }
    return std::string();
  };
  ASSERT_FALSE(dumped->tensors.empty());
  int differ = 0;
  for (const Tensor& tensor : dumped->tensors) {
    EXPECT_FALSE(absl::EndsWith(tensor.name, ".ema") || absl::StrContains(tensor.name, ".state"));
    EXPECT_EQ(tensor.bytes, find(*stored, tensor.name + ".ema")) << tensor.name;
    differ += tensor.bytes != find(*stored, tensor.name);
  }
  EXPECT_GT(differ, 0);
}

}  // namespace
}  // namespace pagoda::test
