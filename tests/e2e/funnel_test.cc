// Whole runs on rows that have a conversion but no click: which models refuse them, and when.
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

class Funnel : public ::testing::Test {
 protected:
  // Of 600 rows the lines 101 and 201 are no funnel.
  Funnel() {
    WriteTestFile(folder_.File("rows.csv"), FunnelRows({100, 200}));
    WriteTestFile(folder_.File("funnel.textproto"),
                  FunnelDataset(R"(source { path: "rows.csv" split: TRAIN }
  source { path: "rows.csv" end_row: 90 split: VALID }
  source { path: "rows.csv" end_row: 90 split: TEST })"));
  }
  Finished Train(const std::string& model, const std::string& run, const std::string& dataset) {
    return RunProcess(
        {Binary("worker"), "--model=" + model, "--dataset=" + folder_.File("funnel.textproto"),
         "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + folder_.File(run),
         "--batch_size=64", "--max_steps=3", "--override=dataset { " + dataset + " }"},
        kRunLimitSeconds);
  }
  Finished With(const std::string& mode, const std::string& run, const Arguments& more) {
    return RunProcess(Joined({Binary("worker"), "--mode=" + mode,
                              "--checkpoint=" + folder_.File(run) + "/checkpoints/best"},
                             more),
                      kRunLimitSeconds);
  }

  TemporaryDirectory folder_;
};

TEST_F(Funnel, ModelsOfTheEntireSpaceRefuseABrokenOne) {
  for (const std::string model : {"esmm", "escm2"}) {
    const Finished refused = Train(model, model, "");
    EXPECT_EQ(refused.exit_code, 65) << refused.output;
    EXPECT_THAT(refused.output, HasSubstr("rows.csv:101:4: bought: buy is 1 but click is 0"));
    const Finished capped = Train(model, model, "bad_rows: SKIP bad_rows_cap: 1");
    EXPECT_EQ(capped.exit_code, 65) << capped.output;
    const Finished skipped = Train(model, model, "bad_rows: SKIP");
    EXPECT_EQ(skipped.exit_code, 0) << skipped.output;
    EXPECT_THAT(skipped.output, HasSubstr("2 bad rows skipped"));
    EXPECT_THAT(ReadText(folder_.File(model) + "/quarantine.txt"), HasSubstr("rows.csv:201:4"));
  }
}

TEST_F(Funnel, OthersTakeIt) {
  for (const std::string model : {"aitm", "mmoe"}) {
    const Finished done = Train(model, model, "");
    EXPECT_EQ(done.exit_code, 0) << done.output;
  }
}

// The records of the first run lie where the second looks for its own.
TEST_F(Funnel, TheDataSetMaySayThatItIsNone) {
  const Finished lax = Train("esmm", "lax", "strict_funnel: false");
  EXPECT_EQ(lax.exit_code, 0) << lax.output;
  EXPECT_EQ(With("evaluate", "lax", {}).exit_code, 0);
  const Finished strict = With("evaluate", "lax", {"--override=dataset { strict_funnel: true }"});
  EXPECT_EQ(strict.exit_code, 65) << strict.output;
  const Finished predicted = With("predict", "lax", {"--override=dataset { strict_funnel: true }"});
  EXPECT_EQ(predicted.exit_code, 0) << predicted.output;
}

}  // namespace
}  // namespace pagoda::test
