// Embeddings from files: each format gives the same rows, and what is wrong is told by its place.
#include "worker/data/vectors.h"

#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/safetensors.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/io/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class VectorsTest : public ::testing::Test {
 protected:
  // `features`: of a data set with columns item, user and one task.
  static Config MakeConfig(const std::string& features) {
    const auto config = ParseConfig(
        absl::StrCat(
            "model { embedding_dim: 2 } dataset { name: 't' column: ['item', 'user', 'y'] ",
            "source { path: 'x' } task { name: 'a' label: 'y' } ", features, "}"),
        "test");
    EXPECT_TRUE(config.ok()) << config.status();
    return *config;
  }
  static absl::Status Check(const Config& config) {
    RETURN_IF_ERROR(ValidateDataset(config.dataset()));
    ASSIGN_OR_RETURN(const DataSchema data, MakeDataSchema(config));
    return CheckImports(config, data);
  }
  std::string Write(const std::string& contents) {
    const std::string path = folder_.File(absl::StrCat("file", ++files_));
    EXPECT_TRUE(WriteFileAtomically(path, contents).ok());
    return path;
  }
  // Of feature item with a table of its own.
  absl::StatusOr<std::vector<InitRows>> Read(const std::string& format, const std::string& path,
                                             const std::string& more = "") {
    const Config config = MakeConfig(absl::StrCat("feature { name: 'item' table: 'item' ", more,
                                                  " import { format: '", format, "' path: '", path,
                                                  "' } } feature { name: 'user' }"));
    ASSIGN_OR_RETURN(const DataSchema data, MakeDataSchema(config));
    RETURN_IF_ERROR(CheckImports(config, data));
    return ReadImports(config, data);
  }
  void ExpectRefused(const std::string& format, const std::string& contents,
                     const std::string& error, const std::string& more = "") {
    const std::string path = Write(contents);
    const absl::Status status = Read(format, path, more).status();
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kData) << status << " for " << contents;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path + error));
  }
  static std::string Bytes(std::vector<float> numbers) {
    return std::string(reinterpret_cast<const char*>(numbers.data()),
                       numbers.size() * sizeof(float));
  }
  std::string WriteTensors(const Tensor& ids, const Tensor& rows) {
    const std::string path = folder_.File(absl::StrCat("file", ++files_));
    EXPECT_TRUE(WriteSafetensors(path, {ids, rows}, {}).ok());
    return path;
  }

  TemporaryDirectory folder_;
  int files_ = 0;
};

void ExpectThree(const absl::StatusOr<std::vector<InitRows>>& all) {
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(all->size(), 1u);
  const InitRows& rows = (*all)[0];
  std::map<uint64_t, std::vector<float>> by_id;
  ASSERT_EQ(rows.rows.size(), 2 * rows.ids.size());
  for (size_t i = 0; i < rows.ids.size(); ++i) {
    by_id[rows.ids[i]] = {rows.rows[2 * i], rows.rows[2 * i + 1]};
  }
  ASSERT_EQ(by_id.size(), 3u);
  EXPECT_THAT(by_id[7], ElementsAre(0.5f, -1.0f));
  EXPECT_THAT(by_id[HashBytes("caf\xc3\xa9")], ElementsAre(1e-3f, 2.0f));
  EXPECT_THAT(by_id[12], ElementsAre(0.0f, 3.25f));
}

TEST_F(VectorsTest, EveryFormatGivesTheSameRows) {
  ExpectThree(Read("tsv", Write("7\t0.5\t-1\ncaf\xc3\xa9\t1e-3\t2\r\n\n12\t0\t3.25")));
  ExpectThree(Read("word2vec", Write("3 2\n7 0.5 -1 \ncaf\xc3\xa9 1e-3 2\n12 0 3.25\n")));
  for (const char* end : {"\n", ""}) {
    ExpectThree(Read("word2vec_binary",
                     Write(absl::StrCat("3 2\n7 ", Bytes({0.5f, -1}), end, "caf\xc3\xa9 ",
                                        Bytes({1e-3f, 2}), end, "12 ", Bytes({0, 3.25f}), end))));
  }
}

