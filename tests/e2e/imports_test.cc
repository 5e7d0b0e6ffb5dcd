// Whole runs that begin with embeddings from files: frozen rows stay, the others start there, in
// one process and in several; values that no row is for are counted.
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
using ::testing::Not;

// Ids of the planted columns are [0, kIds); vectors are there for the even ones and for one that no
// row has.
constexpr int kIds = 40;
constexpr int kNever = 1'000'000;

float Number(int id, int column) { return static_cast<float>(id % 100) / 8 + column; }

std::string Vectors() {
  std::ostringstream out;
  const auto line = [&](int id) {
    out << id;
    for (int c = 0; c < 4; ++c) out << "\t" << Number(id, c);
    out << "\n";
  };
  for (int id = 0; id < kIds; id += 2) line(id);
  line(kNever);
  return out.str();
}

class Imports : public ::testing::Test {
 protected:
  Imports() { WriteTestFile(folder_.File("vectors.tsv"), Vectors()); }
  std::string RunDir(const std::string& run) const { return folder_.File(run); }
  std::string Import(const std::string& more = "") const {
    return absl::StrCat("feature { name: 'id_0' table: 'own' import { format: 'tsv' path: '",
                        folder_.File("vectors.tsv"), "' } ", more, " } ");
  }
  // features: of the data set, over the planted ones; more: of the configuration.
  Arguments Worker(const std::string& run, const std::string& features,
                   const std::string& more = "", const Arguments& flags = {}) const {
    return Joined({Binary("worker"), "--model=shared_bottom", "--dataset=planted",
                   "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run),
                   "--lanes=8", "--batch_size=64", "--epochs=1",
                   absl::StrCat("--override=model { embedding_dim: 4 bottom: [16] tower: [8] } "
                                "dataset { planted { rows: 3000 ids: 40 zipf: 0 } ",
                                features, "} ", more)},
                  flags);
  }
  // The row of feature id_0's table.
  std::string Row(const std::string& run, int id) const {
    return OutputOf({Binary("psctl"), "lookup", "--checkpoint=" + RunDir(run) + "/checkpoints/best",
                     "--table=own", absl::StrCat("--id=", id)});
  }

  TemporaryDirectory folder_;
};

TEST_F(Imports, FrozenRowsStayAndOthersAreCounted) {
  const std::string frozen = Import("frozen: true");
  EXPECT_THAT(
      OutputOf(Worker("one", frozen)),
      HasSubstr("table own: 21 rows imported (for 20 of the 40 values in the training rows)"));
  const std::string digest = DigestOf(RunDir("one"));
  ASSERT_EQ(digest.size(), 32u);
  OutputOf(Worker("short", frozen, "", {"--max_steps=1"}));
  for (const int id : {0, 2, 38, kNever}) {
    EXPECT_EQ(Row("one", id), Row("short", id)) << id;
    EXPECT_THAT(Row("one", id), HasSubstr(absl::StrCat(Number(id, 1)))) << id;
  }
  // Odd ids have no row, and never get one: half of the uniform draws.
  const std::string eval = LastEvent(RunDir("one"), "eval");
  const int unseen = std::stoi(Field(eval, "id_0"));
  EXPECT_GT(unseen, 100);
  EXPECT_LT(unseen, 200);
  EXPECT_EQ(Field(eval, "id_1"), "");

  OutputOf(Mpirun(2, Worker("two", frozen, "", {"--threads=2"})));
  EXPECT_EQ(DigestOf(RunDir("two")), digest);
  EXPECT_EQ(LastEvent(RunDir("two"), "eval"), eval);
  const Arguments command =
      Mpirun(2, Worker("killed", frozen, "train { checkpoint_every_steps: 3 }", {"--resume"}));
  KillAfterCheckpoint(command, RunDir("killed"));
  ResumeToEnd(command);
  EXPECT_EQ(DigestOf(RunDir("killed")), digest);
}

// Keys that are spelt otherwise than the data's would else go unnoticed.
TEST_F(Imports, AnImportThatIsForNoValueSaysSo) {
  WriteTestFile(folder_.File("vectors.tsv"), "id_1\t1\t2\t3\t4\nid_2\t1\t2\t3\t4\n");
  EXPECT_THAT(OutputOf(Worker("none", Import(), "", {"--max_steps=1"})),
              HasSubstr("2 rows imported (for 0 of the 40 values in the training rows: are keys "
                        "spelt as in the data?)"));
}

