#include "common/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "common/errors.h"
#include "common/io/file.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

std::vector<Tensor> SomeTensors() {
  const float w[] = {1.5f, -0.0f, 3e38f, 1e-40f, 5, 6};
  const uint64_t ids[] = {0, ~uint64_t{0}};
  return {Tensor::F32("tower0/w", {2, 3}, w), Tensor::U64("ids", {2}, ids),
          Tensor::F32("scalar", {}, w), Tensor::F32("empty", {0, 8}, w)};
}

class Safetensors : public ::testing::Test {
 protected:
  // A file of this header and so many bytes after it.
  absl::StatusOr<SafetensorsFile> Read(const std::string& header, size_t data_bytes) {
    return ReadRaw(Length(header.size()) + header + std::string(data_bytes, 'x'));
  }
  absl::StatusOr<SafetensorsFile> ReadRaw(const std::string& contents) {
    WriteCarelessly(path_, contents);
    return ReadSafetensors(path_);
  }
  static std::string Length(uint64_t bytes) {
    return std::string(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
  }

  TemporaryDirectory folder_;
  const std::string path_ = folder_.File("x.safetensors");
};

TEST_F(Safetensors, RoundTrip) {
  const std::map<std::string, std::string> metadata = {{"step", "12"}, {"q\"\\\n\x01", "\xC3\xA9"}};
  ASSERT_TRUE(WriteSafetensors(path_, SomeTensors(), metadata).ok());
  const auto file = ReadSafetensors(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metadata, metadata);
  ASSERT_EQ(file->tensors.size(), 4u);
  EXPECT_EQ(file->tensors[0].name, "empty");  // In name order.
  EXPECT_EQ(file->tensors[1].u64()[1], ~uint64_t{0});
  EXPECT_EQ(file->tensors[2].shape, std::vector<int64_t>());
  EXPECT_EQ(file->tensors[3].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file->tensors[3].bytes, SomeTensors()[0].bytes);
  ASSERT_TRUE(WriteSafetensors(path_, {}, {}).ok());
  EXPECT_TRUE(ReadSafetensors(path_)->tensors.empty());
}

TEST_F(Safetensors, TheFileIsAFunctionOfItsContents) {
  std::vector<Tensor> tensors = SomeTensors();
  ASSERT_TRUE(WriteSafetensors(path_, tensors, {}).ok());
  const std::string bytes = *ReadFile(path_);
  std::swap(tensors[0], tensors[3]);
  ASSERT_TRUE(WriteSafetensors(path_, tensors, {}).ok());
  EXPECT_EQ(*ReadFile(path_), bytes);
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), 8);
  EXPECT_EQ(header_bytes % 8, 0u);
}

TEST_F(Safetensors, ReadsWhatOthersWrite) {
  const auto file = Read(
      R"( { "a\u00e9\ud83d\ude00\/" : {"shape":[2], "data_offsets":[0 , 4], "dtype":"BF16"} } )",
      4);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors[0].name, "a\xC3\xA9\xF0\x9F\x98\x80/");
  EXPECT_TRUE(Read("{}", 0).ok());
}

TEST_F(Safetensors, HostileHeadersAreErrors) {
  const struct {
    const char* header;
    const char* reason;
  } cases[] = {
      {"", "expected {"},
      {"{", "expected \""},
      {"[]", "expected {"},
      {"{} x", "something follows"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "do not hold"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "do not hold"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "gap"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "truncated"},
      {R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", "follow the header"},
      {R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", "unknown dtype"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "expected a number"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "expected ]"},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", "too large"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
       "overflows"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})",
       "overflows"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "two numbers"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", "more than 2"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", "needs dtype"},
      {R"({"a":{"dtype":"F32","dtype":"F32"}})", "twice"},
      {R"({"a":{"evil":{"evil":{}}}})", "unknown key"},
      {R"({"__metadata__":{"a":{}}})", "expected \""},
      {R"({"a)", "without an end"},
      {R"({"a\)", "without an end"},
      {R"({"\u12G4":1})", "\\u escape"},
      {R"({"\ud800":1})", "surrogate"},
      {R"({"\ud800\u0041":1})", "surrogate"},
      {R"({"\udc00":1})", "surrogate"},
      {R"({"\x":1})", "unknown escape"},
      {"{\"a\n\":1}", "control character"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
           "a":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}})",
       "twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
           "b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       "overlap"},
  };
  for (const auto& c : cases) {
    const auto file = Read(c.header, 4);
    ASSERT_FALSE(file.ok()) << c.header;
    EXPECT_EQ(ExitCodeOf(file.status()), ExitCode::kData);
    EXPECT_THAT(file.status().message(), HasSubstr(c.reason)) << c.header;
    EXPECT_THAT(file.status().message(), HasSubstr(path_));
  }
}

TEST_F(Safetensors, HostileLengthsAreErrors) {
  EXPECT_FALSE(ReadRaw("").ok());
  EXPECT_FALSE(ReadRaw("1234567").ok());
  EXPECT_FALSE(ReadRaw(Length(3) + "{}").ok());
  EXPECT_FALSE(ReadRaw(Length(~uint64_t{0}) + "{}").ok());
  EXPECT_FALSE(ReadSafetensors(folder_.File("missing")).ok());
}

TEST_F(Safetensors, EveryTruncationIsAnError) {
  ASSERT_TRUE(WriteSafetensors(path_, SomeTensors(), {{"step", "12"}}).ok());
  const std::string bytes = *ReadFile(path_);
  for (size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_FALSE(ReadRaw(bytes.substr(0, size)).ok()) << size << " of " << bytes.size();
  }
}

// No crash and no wild allocation, whatever a flipped byte says.
TEST_F(Safetensors, FlippedBytesAreHarmless) {
  ASSERT_TRUE(WriteSafetensors(path_, SomeTensors(), {}).ok());
  const std::string bytes = *ReadFile(path_);
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const char mask : {'\x01', '\x10', '\x80'}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ mask);
      const auto file = ReadRaw(damaged);
      if (!file.ok()) continue;
      for (const Tensor& t : file->tensors) ASSERT_LE(t.bytes.size(), bytes.size());
    }
  }
}

}  // namespace
}  // namespace pagoda