// word2vec writes "</s>" first, whether the text has it or not, fastText where its count puts it;
// both write a blank behind each number.
TEST_F(VectorsTest, TheEndOfASentenceIsNoValue) {
  const std::string text = "</s> 0.004003 0.004419 \n", a = "7 0.5 -1 \n",
                    b = "caf\xc3\xa9 1e-3 2 \n", c = "12 0 3.25 \n";
  ExpectThree(Read("word2vec", Write("4 2\n" + text + a + b + c)));
  ExpectThree(Read("word2vec", Write("4 2\n" + a + b + text + c)));
  ExpectThree(Read(
      "word2vec_binary",
      Write(absl::StrCat("4 2\n</s> ", Bytes({9, 9}), "\n7 ", Bytes({0.5f, -1}), "\ncaf\xc3\xa9 ",
                         Bytes({1e-3f, 2}), "\n12 ", Bytes({0, 3.25f}), "\n"))));
  // It is no integer, either.
  const auto bounded = Read("word2vec", Write("2 2\n" + text + a), "vocabulary: 10");
  ASSERT_TRUE(bounded.ok()) << bounded.status();
  EXPECT_THAT((*bounded)[0].ids, ElementsAre(7));
  ExpectRefused("word2vec", "3 2\n" + text + a, ": 2 vectors, its header says 3");
  ExpectRefused("word2vec", "1 2\n</s> 1\n", ":2: vectors of 1 numbers");
  // In a TSV file any text is a value.
  EXPECT_THAT((*Read("tsv", Write("</s>\t1\t2\n")))[0].ids, ElementsAre(HashBytes("</s>")));
}

TEST_F(VectorsTest, ListsAndSequencesTakeTheValuesOfOneElement) {
  for (const char* kind : {"kind: ID_LIST", "kind: SEQUENCE max_length: 3"}) {
    const auto read = Read("tsv", Write("7\t0.5\t-1\ncaf\xc3\xa9\t1e-3\t2\n12\t0\t3.25\n"), kind);
    ExpectThree(read);
    // The ids are those of the feature's own rows.
    const std::string rows = Write("7|caf\xc3\xa9,1,0\n12,2,1\n");
    Config config = MakeConfig(absl::StrCat("feature { name: 'item' table: 'item' ", kind, " }"));
    config.mutable_dataset()->mutable_source(0)->set_path(0, rows);
    config.mutable_dataset()->mutable_source(0)->set_split(TRAIN);
    const auto dataset = Dataset::Open(config, {"", folder_.path(), ""}, nullptr);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    Batch batch;
    ASSERT_TRUE((*dataset)->Fill(TRAIN, {0, 1}, &batch).ok());
    EXPECT_EQ(batch.ids[0].ids, (*read)[0].ids) << kind;
  }
}

TEST_F(VectorsTest, SafetensorsOfEitherIntegerAndFloat) {
  const std::vector<uint64_t> ids = {7, 12};
  const std::vector<float> rows = {0.5f, -1, 0, 3.25f};
  Tensor u64 = Tensor::U64("ids", {2}, ids.data()), i64 = u64;
  i64.dtype = "I64";
  const Tensor f32 = Tensor::F32("rows", {2, 2}, rows.data());
  const std::vector<double> doubles(rows.begin(), rows.end());
  Tensor f64 = {
      "rows", "F64", {2, 2}, std::string(reinterpret_cast<const char*>(doubles.data()), 32)};
  for (const Tensor& id : {u64, i64}) {
    for (const Tensor& row : {f32, f64}) {
      const auto read = Read("safetensors", WriteTensors(id, row));
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_THAT((*read)[0].ids, ElementsAre(7, 12));
      EXPECT_THAT((*read)[0].rows, ElementsAre(0.5f, -1, 0, 3.25f));
    }
  }
}

TEST_F(VectorsTest, EmptyFilesHaveNoRows) {
  EXPECT_THAT((*Read("tsv", Write("")))[0].ids, IsEmpty());
  EXPECT_THAT((*Read("word2vec", Write("0 2\n")))[0].ids, IsEmpty());
  EXPECT_THAT((*Read("word2vec_binary", Write("0 2\n")))[0].ids, IsEmpty());
}

