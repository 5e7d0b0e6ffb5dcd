#include "common/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/checks.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Config Parsed(const std::string& text) {
  const auto config = ParseConfig(text, "test");
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

TEST(ParseConfig, ErrorsSayWhereAndWhatIsNear) {
  const struct {
    const char* text;
    const char* error;
  } cases[] = {
      {"train {\n  epoch: 2\n}",
       "f.textproto:2:8: TrainConfig has no field \"epoch\"; did you mean epochs?"},
      {"modl { }", "f.textproto:1:6: Config has no field \"modl\"; did you mean model?"},
      {"dataset { task { loss: BCF } }", "loss has no value \"BCF\"; did you mean BCE?"},
      {"dataset { feature { kind: IDLIST } }", "did you mean ID_LIST?"},
      {"train { epochs: two }", "f.textproto:1:17: Expected integer"},
      {"train { epochs: 1 epochs: 2 }", "specified multiple times. Write what they say into one."},
      {"train { epochs: 99999999999 }", "out of range"},
      {"train {",
       "f.textproto:1:8: Expected identifier, got: the end of the text; is a brace or a quote left "
       "open?"},
  };
  for (const auto& c : cases) {
    const auto config = ParseConfig(c.text, "f.textproto");
    ASSERT_FALSE(config.ok()) << c.text;
    EXPECT_EQ(ExitCodeOf(config.status()), ExitCode::kUsage);
    EXPECT_THAT(config.status().message(), HasSubstr(c.error));
  }
  EXPECT_TRUE(ParseConfig("# nothing\n", "f").ok());
}

TEST(MergeConfig, ScalarsAndMessages) {
  Config base = Parsed("model { name: 'ple' experts: 3 } train { epochs: 5 seed: 9 }");
  MergeConfig(Parsed("train { epochs: 2 } model { experts: 8 }"), &base);
  EXPECT_EQ(base.train().epochs(), 2);
  EXPECT_EQ(base.train().seed(), 9u);
  EXPECT_EQ(base.model().experts(), 8);  // Though it is the default.
  EXPECT_EQ(base.model().name(), "ple");
}

TEST(MergeConfig, NamedMessagesMergeByName) {
  Config base =
      Parsed("optimizer { name: 'sparse' rule: 'adam' parameter { name: 'beta1' value: 0.8 } }");
  MergeConfig(
      Parsed(
          "optimizer { name: 'dense' rule: 'sgd' }"
          "optimizer { name: 'sparse' learning_rate: 0.5 parameter { name: 'beta2' value: 0.9 } }"),
      &base);
  ASSERT_EQ(base.optimizer_size(), 2);
  EXPECT_EQ(base.optimizer(0).rule(), "adam");
  EXPECT_EQ(base.optimizer(0).learning_rate(), 0.5);
  EXPECT_EQ(base.optimizer(0).parameter_size(), 2);
  EXPECT_EQ(base.optimizer(1).name(), "dense");
}

TEST(MergeConfig, OtherListsReplace) {
  Config base = Parsed(
      "model { expert: [1, 2] level { task_experts: 1 } level { task_experts: 2 } }"
      "dataset { funnel: 'a' feature { name: 'x' transform: [LOG1P, Z_SCORE] } }");
  MergeConfig(Parsed("model { expert: 7 level { shared_experts: 9 } }"
                     "dataset { feature { name: 'x' transform: MIN_MAX } }"),
              &base);
  EXPECT_THAT(base.model().expert(), ElementsAre(7));
  ASSERT_EQ(base.model().level_size(), 1);
  EXPECT_EQ(base.model().level(0).shared_experts(), 9);
  EXPECT_EQ(base.dataset().feature_size(), 1);
  EXPECT_THAT(base.dataset().feature(0).transform(), ElementsAre(FeatureConfig::MIN_MAX));
  EXPECT_THAT(base.dataset().funnel(), ElementsAre("a"));
}

