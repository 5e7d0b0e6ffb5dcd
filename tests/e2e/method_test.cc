// Whole runs in which tasks alternate: the same bits in all forms, killed or not; a task that is
// there or not changes nothing of one that does not depend on it; warm starts.
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

using ::testing::HasSubstr;

// Task buy owns nothing that click's output reads.
std::string Independent(const std::string& more = "") {
  return absl::StrCat(
      "train { method: ALTERNATING best_by: 'click' "
      "task { name: 'buy' owns: ['buy/*', 'level0/buy/*'] } ",
      more, "}");
}

class Method : public ::testing::Test {
 protected:
  std::string RunDir(const std::string& run) const { return folder_.File(run); }

  // 2 epochs of 50 steps.
  Arguments Worker(const std::string& run, const std::string& override_text,
                   const Arguments& more = {}) const {
    return WorkerOf("cgc", "expert: [16] level { task_experts: 1 shared_experts: 1 }", run,
                    override_text, more);
  }
  Arguments WorkerOf(const std::string& model, const std::string& layers, const std::string& run,
                     const std::string& override_text, const Arguments& more = {}) const {
    return Joined(
        {Binary("worker"), "--model=" + model, "--dataset=planted",
         "--config_root=" PAGODA_SOURCE_DIR "/configs", "--run_dir=" + RunDir(run), "--lanes=8",
         "--batch_size=64", "--epochs=2",
         absl::StrCat("--override=model { embedding_dim: 4 tower: [8] ", layers,
                      " } dataset { planted { rows: 4000 } ", data_, " } ", override_text)},
        more);
  }
  std::string DigestOfRun(const std::string& run) const { return DigestOf(RunDir(run)); }
  std::string Best(const std::string& run) const { return RunDir(run) + "/checkpoints/best"; }
  std::string Psctl(const std::string& run, const Arguments& more) const {
    return OutputOf(Joined({Binary("psctl"), "digest", "--checkpoint=" + Best(run)}, more));
  }
  // record,click of every test row.
  std::string FirstTask(const std::string& run) const {
    OutputOf({Binary("worker"), "--mode=predict", "--checkpoint=" + Best(run),
              "--output=" + RunDir(run) + ".csv"});
    std::ifstream file(RunDir(run) + ".csv");
    std::string line, text;
    while (std::getline(file, line)) {
      const size_t second = line.find(',', line.find(',') + 1);
      absl::StrAppend(&text, line.substr(0, second), "\n");
    }
    return text;
  }

  TemporaryDirectory folder_;
  std::string data_;  // More of the data set's configuration.
};

TEST_F(Method, AlternatingHasTheSameBitsInAllForms) {
  const std::string both = "train { method: ALTERNATING checkpoint_every_steps: 7 }";
  OutputOf(Worker("one", both));
  const std::string digest = DigestOfRun("one");
  ASSERT_EQ(digest.size(), 32u);
  OutputOf(Mpirun(2, Worker("two", both, {"--threads=2"})));
  EXPECT_EQ(DigestOfRun("two"), digest);
  const Arguments command = Mpirun(2, Worker("killed", both, {"--resume"}));
  for (int kill = 0; kill < 3; ++kill) KillAfterCheckpoint(command, RunDir("killed"));
  ResumeToEnd(command);
  EXPECT_EQ(DigestOfRun("killed"), digest);
}

TEST_F(Method, ATaskThatOwnsNothingSharedMightNotBeThere) {
  OutputOf(Worker("both", Independent()));
  OutputOf(Worker("alone", Independent("tasks: 'click' ")));
  const Arguments own = {"--match=click/*,level0/click/*,level0/shared*,shared_*",
                         "--optimizers=click/*"};
  EXPECT_EQ(Psctl("both", own), Psctl("alone", own));
  EXPECT_NE(Psctl("both", {}), Psctl("alone", {}));
  EXPECT_EQ(FirstTask("both"), FirstTask("alone"));
  // Whereas without the narrowing it does matter.
  OutputOf(Worker("shared", "train { method: ALTERNATING best_by: 'click' }"));
  EXPECT_NE(Psctl("shared", own), Psctl("alone", own));
}

