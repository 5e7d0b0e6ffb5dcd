// Whole runs on rows that have a conversion but no click: which models refuse them, and when.
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

using ::testing::HasSubstr;

class Funnel : public ::testing::Test {
 protected:
  // 600 rows user,item,clicked,bought, of which the rows 101 and 201 are no funnel.
  Funnel() {
    std::ostringstream rows;
    for (int i = 0; i < 600; ++i) {
      const uint32_t draw = static_cast<uint32_t>(i) * 2654435761u >> 8;
      const bool is_broken = i == 100 || i == 200;
      const bool click = !is_broken && draw % 3 == 0, buy = is_broken || (click && draw % 2 == 0);
      rows << "u" << draw % 97 << "," << draw / 97 % 53 << "," << click << "," << buy << "\n";
    }
    WriteTestFile(folder_.File("rows.csv"), rows.str());
    WriteTestFile(folder_.File("funnel.textproto"), R"(dataset {
  name: "funnel"
  column: ["user", "item", "clicked", "bought"]
  source { path: "rows.csv" split: TRAIN }
  source { path: "rows.csv" end_row: 90 split: VALID }
  source { path: "rows.csv" end_row: 90 split: TEST }
  feature { name: "user" }
  feature { name: "item" }
  task { name: "click" label: "clicked" }
  task { name: "buy" label: "bought" }
  funnel: ["click", "buy"]
})");
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
