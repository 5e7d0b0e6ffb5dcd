// Rows of one job as another one's: what is copied, and that a state of another layout never is.
#include "ps/carried_rows.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "common/hash.h"
#include "ps/store/row_files.h"
#include "ps/table/row.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

constexpr int kDim = 3;
constexpr uint64_t kId = 42;

Schema SchemaOf(const std::string& rule, const std::map<std::string, double>& parameters = {}) {
  Schema schema;
  schema.set_seed(1);
  schema.add_table()->set_name("user");
  schema.mutable_table(0)->set_dim(kDim);
  schema.mutable_table(0)->add_optimizer(0);
  schema.add_optimizer()->set_name("sparse");
  schema.mutable_optimizer(0)->set_rule(rule);
  schema.mutable_optimizer(0)->mutable_parameter()->insert(parameters.begin(), parameters.end());
  return schema;
}

// A row's floats: weights, then states.
using Floats = std::vector<float>;

Floats FloatsOf(const RowLayout& layout, const std::byte* row) {
  Floats floats((layout.row_bytes() - RowLayout::kWeightsOffset) / sizeof(float));
  std::memcpy(floats.data(), row + RowLayout::kWeightsOffset, floats.size() * sizeof(float));
  const RowOptimizer& optimizer = layout.optimizers()[0];
  floats.resize(kDim + optimizer.rule->state_size(kDim));
  return floats;
}

// One row whose floats are 1, 2, ... in a table of `from`, as a row of `to`.
Floats Carried(const Schema& from, const Schema& to) {
  TemporaryDirectory stored, folder;
  const auto source = RowLayout::Make(from, 0), target = RowLayout::Make(to, 0);
  EXPECT_TRUE(source.ok() && target.ok());
  std::vector<std::byte> row(source->row_bytes());
  source->InitialRow(kId, row.data());
  Floats floats = FloatsOf(*source, row.data());
  for (size_t i = 0; i < floats.size(); ++i) floats[i] = static_cast<float>(i + 1);
  std::memcpy(row.data() + RowLayout::kWeightsOffset, floats.data(), floats.size() * sizeof(float));
  auto writer = RowFileWriter::Create(stored.path(), "rows-00000.sst", 0, kPartitions);
  EXPECT_TRUE(writer.ok() && (*writer)->Add(0, kId, row).ok());
  Manifest manifest;
  *manifest.mutable_schema() = from;
  *manifest.add_rows() = *(*writer)->Finish();
  const auto files = CarryRows(stored.path(), manifest, to, folder.path());
  EXPECT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->size(), 1u);
  Floats got;
  const auto read = [&](int, uint64_t id, absl::Span<const std::byte> bytes) {
    EXPECT_EQ(id, kId);
    EXPECT_EQ(bytes.size(), target->row_bytes());
    got = FloatsOf(*target, bytes.data());
    return absl::OkStatus();
  };
  EXPECT_TRUE(ReadRowFile(folder.path(), files->front(), 0, kPartitions, read).ok());
  return got;
}

TEST(CarryRows, TheSameOptimizerGoesOnWithItsState) {
  const Schema adam = SchemaOf("adam");
  EXPECT_EQ(Carried(adam, adam), (Floats{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(Carried(adam, SchemaOf("adam", {{"beta1", 0.5}})), (Floats{1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(CarryRows, AnotherRuleBeginsAnew) {
  EXPECT_EQ(Carried(SchemaOf("adagrad"), SchemaOf("rmsprop")), (Floats{1, 2, 3, 0, 0, 0}));
}

// RMSProp has an array more with momentum, Adam a number more with per_row_count.
TEST(CarryRows, AStateOfAnotherSizeBeginsAnew) {
  const Schema plain = SchemaOf("rmsprop"), momentum = SchemaOf("rmsprop", {{"momentum", 0.9}});
  EXPECT_EQ(Carried(plain, momentum), (Floats{1, 2, 3, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(Carried(momentum, plain), (Floats{1, 2, 3, 0, 0, 0}));
  const Schema adam = SchemaOf("adam"), counted = SchemaOf("adam", {{"per_row_count", 1}});
  EXPECT_EQ(Carried(adam, counted), (Floats{1, 2, 3, 0, 0, 0, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace pagoda