TEST(NearestNames, ByEditDistance) {
  const std::vector<std::string> known = {"single", "mmoe", "moe", "ple", "esmm", "batch_size"};
  EXPECT_THAT(NearestNames("mmeo", known), ElementsAre("mmoe"));
  EXPECT_THAT(NearestNames("Batch-Size", known), ElementsAre("batch_size"));
  EXPECT_THAT(NearestNames("bat", known), ElementsAre("batch_size"));
  EXPECT_THAT(NearestNames("zzzzzz", known), IsEmpty());
  EXPECT_THAT(NearestNames("", known), IsEmpty());
  EXPECT_THAT(NearestNames(std::string(1 << 20, 'x'), known), IsEmpty());
  EXPECT_EQ(NearestHint("pel", known), "; did you mean ple?");
  EXPECT_EQ(NearestHint("zzz", {"a", "b"}), "; known: a, b");
}

TEST(FindConfigFile, ByNameByPathOrWithAHint) {
  TemporaryDirectory root;
  ASSERT_TRUE(MakeDirectories(root.File("models")).ok());
  ASSERT_TRUE(WriteFileAtomically(root.File("models/ple.textproto"), "").ok());
  const std::string path = root.File("models/ple.textproto");
  EXPECT_EQ(*FindConfigFile(root.path(), "models", "ple"), path);
  EXPECT_EQ(*FindConfigFile("elsewhere", "models", path), path);
  const auto wrong = FindConfigFile(root.path(), "models", "plee");
  EXPECT_EQ(ExitCodeOf(wrong.status()), ExitCode::kUsage);
  EXPECT_THAT(wrong.status().message(), HasSubstr("did you mean ple?"));
  EXPECT_EQ(ExitCodeOf(FindConfigFile("none", "models", "ple").status()), ExitCode::kUsage);
  EXPECT_EQ(ExitCodeOf(FindConfigFile(root.path(), "models", "./x").status()), ExitCode::kUsage);
  EXPECT_FALSE(FindConfigFile(root.path(), "models", "").ok());
}

TEST(FindConfigFile, AFileOfTheWorkingDirectoryIsNamed) {
  const TemporaryDirectory root, here;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(here.path());
  ASSERT_TRUE(MakeDirectories(root.File("datasets")).ok());
  ASSERT_TRUE(WriteFileAtomically("ads.textproto", "").ok());
  EXPECT_EQ(*FindConfigFile(root.path(), "datasets", "ads.textproto"), "ads.textproto");
  EXPECT_THAT(FindConfigFile(root.path(), "datasets", "ads").status().message(),
              HasSubstr("; the file of this folder is ./ads.textproto"));
  std::filesystem::current_path(before);
}

constexpr char kGood[] =
    "model { name: 'ple' } optimizer { name: 'sparse' rule: 'adam' } optimizer { name: 'dense' "
    "rule: 'adam' }"
    "dataset { source { path: 'x' } feature { name: 'age' } task { name: 'income' label: 'y' } }";

TEST(ValidateConfig, GoodOnePasses) { EXPECT_TRUE(ValidateConfig(Parsed(kGood)).ok()); }