TEST_F(Imports, FrozenRowsStayWhereTasksAlternate) {
  const std::string frozen = Import("frozen: true");
  for (const std::string owns : {"", "task { name: 'click' owns: ['*', 'rows:*'] } "}) {
    const std::string run = owns.empty() ? "all" : "owns";
    const std::string train = absl::StrCat("train { method: ALTERNATING ", owns, "} ");
    OutputOf(Worker(run, frozen, train));
    OutputOf(Mpirun(2, Worker(run + "2", frozen, train)));
    EXPECT_EQ(DigestOf(RunDir(run)), DigestOf(RunDir(run + "2")));
    OutputOf(Worker(run + "1", frozen, train, {"--max_steps=1"}));
    // Ids without an imported row get none.
    EXPECT_THAT(LastEvent(RunDir(run), "done"), HasSubstr("\"own\":{\"rows\":21,"));
    for (const int id : {0, 2, 38, kNever}) {
      EXPECT_EQ(Row(run, id), Row(run + "1", id)) << id;
    }
  }
}

TEST_F(Imports, FineTunedRowsStartWhereTheFileSays) {
  OutputOf(Worker("tuned", Import()));
  OutputOf(Mpirun(2, Worker("tuned2", Import())));
  EXPECT_EQ(DigestOf(RunDir("tuned")), DigestOf(RunDir("tuned2")));
  // A rate too small to move anything: what was imported is what is left.
  OutputOf(Worker("still", Import(),
                  "optimizer { name: 'slow' rule: 'adam' learning_rate: 1e-30 } "
                  "train { group { match: 'rows:own' optimizer: 'slow' } }"));
  EXPECT_THAT(Row("still", 38), HasSubstr(absl::StrCat(Number(38, 3))));
  EXPECT_THAT(Row("tuned", 38), Not(HasSubstr(absl::StrCat(Number(38, 3)))));
  EXPECT_THAT(Row("tuned", kNever), HasSubstr(absl::StrCat(Number(kNever, 3))));
  EXPECT_EQ(Field(LastEvent(RunDir("tuned"), "eval"), "unseen"), "");
}

// By features, not tables: those of a new one are imported beside the rows of a warm start.
TEST_F(Imports, OfANewFeatureJoinTheRowsOfAWarmStart) {
  const std::string import =
      absl::StrCat("import { format: 'tsv' path: '", folder_.File("vectors.tsv"), "' } ");
  const std::string still = "optimizer { name: 'sparse' rule: 'adam' learning_rate: 1e-30 } ";
  OutputOf(Worker("first", absl::StrCat("feature { name: 'id_0' ", import, "} ")));
  const auto row = [&](const std::string& run, const std::string& feature) {
    return OutputOf({Binary("psctl"), "lookup", "--checkpoint=" + RunDir(run) + "/checkpoints/best",
                     "--table=" + feature, absl::StrCat("--id=", kNever)});
  };
  const std::string output =
      OutputOf(Worker("warm",
                      absl::StrCat("feature { name: 'id_0' ", import, "} ",
                                   "feature { name: 'again' column: 'id_0' ", import, "} "),
                      still, {"--warm_start=" + RunDir("first") + "/checkpoints/best"}));
  EXPECT_THAT(output, HasSubstr("feature id_0: rows of the warm start, not the imported ones"));
  EXPECT_THAT(output, HasSubstr("table shared_4: 21 rows imported"));
  EXPECT_THAT(row("warm", "again"), HasSubstr(absl::StrCat(Number(kNever, 3))));
}

TEST_F(Imports, ErrorsAreToldOnce) {
  WriteTestFile(folder_.File("vectors.tsv"), "1\t2\t3\t4\t5\n2\t2\t3\t4\n");
  const Finished bad = RunProcess(Mpirun(2, Worker("bad", Import())), kRunLimitSeconds);
  EXPECT_EQ(bad.exit_code, 65) << bad.output;
  const std::string error = "vectors.tsv:2: vectors of 3 numbers, feature \"id_0\" has dim 4";
  const size_t first = bad.output.find(error);
  ASSERT_NE(first, std::string::npos) << bad.output;
  EXPECT_EQ(bad.output.find(error, first + 1), std::string::npos) << bad.output;

  const Finished shared =
      RunProcess(Worker("shared", "feature { name: 'id_0' frozen: true } "), kRunLimitSeconds);
  EXPECT_EQ(shared.exit_code, 2) << shared.output;
  EXPECT_THAT(shared.output, HasSubstr("give it one of its own (table: \"id_0\")"));
}

}  // namespace
}  // namespace pagoda::test