// With all that a task may have of its own at once: features, a sample space, clipping, dropout, a
// schedule and averages. Alone, the features of the experts are all that there are.
TEST_F(Method, NorDoesWhatItAloneReadsOrLearns) {
  const std::string layers =
      "experts: 8 expert: [256, 16] dropout: 0.2 "
      "reads { match: 'experts' feature: ['id_0', 'id_1'] } "
      "reads { match: 'click/gate' feature: 'id_0' } "
      "reads { match: 'buy/*' feature: ['id_2', 'dense_0'] }";
  const auto run = [&](const std::string& name, const std::string& train,
                       const std::string& label) {
    data_ = absl::StrCat("task { name: 'buy' label: '", label,
                         "' sample_space: 'label_0 == 1' } feature { name: 'id_2' table: 'buys' }");
    OutputOf(WorkerOf("mmoe", layers, name,
                      absl::StrCat("optimizer { name: 'dense' clip_norm: 0.05 "
                                   "schedule { kind: COSINE warmup_steps: 5 decay_steps: 60 } } "
                                   "train { method: ALTERNATING best_by: 'click' ema_decay: 0.9 "
                                   "task { name: 'buy' owns: 'buy/*' } ",
                                   train, "}")));
  };
  run("both", "", "label_1");
  run("alone", "tasks: 'click' ", "label_1");
  run("permuted", "", "1 - label_1");
  const Arguments own = {"--match=click/*,experts/*,shared_*", "--optimizers=click/*"};
  for (const char* other : {"alone", "permuted"}) {
    EXPECT_EQ(Psctl("both", own), Psctl(other, own)) << other;
    EXPECT_NE(Psctl("both", {}), Psctl(other, {})) << other;
    EXPECT_EQ(FirstTask("both"), FirstTask(other)) << other;
  }
}

// The wide part of the shipped model is learned by FTRL, whether tasks alternate or not.
TEST_F(Method, WideAndDeepAlternates) {
  const std::string both = "train { method: ALTERNATING }";
  OutputOf(WorkerOf("wide_deep", "bottom: [8]", "wide", both));
  EXPECT_NE(Psctl("wide", {"--match=wide/click/*", "--optimizers=click/wide"}),
            Psctl("wide", {"--match=wide/click/*", "--optimizers=buy/wide"}));
  OutputOf(Mpirun(2, WorkerOf("wide_deep", "bottom: [8]", "two", both)));
  EXPECT_EQ(DigestOfRun("two"), DigestOfRun("wide"));
}

TEST_F(Method, AGroupOfTheWidePartIsOfRowsUnasked) {
  const auto digest = [&](const std::string& run, const std::string& groups) {
    const std::string ftrl = "optimizer { name: 'ftrl' rule: 'ftrl' }";
    OutputOf(WorkerOf("shared_bottom", "bottom: [8] wide {}", run,
                      absl::StrCat(ftrl, " train { ", groups, " }")));
    return DigestOfRun(run);
  };
  const std::string plain = digest("plain", "");
  const std::string prefixed =
      digest("prefixed", "group { match: 'rows:wide/*' optimizer: 'ftrl' }");
  EXPECT_NE(prefixed, plain);
  EXPECT_EQ(digest("bare", "group { match: 'wide/*' optimizer: 'ftrl' }"), prefixed);
}

TEST_F(Method, WarmStartTakesWhatIsThere) {
  const auto worker = [&](const std::string& run, const std::string& override_text,
                          const Arguments& more) {
    return WorkerOf("shared_bottom", "bottom: [16]", run, override_text, more);
  };
  OutputOf(worker("first", "train { tasks: 'click' }", {}));
  // With rates too small to move anything, what was taken is what is left.
  const std::string still =
      "optimizer { name: 'sparse' learning_rate: 1e-30 } "
      "optimizer { name: 'dense' learning_rate: 1e-30 } train { best_by: 'click' }";
  const std::string output =
      OutputOf(Mpirun(2, worker("warm", still, {"--warm_start=" + Best("first")})));
  EXPECT_THAT(output, HasSubstr("warm start from"));
  EXPECT_THAT(output, HasSubstr("these start anew: buy/tower/"));
  EXPECT_EQ(FirstTask("warm"), FirstTask("first"));
  OutputOf(worker("fresh", still, {}));
  EXPECT_NE(FirstTask("fresh"), FirstTask("first"));
}

}  // namespace
}  // namespace pagoda::test