TEST(ValidateConfig, ErrorsNameFieldValueAndWhatIsAllowed) {
  const struct {
    const char* layer;
    const char* error;
  } cases[] = {
      {"train { batch_size: 0 }", "train.batch_size = 0: must be at least 1"},
      {"train { lanes: 5000 }", "train.lanes = 5000: must be between 1 and 4096"},
      {"train { lanes: 8 batch_size: 4 }", "train.lanes = 8: must not exceed"},
      {"train { best_by: 'incom' }",
       "train.best_by = \"incom\": there is none; did you mean income?"},
      {"train { sparse_optimizer: 'spare' }", "did you mean sparse?"},
      {"train { shuffle: NONE shuffle_rows: 5 }",
       "train.shuffle_rows: is for shuffle: EPOCH and WINDOW, not for NONE"},
      {"train { embedding_init: nan }", "train.embedding_init = nan"},
      {"train { ema_decay: 1 }", "train.ema_decay = 1: must be in [0, 1)"},
      {"train { ema_decay: nan }", "train.ema_decay = nan: must be in [0, 1)"},
      {"train { method: ALTERNATING task { name: 'income' steps: 0 } }",
       "train.task[income].steps = 0"},
      {"train { method: ALTERNATING task { name: 'income' steps: 1048577 } }",
       "train.task[income].steps = 1048577: must be between 1 and 1048576"},
      {"dataset { task { name: 'b' label: 'z' } } train { method: ALTERNATING task { name: "
       "'income' steps: 2 } }",
       "train.task[b].steps: is missing, task income has a number"},
      {"train { keep: 0 }", "train.keep = 0"},
      {"optimizer { name: 'sparse' learning_rate: 0 }", "optimizer[sparse].learning_rate = 0"},
      {"optimizer { name: 'x' }", "optimizer[x].rule: is missing"},
      {"optimizer { name: 'sparse' clip_norm: -1 }", "optimizer[sparse].clip_norm = -1"},
      {"optimizer { name: 'sparse' clip_value: inf }", "optimizer[sparse].clip_value = inf"},
      {"optimizer { name: 'dense' schedule { warmup_steps: -1 } }",
       "optimizer[dense].schedule.warmup_steps = -1"},
      {"optimizer { name: 'dense' schedule { kind: COSINE } }",
       "schedule.decay_steps = 0: kind COSINE needs at least 1"},
      {"optimizer { name: 'dense' schedule { decay_steps: 5 } }",
       "schedule.decay_steps: is for kind: COSINE, STEP and EXPONENTIAL, not for CONSTANT"},
      {"optimizer { name: 'dense' schedule { floor: 0.5 } }",
       "schedule.floor: is for kind: COSINE"},
      {"optimizer { name: 'dense' schedule { kind: COSINE decay_steps: 5 factor: 0.5 } }",
       "schedule.factor: is for kind: STEP and EXPONENTIAL, not for COSINE"},
      {"optimizer { name: 'dense' schedule { kind: STEP decay_steps: 5 factor: nan } }",
       "schedule.factor = nan"},
      {"optimizer { name: 'dense' schedule { kind: STEP decay_steps: 5 floor: 1.5 } }",
       "schedule.floor = 1.5"},
      {"optimizer { name: 'sparse' rule: 'ftrl' schedule { warmup_steps: 5 } }",
       "optimizer[sparse].schedule: rule ftrl has none"},
      {"model { tower: 0 }", "model.tower = 0"},
      {"model { expert: 2000000000 }", "model.expert = 2000000000: must be between 1 and 65536"},
      {"model { experts: 0 }", "model.experts = 0"},
      {"model { embedding_dim: 5000 }", "model.embedding_dim = 5000: must be between 1 and 4096"},
      {"model { level { task_experts: -1 } }", "model.level.task_experts = -1"},
      {"model { level { task_experts: 0 shared_experts: 0 } }", "one must not be"},
      {"dataset { funnel: 'marital' }", "dataset.funnel = \"marital\""},
      {"dataset { split { by: TIME } }", "needs dataset.split.column"},
      {"dataset { source { path: 'x' first_row: 5 end_row: 4 } }", "dataset.source.end_row = 4"},
      {"dataset { feature { name: 'a/b' } }", "dataset.feature.name = \"a/b\""},
      {"dataset { feature { name: 'age' transform: LOG1P } }",
       "transform: is for kind: DENSE, not for ID"},
      {"dataset { feature { name: 'age' dim: 4097 } }", "dim = 4097: must be between 1 and 4096"},
      {"dataset { feature { name: 'd' kind: DENSE table: 't' } }",
       "table: is for kind: ID, ID_LIST, BUCKET and SEQUENCE, not for DENSE"},
      {"dataset { feature { name: 'age' buckets: 8 } }",
       "dataset.feature[age].buckets: is for kind: BUCKET, not for ID; leave it out (or say its "
       "default, 32)"},
      {"dataset { feature { name: 'age' vocabulary: 0 } }", "vocabulary = 0: must be at least 1"},
      {"dataset { task { name: 'two' } }", "dataset.task[two].label"},
      {"dataset { task { name: 'income' weight: -1 } }", "weight = -1"},
      {"dataset { task { name: 'a/b' label: 'y' } }", "dataset.task.name = \"a/b\""},
  };
  for (const auto& c : cases) {
    Config config = Parsed(kGood);
    MergeConfig(Parsed(c.layer), &config);
    const absl::Status status = ValidateConfig(config);
    ASSERT_FALSE(status.ok()) << c.layer;
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
    EXPECT_THAT(status.message(), HasSubstr(c.error));
  }
  Config twice = Parsed(kGood);
  *twice.mutable_dataset()->add_task() = twice.dataset().task(0);
  EXPECT_THAT(ValidateConfig(twice).message(), HasSubstr("dataset.task \"income\" is there twice"));
}

