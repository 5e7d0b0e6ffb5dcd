// Old checkpoints load for ever: tests/golden/checkpoint-vN was written by version N and is never
// rewritten.
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "common/checkpoint/manifest.h"
#include "tests/common/checkpoint/some_checkpoint.h"

namespace pagoda {
namespace {

TEST(Golden, CheckpointVersion1) {
  const std::string path = std::string(PAGODA_SOURCE_DIR) + "/tests/golden/checkpoint-v1";
  const auto manifest = ReadManifest(path);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->format_version(), 1u);
  EXPECT_TRUE(VerifyFiles(path, *manifest).ok());
  EXPECT_TRUE(
      google::protobuf::util::MessageDifferencer::Equals(manifest->state(), SomeState(1170)));
  EXPECT_EQ(manifest->config().model().name(), "ple");
  EXPECT_EQ(manifest->statistics().feature(0).boundary(0), 0.1);
  const auto dense = ReadSafetensors(JoinPath(path, manifest->dense().name()));
  ASSERT_TRUE(dense.ok()) << dense.status();
  ASSERT_EQ(dense->tensors.size(), 2u);
  EXPECT_EQ(dense->tensors[0].bytes, SomeDense()[0].bytes);
  EXPECT_EQ(JobDigest(SomeRows(), dense->tensors, manifest->state()), manifest->digest());
}

}  // namespace
}  // namespace pagoda