TEST_F(VectorsTest, IdsAreTheFeaturesOwn) {
  // Two features share a table: each has its salt, hashes are cut to 48 bits.
  const Config config = MakeConfig(absl::StrCat(
      "feature { name: 'item' import { format: 'tsv' path: '", Write("x\t1\t2\n"),
      "' } } feature { name: 'user' import { format: 'tsv' path: '", Write("x\t3\t4\n"), "' } }"));
  ASSERT_TRUE(Check(config).ok()) << Check(config);
  const DataSchema data = *MakeDataSchema(config);
  const auto rows = *ReadImports(config, data);
  ASSERT_EQ(rows.size(), 1u);
  const uint64_t value = HashBytes("x") & kSaltedIdMask;
  EXPECT_THAT(rows[0].ids, ElementsAre(SaltId(data.input.embeddings[0].slot, value),
                                       SaltId(data.input.embeddings[1].slot, value)));
  EXPECT_THAT(rows[0].rows, ElementsAre(1, 2, 3, 4));
}

TEST_F(VectorsTest, WhatIsWrongIsToldByItsPlace) {
  ExpectRefused("tsv", "1\t2\t3\n2\t3\n",
                ":2: vectors of 1 numbers, feature \"item\" has dim 2, as what stands before it");
  ExpectRefused("tsv", "1\t2\n",
                ":1: vectors of 1 numbers, feature \"item\" has dim 2; set dim: 1");
  // A file of word2vec.
  ExpectRefused("tsv", "2 2\n1 2 3\n",
                ":1: vectors of 0 numbers, feature \"item\" has dim 2; is import.format: \"tsv\" "
                "right?");
  const absl::Status missing = Read("tsv", folder_.File("none")).status();
  EXPECT_EQ(ExitCodeOf(missing), ExitCode::kUsage) << missing;
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/none: no such file"));
  ExpectRefused("word2vec", "2 2\n1 2\n",
                ":2: vectors of 1 numbers, feature \"item\" has dim 2, as");
  ExpectRefused("tsv", "1\t2\tx\n", ":1: number 2: \"x\" is not a finite");
  ExpectRefused("tsv", "1\t2\tnan\n", ":1: number 2: \"nan\" is not a finite");
  ExpectRefused("tsv", "1\t2\t1e39\n", ":1: number 2: \"1e39\" is not a finite");
  ExpectRefused("tsv", "1\t2\t3\n\n01\t2\t3\n", ":3: \"01\" is there twice");
  ExpectRefused("tsv", "\t2\t3\n", ":1: \"\" is missing");
  ExpectRefused("tsv", "\xff\t2\t3\n", ":1: not UTF-8");
  ExpectRefused("tsv", "9\t2\t3\n10\t2\t3\n", ":2: \"10\" is not an integer in [0, 10)",
                "vocabulary: 10");
  ExpectRefused("tsv", "18446744073709551615\t2\t3\n", ":1: \"18446744073709551615\" is the id");
  ExpectRefused("word2vec", "", ": is empty");
  ExpectRefused("word2vec", "1 0.5 0.25\n", ":1: \"1 0.5 0.25\" is not COUNT DIM");
  ExpectRefused("word2vec", "2 3\n", ":1: vectors of 3 numbers, feature \"item\" has dim 2");
  ExpectRefused("word2vec", "2 2\n1 2 3\n", ": 1 vectors, its header says 2; it was cut off");
  ExpectRefused("word2vec", "1 2\n1 2 3\n2 2 3\n", ": 2 vectors, its header says 1");
  ExpectRefused("word2vec", "1 2\n1 2\n", ":2: vectors of 1 numbers");
}

TEST_F(VectorsTest, BinaryFilesThatEndEarlyOrLate) {
  const std::string good = absl::StrCat("2 2\nab ", Bytes({1, 2}), "\ncd ", Bytes({3, 4}), "\n");
  ASSERT_TRUE(Read("word2vec_binary", Write(good)).ok());
  for (size_t size = 0; size + 1 < good.size(); ++size) {
    const auto read = Read("word2vec_binary", Write(good.substr(0, size)));
    EXPECT_EQ(ExitCodeOf(read.status()), ExitCode::kData) << size;
  }
  ExpectRefused("word2vec_binary", good.substr(0, good.size() - 3),
                ": vector 2 of 2: the file ends in it");
  ExpectRefused("word2vec_binary", good + "x", ": more bytes behind the 2 vectors");
  ExpectRefused("word2vec_binary", absl::StrCat("1 2\nab ", Bytes({1, kNan})),
                ": vector 1 of 1: \"ab\": number 2 is nan");
  ExpectRefused("word2vec_binary", absl::StrCat("1 2\n", std::string(5000, 'x')),
                ": vector 1 of 1: no blank behind its value");
  ExpectRefused("word2vec_binary", std::string(100000, 'x'), ":1: ");
}