// Layers merge by name; within one text a second element of a name is a copy that kept it.
TEST(ParseConfig, ANameStandsOnceInAText) {
  const auto error = [](const std::string& text) {
    return std::string(ParseConfig(text, "f.textproto").status().message());
  };
  EXPECT_EQ(error("optimizer { name: 'a' } optimizer { name: 'b' }"), "");
  EXPECT_EQ(error("optimizer { name: 'a' rule: 'adam' } optimizer { name: 'a' rule: 'sgd' }"),
            "f.textproto:1:50: optimizer \"a\" stands there twice; make them one, or rename one");
  EXPECT_EQ(error("dataset {\n  task { name: 'click' }\n  task { name: 'click' loss: MSE }\n}"),
            "f.textproto:3:10: task \"click\" stands there twice; make them one, or rename one");
  EXPECT_EQ(error("dataset { task [{ name: 'a' },\n{ name: 'b' }]\ntask { loss: MSE name: 'b' } }"),
            "f.textproto:3:18: task \"b\" stands there twice; make them one, or rename one");
  EXPECT_EQ(error("optimizer { name: 'b' }\n"
                  "optimizer { name: 'a' parameter { name: 'l2' }\nparameter { name: 'l2' } }"),
            "f.textproto:3:13: parameter \"l2\" stands there twice; make them one, or rename one");
  EXPECT_EQ(error("optimizer { name: 'a' parameter { name: 'l2' value: 1 } }"
                  "optimizer { name: 'b' parameter { name: 'l2' value: 2 } }"),
            "");
}

TEST(ValidateConfig, ADataSetHasSourcesFeaturesAndTasks) {
  for (const char* field : {"source", "feature", "task"}) {
    Config config = Parsed(kGood);
    const auto* descriptor = DatasetConfig::descriptor()->FindFieldByName(field);
    config.dataset().GetReflection()->ClearField(config.mutable_dataset(), descriptor);
    EXPECT_THAT(ValidateConfig(config).message(),
                HasSubstr(std::string("dataset.") + field + ": none is given"));
  }
}

// A layer cannot take a field away, but it can say the default.
TEST(CheckFieldUse, WhatIsGivenMustBeRead) {
  const std::vector<FieldUse> uses = {{"buckets", {"BUCKET"}},
                                      {"transform", {"DENSE", "X", "Y"}},
                                      {"cross", {}},
                                      {"column", {"ID"}}};
  const auto refusal = [&](const std::string& feature, const std::string& reader) {
    const Config config = Parsed("dataset { feature { " + feature + " } }");
    return std::string(
        CheckFieldUse(config.dataset().feature(0), "here", "kind", reader, uses).message());
  };
  EXPECT_EQ(refusal("", "ID"), "");
  EXPECT_EQ(refusal("name: 'a' dim: 3", "ID"), "") << "in no FieldUse";
  EXPECT_EQ(refusal("buckets: 8", "BUCKET"), "");
  EXPECT_EQ(refusal("buckets: 32 column: ''", "DENSE"), "") << "the defaults";
  EXPECT_EQ(
      refusal("buckets: 8", "DENSE"),
      "here.buckets: is for kind: BUCKET, not for DENSE; leave it out (or say its default, 32)");
  EXPECT_EQ(refusal("column: 'x'", "DENSE"),
            "here.column: is for kind: ID, not for DENSE; leave it out (or say its default, \"\")");
  EXPECT_EQ(refusal("transform: LOG1P", "Y"), "");
  EXPECT_EQ(refusal("transform: LOG1P", "Z"),
            "here.transform: is for kind: DENSE, X and Y, not for Z; leave it out");
  EXPECT_THAT(refusal("cross {}", "ID"), HasSubstr("here.cross: "));
}

}  // namespace
}  // namespace pagoda
