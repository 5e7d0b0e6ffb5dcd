// Features that no task's network reads: a run with them is the run without them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

// Of `single`: one task reads id_0, id_1 and dense_0, the other id_1 and dense_1. Behind them come
// features that none reads.
constexpr char kRead[] = R"(
  feature { name: "id_0" table: "own" }
  feature { name: "id_1" }
  feature { name: "dense_0" kind: DENSE }
  feature { name: "dense_1" kind: DENSE transform: Z_SCORE }
)";
constexpr char kUnread[] = R"(
  feature { name: "id_3" }
  feature { name: "id_4" table: "nobodys" dim: 2 }
  feature { name: "dense_2" kind: DENSE }
)";

class Unread : public testing::Test {
 protected:
  std::string RunDir(const std::string& run) const { return folder_.File(run); }

  Arguments Worker(const std::string& run, const std::string& features,
                   const std::string& model = "", const std::string& train = "") const {
    const std::string dataset = folder_.File(run + ".textproto");
    WriteCarelessly(dataset, absl::StrCat(R"(dataset {
  name: "made_up"
  format: "planted"
  planted { rows: 4000 id_columns: 5 ids: 200 dense_columns: 3 }
  source {}
  task { name: "click" label: "label_0" }
  task { name: "buy" label: "label_1" })",
                                          features, "}"));
    return {Binary("worker"),
            "--model=single",
            "--dataset=" + dataset,
            "--config_root=" PAGODA_SOURCE_DIR "/configs",
            "--run_dir=" + RunDir(run),
            "--lanes=8",
            "--batch_size=64",
            "--epochs=2",
            absl::StrCat("--override=model { embedding_dim: 4 bottom: [16] tower: [8] "
                         "reads { match: 'click/bottom' feature: ['id_0', 'id_1', 'dense_0'] } "
                         "reads { match: 'buy/bottom' feature: ['id_1', 'dense_1'] } ",
                         model, "} train { ", train, " }")};
  }

  TemporaryDirectory folder_;
};

TEST_F(Unread, ChangeNothing) {
  OutputOf(Worker("without", kRead));
  OutputOf(Worker("with", absl::StrCat(kRead, kUnread)));
  const std::string digest = DigestOf(RunDir("without"));
  ASSERT_EQ(digest.size(), 32u);
  EXPECT_EQ(DigestOf(RunDir("with")), digest);
  OutputOf(Mpirun(2, Worker("two", absl::StrCat(kRead, kUnread))));
  EXPECT_EQ(DigestOf(RunDir("two")), digest);
  const std::string done = LastEvent(RunDir("two"), "done");
  EXPECT_EQ(Field(done, "rows"), Field(LastEvent(RunDir("without"), "done"), "rows"));
  EXPECT_EQ(done.find("nobodys"), std::string::npos) << done;
  // A checkpoint says so, too.
  OutputOf(
      {Binary("worker"), "--mode=evaluate", "--checkpoint=" + RunDir("two") + "/checkpoints/best"});
}

// The groups of GAUC and the members of a cross are values, not rows.
TEST_F(Unread, StillGroupAndCross) {
  const std::string cross = "feature { name: 'crossed' cross { feature: 'id_3' feature: 'id_0' } }";
  OutputOf(Worker("grouped", absl::StrCat(kRead, kUnread, cross),
                  "reads { match: 'buy/tower' feature: 'crossed' }", "gauc_by: 'id_4'"));
  const std::string eval = LastEvent(RunDir("grouped"), "eval");
  EXPECT_NE(eval.find("\"gauc\""), std::string::npos) << eval;
}

}  // namespace
}  // namespace pagoda::test
