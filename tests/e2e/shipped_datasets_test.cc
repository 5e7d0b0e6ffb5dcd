// Every shipped data set that needs no download, and the public layouts where samples of them are
// at hand (PAGODA_DATA): loads, and trains a few steps with the real worker.
#include <sys/stat.h>

#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

struct Shipped {
  const char* name;
  // Of the layouts: what stands in place of the configuration's sources, "%" being the samples'
  // folder, and a file that must be there.
  std::string sources;
  const char* needs;
};

void PrintTo(const Shipped& shipped, std::ostream* out) { *out << shipped.name; }

class ShippedDatasetTest : public testing::TestWithParam<Shipped> {};

TEST_P(ShippedDatasetTest, TrainsAFewSteps) {
  const std::string samples = PAGODA_DATA;
  struct stat found;
  if (GetParam().needs[0] != '\0' &&
      stat(absl::StrCat(samples, "/", GetParam().needs).c_str(), &found) != 0) {
    GTEST_SKIP() << "no " << samples << "/" << GetParam().needs;
  }
  std::string sources = GetParam().sources;
  for (size_t at; (at = sources.find('%')) != std::string::npos;) sources.replace(at, 1, samples);
  const TemporaryDirectory folder;
  // No run takes more than the steps below; patience and evaluation are other tests' matter.
  const Finished run = RunProcess(
      {Binary("worker"), "--model=shared_bottom", absl::StrCat("--dataset=", GetParam().name),
       "--run_dir=" + folder.File("run"), "--batch_size=16", "--max_steps=3",
       absl::StrCat("--override=dataset { ", sources, " }")},
      /*limit_seconds=*/240);
  EXPECT_EQ(run.exit_code, 0) << run.output;
}

std::string Planted(int rows) {
  const int train = rows - 200;
  return absl::StrCat("planted { rows: ", rows, " } source { end_row: ", train,
                      " split: TRAIN } source { first_row: ", train, " end_row: ", train + 100,
                      " split: VALID } source { first_row: ", train + 100, " split: TEST }");
}

// The first rows of Census-Income in all three splits.
std::string CensusHead() {
  std::string sources;
  for (const char* split : {"TRAIN", "VALID", "TEST"}) {
    absl::StrAppend(&sources, "source { path: '", PAGODA_SOURCE_DIR,
                    "/configs/datasets/census_income/census-income.test.gz' end_row: 2000 split: ",
                    split, " }");
  }
  return sources;
}

INSTANTIATE_TEST_SUITE_P(
    All, ShippedDatasetTest,
    testing::Values(
        Shipped{"census_education", CensusHead(), ""},
        Shipped{"census_dividends", CensusHead(), ""}, Shipped{"planted_mmoe", Planted(1000), ""},
        Shipped{"planted_funnel", Planted(2000), ""}, Shipped{"planted_watch", Planted(2000), ""},
        Shipped{"criteo_csv", "source { path: '%/criteo-tiny/train.tiny.csv.gz' }",
                "criteo-tiny/train.tiny.csv.gz"},
        Shipped{"ali_ccp",
                "source { path: '%/mtl-format-samples/ali_ccp_train_sample.csv.gz' split: TRAIN }"
                "source { path: '%/mtl-format-samples/ali_ccp_val_sample.csv.gz' split: VALID }"
                "source { path: '%/mtl-format-samples/ali_ccp_test_sample.csv.gz' split: TEST }",
                "mtl-format-samples/ali_ccp_train_sample.csv.gz"},
        Shipped{"ali_ccp_esmm",
                "source { path: '%/mtl-format-samples/paddlerec_esmm_aliccp_train_small.txt.gz' "
                "split: TRAIN }",
                "mtl-format-samples/paddlerec_esmm_aliccp_train_small.txt.gz"},
        Shipped{
            "aliexpress",
            "source { path: '%/mtl-format-samples/aliexpress_train_sample.csv.gz' split: TRAIN }"
            "source { path: '%/mtl-format-samples/aliexpress_test_sample.csv.gz' split: TEST }",
            "mtl-format-samples/aliexpress_train_sample.csv.gz"},
        Shipped{"ipinyou",
                "source { path: 'xz -dc %/ipinyou-tiny/train.fm.txt.xz |' split: TRAIN }",
                "ipinyou-tiny/train.fm.txt.xz"}),
    [](const testing::TestParamInfo<Shipped>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace pagoda::test
