// Whole runs in which a task's rows, splits and scales might depend on another's: by the negatives
// that the other leaves out, or by files of the other's own. Task buy owns nothing that click's
// output reads; so click's part of the model and its predictions are the same bits without buy, and
// with buy's labels on other rows.
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

// user,item,price,click,buy. `turned`: buy is that of the row so many places on.
std::string Rows(int first, int count, int turned) {
  const auto draw_of = [](int i) { return static_cast<uint32_t>(i) * 2654435761u >> 8; };
  std::ostringstream out;
  out << "user,item,price,click,buy\n";
  for (int k = 0; k < count; ++k) {
    const uint32_t draw = draw_of(first + k), other = draw_of(first + (k + turned) % count);
    out << draw % 97 << "," << draw / 97 % 53 << "," << draw % 1009 * 0.5 + first << ","
        << (draw % 7 < 3) << "," << (other % 5 == 0) << "\n";
  }
  return out.str();
}

constexpr char kShared[] = R"(
  source { path: "one.csv" } split { train: 8 valid: 1 test: 1 }
  task { name: "click" label: "click" sample_space: "user < 60" CLICK }
  task { name: "buy" label: "buy" negative_sampling: 0.2 })";

// Buy's rows come first, and have other prices.
constexpr char kApart[] = R"(
  source { path: "two.csv" task: "buy" } source { path: "one.csv" task: "click" }
  split { train: 8 valid: 1 test: 1 }
  feature { name: "price" kind: DENSE transform: [LOG1P, Z_SCORE] }
  feature { name: "least" kind: DENSE column: "price" transform: MIN_MAX }
  feature { name: "cut" kind: BUCKET column: "price" buckets: 8 }
  task { name: "click" label: "click" CLICK } task { name: "buy" label: "buy" })";

class Independence : public ::testing::Test {
 protected:
  std::string RunDir(const std::string& run) const { return folder_.File(run); }

  // Trains; record,click of every test row.
  std::string Click(const std::string& run, const std::string& dataset, const std::string& click,
                    const std::string& train) {
    WriteTestFile(
        folder_.File("ads.textproto"),
        absl::StrCat("dataset { name: 'ads' csv { header: true } feature { name: 'user' } "
                     "feature { name: 'item' }",
                     absl::StrReplaceAll(dataset, {{"CLICK", click}}), "}"));
    OutputOf({Binary("worker"), "--model=cgc", "--dataset=" + folder_.File("ads.textproto"),
              "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run),
              "--lanes=4", "--batch_size=64", "--epochs=2",
              absl::StrCat("--override=model { embedding_dim: 4 expert: [16] tower: [8] level "
                           "{ task_experts: 1 shared_experts: 1 } } train { method: ALTERNATING "
                           "best_by: 'click' ",
                           train, " }")});
    const std::string best = RunDir(run) + "/checkpoints/best";
    OutputOf({Binary("worker"), "--mode=predict", "--checkpoint=" + best,
              "--output=" + RunDir(run) + ".csv"});
    std::string predictions;
    std::ifstream file(RunDir(run) + ".csv");
    for (std::string line; std::getline(file, line);) {
      absl::StrAppend(&predictions, line.substr(0, line.find(',', line.find(',') + 1)), "\n");
    }
    return predictions;
  }
  // Of click's part of the model, and of the step.
  std::string Learnt(const std::string& run) const {
    return OutputOf({Binary("psctl"), "digest", "--checkpoint=" + RunDir(run) + "/checkpoints/best",
                     "--match=click/*,level0/click/*,level0/shared*,shared_*",
                     "--optimizers=click/*"});
  }
  void Write(int turned) const {
    WriteTestFile(folder_.File("one.csv"), Rows(0, 1500, turned));
    WriteTestFile(folder_.File("two.csv"), Rows(5000, 700, turned));
  }
  void ExpectIndependent(const std::string& dataset, const std::string& click,
                         const std::string& steps) {
    const std::string buy = "task { name: 'buy' owns: ['buy/*', 'level0/buy/*'] " + steps + " } " +
                            "task { name: 'click' " + steps + " }";
    Write(0);
    const std::string both = Click("both", dataset, click, buy);
    EXPECT_GT(both.size(), 500u);  // Predictions of some 100 rows.
    EXPECT_EQ(Click("alone", dataset, click, buy + " tasks: 'click'"), both);
    // In turns, click's run without buy has fewer steps, and looks up fewer rows.
    if (steps.empty()) EXPECT_EQ(Learnt("alone"), Learnt("both"));
    const std::string learnt = Learnt("both");
    const std::string digest = DigestOf(RunDir("both"));
    Write(13);
    EXPECT_EQ(Click("permuted", dataset, click, buy), both);
    EXPECT_EQ(Learnt("permuted"), learnt);
    EXPECT_NE(DigestOf(RunDir("permuted")), digest);  // Buy did learn something else.
  }

  TemporaryDirectory folder_;
};

TEST_F(Independence, OfNegativesThatAnotherTaskLeavesOut) { ExpectIndependent(kShared, "", ""); }

TEST_F(Independence, OfNegativesThatBothLeaveOut) {
  ExpectIndependent(kShared, "negative_sampling: 0.5", "");
}

TEST_F(Independence, OfAnotherTasksFile) {
  ExpectIndependent(kApart, "negative_sampling: 0.5", "");
}

TEST_F(Independence, OfAnotherTasksFileTurnByTurn) {
  // Click's rows are the longer pass, so that an epoch has as many steps of click without buy.
  ExpectIndependent(kApart, "negative_sampling: 0.5", "steps: 2");
}

}  // namespace
}  // namespace pagoda::test
