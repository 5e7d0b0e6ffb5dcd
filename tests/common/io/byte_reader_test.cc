#include <bzlib.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <functional>

#include "common/errors.h"
#include "common/io/file.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

std::string Gzip(const std::string& text) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string Bzip2(const std::string& text) {
  unsigned size = static_cast<unsigned>(text.size() + text.size() / 100 + 600);
  std::string out(size, '\0');
  EXPECT_EQ(BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(text.data()),
                                     static_cast<unsigned>(text.size()), 1, 0, 0),
            BZ_OK);
  out.resize(size);
  return out;
}

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  // With a checksum, as the zstd program writes it.
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  out.resize(ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return out;
}

// Poorly compressible, and longer than the readers' buffers.
std::string Text(size_t bytes) {
  std::string text;
  uint64_t x = 88172645463325252u;
  while (text.size() < bytes) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    text += std::to_string(x) + "\n";
  }
  text.resize(bytes);
  return text;
}

absl::StatusOr<std::string> ReadAll(const std::string& path, size_t chunk) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteReader> reader, ByteReader::Open(path));
  std::string all, buffer(chunk, '\0');
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count, reader->Read(buffer.data(), chunk));
    if (count == 0) break;
    all.append(buffer, 0, count);
  }
  ASSIGN_OR_RETURN(const size_t again, reader->Read(buffer.data(), chunk));
  EXPECT_EQ(again, 0u) << "the end stays the end";
  return all;
}

struct Format {
  const char* ending;
  std::string (*compress)(const std::string&);
};

class Compressed : public ::testing::TestWithParam<Format> {
 protected:
  absl::StatusOr<std::string> Read(const std::string& stored, size_t chunk = 4096) {
    const std::string path = folder_.File(std::string("x") + GetParam().ending);
    WriteCarelessly(path, stored);
    return ReadAll(path, chunk);
  }
  std::string Compress(const std::string& text) const { return GetParam().compress(text); }

  TemporaryDirectory folder_;
};

TEST_P(Compressed, RoundTrip) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, size_t{700'000}}) {
    const std::string text = Text(bytes);
    for (const size_t chunk : {size_t{1} << 20, size_t{997}}) {
      const auto read = Read(Compress(text), chunk);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(*read, text);
    }
  }
}

TEST_P(Compressed, ReadsByteByByte) { EXPECT_EQ(*Read(Compress(Text(3000)), 1), Text(3000)); }

TEST_P(Compressed, MembersFollowOneAnother) {
  const auto read = Read(Compress("one\n") + Compress("") + Compress("two\n"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, "one\ntwo\n");
}

TEST_P(Compressed, EveryTruncationIsAnError) {
  const std::string stored = Compress(Text(200));
  for (size_t bytes = 0; bytes < stored.size(); ++bytes) {
    const auto read = Read(stored.substr(0, bytes));
    ASSERT_FALSE(read.ok()) << bytes << " of " << stored.size() << " bytes";
    ASSERT_EQ(ExitCodeOf(read.status()), ExitCode::kData) << read.status();
    ASSERT_THAT(read.status().message(), HasSubstr(GetParam().ending));
  }
}

TEST_P(Compressed, TruncatedSecondMemberIsAnError) {
  const std::string one = Compress("one\n"), two = Compress("two\n");
  EXPECT_FALSE(Read(one + two.substr(0, two.size() - 1)).ok());
  EXPECT_FALSE(Read(one + "garbage that is no member").ok());
}

TEST_P(Compressed, AFlippedByteNeverReadsAsTheSameLengthOfOtherText) {
  const std::string text = Text(200), stored = Compress(text);
  for (size_t i = 0; i < stored.size(); ++i) {
    std::string damaged = stored;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    const auto read = Read(damaged);
    if (read.ok()) {  // Such as gzip's time stamp.
      ASSERT_EQ(*read, text) << "byte " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Compressed,
                         ::testing::Values(Format{".gz", Gzip}, Format{".bz2", Bzip2},
                                           Format{".zst", Zstd}),
                         [](const auto& info) { return std::string(info.param.ending + 1); });

TEST(ByteReader, PlainAndMissing) {
  TemporaryDirectory folder;
  ASSERT_TRUE(WriteFileAtomically(folder.File("a.csv"), Text(300'000)).ok());
  EXPECT_EQ(*ReadAll(folder.File("a.csv"), 1000), Text(300'000));
  const auto missing = ReadAll(folder.File("b.csv"), 1000);
  EXPECT_THAT(missing.status().message(), HasSubstr("b.csv: No such file"));
  EXPECT_FALSE(ReadAll(folder.path(), 1000).ok()) << "a folder is no stream";
}

TEST(ByteReader, PipeGivesTheCommandsOutput) {
  EXPECT_EQ(*ReadAll("printf 'a\\nb\\n' |", 100), "a\nb\n");
  EXPECT_EQ(*ReadAll("true|  ", 100), "");
  const auto big = ReadAll("seq 1 100000 | tail -n 2 |", 7);
  EXPECT_EQ(*big, "99999\n100000\n");
}

TEST(ByteReader, PipeThatFailsIsAnErrorAfterItsOutput) {
  const auto failed = ReadAll("echo half; exit 3 |", 100);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(ExitCodeOf(failed.status()), ExitCode::kIo);
  EXPECT_THAT(failed.status().message(), HasSubstr("exit status 3"));
  EXPECT_THAT(ReadAll("kill -9 $$ |", 100).status().message(), HasSubstr("signal 9"));
  EXPECT_FALSE(ReadAll("exec /no/such/program 2>/dev/null |", 100).ok());
  EXPECT_EQ(ExitCodeOf(ReadAll("  |", 100).status()), ExitCode::kUsage);
}

// A worker blocks SIGTERM; what it starts must not.
TEST(ByteReader, PipeGetsSignalsThatThisProcessBlocks) {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  const auto ended = ReadAll("kill -TERM $$; echo survived |", 100);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  EXPECT_THAT(ended.status().message(), HasSubstr("signal 15"));
}

TEST(ByteReader, PipeMayBeLeftEarly) {
  auto reader = ByteReader::Open("yes |");
  ASSERT_TRUE(reader.ok());
  char buffer[10];
  EXPECT_EQ(*(*reader)->Read(buffer, 10), 10u);
}

}  // namespace
}  // namespace pagoda
