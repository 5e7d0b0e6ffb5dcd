// Whole runs that alternate data set by data set: each task trains on its own files in its turn.
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/funnel_rows.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

using ::testing::HasSubstr;

// user,item,label: rows [first, first + count) of an endless file; backwards: the last one first.
std::string Rows(int first, int count, int rule, bool backwards = false) {
  std::ostringstream out;
  for (int k = 0; k < count; ++k) {
    const int i = first + (backwards ? count - 1 - k : k);
    const uint32_t draw = static_cast<uint32_t>(i) * 2654435761u >> 8;
    const int user = draw % 97, item = draw / 97 % 53;
    out << "u" << user << "," << item << "," << ((user * rule + item * 3) % 11 < 4) << "\n";
  }
  return out.str();
}

// 1000 rows of click, 300 of buy.
std::string DatasetText(const std::string& buys) {
  return absl::StrCat(R"(dataset {
  name: "turns"
  column: ["user", "item", "label"]
  source { path: "clicks.csv" split: TRAIN task: "click" }
  source { path: ")",
                      buys, R"(" split: TRAIN task: "buy" }
  source { path: "valid.csv" split: VALID }
  source { path: "test.csv" split: TEST }
  feature { name: "user" }
  feature { name: "item" }
  task { name: "click" label: "label" }
  task { name: "buy" label: "label" }
})");
}

constexpr char kTurns[] =
    "train { method: ALTERNATING best_by: 'click' task { name: 'click' steps: 3 } "
    "task { name: 'buy' steps: 2 owns: ['buy/*', 'level0/buy/*'] } }";

class Turns : public ::testing::Test {
 protected:
  Turns() {
    WriteTestFile(folder_.File("clicks.csv"), Rows(0, 1000, 7));
    WriteTestFile(folder_.File("buys.csv"), Rows(1000, 300, 5));
    WriteTestFile(folder_.File("backwards.csv"), Rows(1000, 300, 5, /*backwards=*/true));
    WriteTestFile(folder_.File("valid.csv"), Rows(2000, 200, 7));
    WriteTestFile(folder_.File("test.csv"), Rows(3000, 200, 7));
    WriteTestFile(folder_.File("turns.textproto"), DatasetText("buys.csv"));
    WriteTestFile(folder_.File("backwards.textproto"), DatasetText("backwards.csv"));
  }
  std::string RunDir(const std::string& run) const { return folder_.File(run); }
  // Clicks: 16 steps a pass; an epoch is 6 rounds of 5 steps.
  Arguments Worker(const std::string& run, const Arguments& more = {},
                   const std::string& dataset = "turns") const {
    return Joined(
        {Binary("worker"), "--model=cgc", "--dataset=" + folder_.File(dataset + ".textproto"),
         "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run), "--lanes=8",
         "--batch_size=64", "--epochs=2",
         absl::StrCat("--override=model { embedding_dim: 4 expert: [16] tower: [8] level "
                      "{ task_experts: 1 shared_experts: 1 } } ",
                      kTurns)},
        more);
  }
  std::string Checkpoint(const std::string& run, int step) const {
    return absl::StrCat(RunDir(run), "/checkpoints/step-", std::string(10, '0'), step);
  }
  // What click learnt.
  std::string Click(const std::string& run) const {
    return OutputOf({Binary("psctl"), "digest", "--checkpoint=" + Checkpoint(run, 60),
                     "--match=click/*,level0/click/*,level0/shared*,shared_*",
                     "--optimizers=click/*"});
  }

  TemporaryDirectory folder_;
};

TEST_F(Turns, HaveTheSameBitsInAllForms) {
  OutputOf(Worker("one"));
  const std::string done = LastEvent(RunDir("one"), "done");
  EXPECT_EQ(Field(done, "steps"), "60");
  const std::string digest = DigestOf(RunDir("one"));
  ASSERT_EQ(digest.size(), 32u);
  OutputOf(Mpirun(2, Worker("two", {"--threads=2"})));
  EXPECT_EQ(DigestOf(RunDir("two")), digest);
  // 32 is in the middle of a turn.
  OutputOf(Worker("resumed", {"--max_steps=32"}));
  ResumeToEnd(Mpirun(2, Worker("resumed", {"--resume"})));
  EXPECT_EQ(DigestOf(RunDir("resumed")), digest);
}

TEST_F(Turns, AStepMovesItsTasksClockAlone) {
  for (const auto& [steps, click, buy] :
       {std::tuple(3, 3, 0), std::tuple(4, 3, 1), std::tuple(9, 6, 3)}) {
    const std::string run = absl::StrCat("run", steps);
    OutputOf(Worker(run, {absl::StrCat("--max_steps=", steps), "--log_every=1"}));
    const std::string manifest =
        ReadText(absl::StrCat(RunDir(run), "/checkpoints/best/manifest.textproto"));
    // Optimizers: click's rows and dense ones, then buy's dense ones; a clock of 0 is not written.
    std::vector<int> clocks;
    for (size_t at = 0; (at = manifest.find("  clock {", at)) != std::string::npos; ++at) {
      const std::string clock = manifest.substr(at, manifest.find('}', at) - at);
      const size_t step = clock.find(" step: ");
      clocks.push_back(step == std::string::npos ? 0 : std::stoi(clock.substr(step + 7)));
    }
    ASSERT_GE(clocks.size(), 2u) << manifest;
    EXPECT_EQ(clocks.front(), click) << steps;
    EXPECT_EQ(clocks.back(), buy) << steps;
    // A task has no loss in another's step.
    const std::string last = LastEvent(RunDir(run), "step");
    EXPECT_EQ(Field(last, "click") == "0", steps > 3) << last;
    EXPECT_EQ(Field(last, "buy") == "0", steps == 3) << last;
  }
}

TEST_F(Turns, ATaskDoesNotDependOnAnothersFile) {
  OutputOf(Worker("forwards"));
  OutputOf(Worker("backwards", {}, "backwards"));
  EXPECT_EQ(Click("forwards"), Click("backwards"));
  EXPECT_NE(DigestOf(RunDir("forwards")), DigestOf(RunDir("backwards")));
}

// Escm2's loss of the conversion reads which rows have a click: in the conversion's turn, too.
TEST_F(Turns, ALossMayReadAnotherTasksLabels) {
  WriteTestFile(folder_.File("funnel.csv"), FunnelRows());
  WriteTestFile(folder_.File("funnel.textproto"),
                FunnelDataset(R"(source { path: "funnel.csv" split: TRAIN })"));
  const auto digest = [&](const std::string& run, double weight) {
    OutputOf({Binary("worker"), "--model=escm2", "--dataset=" + folder_.File("funnel.textproto"),
              "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run),
              "--lanes=2", "--batch_size=64", "--max_steps=5",
              absl::StrCat("--override=model { embedding_dim: 4 bottom: [16] tower: [8] "
                           "parameter { name: 'counterfactual_weight' value: ",
                           weight, " } } train { method: ALTERNATING ",
                           "task { name: 'click' steps: 3 } task { name: 'buy' steps: 2 } }")});
    return DigestOf(RunDir(run));
  };
  EXPECT_NE(digest("light", 0.1), digest("heavy", 1));
}

TEST_F(Turns, ATaskWithoutRowsOfItsOwnIsAnError) {
  WriteTestFile(folder_.File("buys.csv"), "");
  const Finished done = RunProcess(Worker("empty"), kRunLimitSeconds);
  EXPECT_EQ(done.exit_code, 65) << done.output;
}

}  // namespace
}  // namespace pagoda::test