TEST_F(VectorsTest, TensorsThatDoNotFit) {
  const std::vector<uint64_t> ids = {7, 7};
  const std::vector<float> rows = {1, 2, 3, 4};
  const Tensor id = Tensor::U64("ids", {2}, ids.data());
  const Tensor row = Tensor::F32("rows", {2, 2}, rows.data());
  const auto error = [&](Tensor i, Tensor r, const std::function<void(Tensor*, Tensor*)>& change) {
    change(&i, &r);
    return std::string(Read("safetensors", WriteTensors(i, r)).status().message());
  };
  EXPECT_THAT(error(id, row, [](Tensor*, Tensor*) {}), HasSubstr("vector 2: \"7\" is there twice"));
  EXPECT_THAT(error(id, row, [](Tensor* i, Tensor*) { i->name = "keys"; }),
              HasSubstr("needs tensors `ids`"));
  EXPECT_THAT(error(id, row,
                    [](Tensor*, Tensor* r) {
                      r->shape = {4, 1};
                    }),
              HasSubstr("needs tensors `ids`"));
  EXPECT_THAT(error(id, row, [](Tensor*, Tensor* r) { r->shape = {4}; }),
              HasSubstr("needs tensors `ids`"));
  EXPECT_THAT(error(id, row,
                    [](Tensor* i, Tensor*) {
                      i->dtype = "I64";
                      std::memset(&i->bytes[0], 0xff, 8);
                    }),
              HasSubstr("vector 1: its id -1 is negative"));
  // Numbers are values as their texts are.
  const std::vector<uint64_t> largest = {7, std::numeric_limits<uint64_t>::max()};
  const Tensor two = Tensor::U64("ids", {2}, largest.data());
  EXPECT_THAT(error(two, row, [](Tensor*, Tensor*) {}),
              HasSubstr("vector 2: \"18446744073709551615\" is the id kept"));
  EXPECT_THAT(
      std::string(Read("safetensors", WriteTensors(two, row), "vocabulary: 5").status().message()),
      HasSubstr("vector 1: \"7\" is not an integer in [0, 5)"));
}

TEST_F(VectorsTest, ImportsThatCannotBe) {
  const auto error = [&](const std::string& features) {
    const absl::Status status = Check(MakeConfig(features));
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage) << status;
    return std::string(status.message());
  };
  const std::string import = "import { path: 'x' format: 'tsv' } ";
  EXPECT_THAT(error("feature { name: 'item' import { path: 'x' format: 'word2vec_binry' } }"),
              HasSubstr("did you mean word2vec_binary?"));
  EXPECT_THAT(error("feature { name: 'item' import { format: 'tsv' } }"),
              HasSubstr("feature[item].import.path: is empty"));
  EXPECT_THAT(error("feature { name: 'user' kind: DENSE " + import + "}"),
              HasSubstr("feature[user].import: is for kind: ID, ID_LIST and SEQUENCE"));
  EXPECT_THAT(error("feature { name: 'item' kind: BUCKET " + import + "}"),
              HasSubstr("feature[item].import: is for kind: ID, ID_LIST and SEQUENCE"));
  EXPECT_THAT(error("feature { name: 'item' table: 't' " + import +
                    "} feature { name: 'user' table: 't' " + import + "}"),
              HasSubstr("which imports rows already"));
  EXPECT_THAT(error("feature { name: 'user' kind: DENSE frozen: true } feature { name: 'item' }"),
              HasSubstr("feature[user].frozen: is for kind: ID, ID_LIST, BUCKET and SEQUENCE"));
  EXPECT_THAT(error("feature { name: 'item' frozen: true } feature { name: 'user' }"),
              HasSubstr("give it one of its own (table: \"item\")"));
  EXPECT_TRUE(Check(MakeConfig("feature { name: 'item' frozen: true table: 'item' } feature { "
                               "name: 'user' }"))
                  .ok());
}

}  // namespace
}  // namespace pagoda
