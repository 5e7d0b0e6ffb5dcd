#include "common/io/decoder.h"

#include <bzlib.h>
#include <glog/logging.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace pagoda {
namespace {

// zlib and bzip2 count in unsigned int.
constexpr size_t kMaxCount = size_t{1} << 30;
unsigned Count(size_t bytes) { return static_cast<unsigned>(std::min(bytes, kMaxCount)); }

class GzipDecoder : public Decoder {
 public:
  GzipDecoder() {
    // 15: the largest window; + 16: gzip's header and checksum.
    CHECK_EQ(inflateInit2(&stream_, 15 + 16), Z_OK) << "zlib: out of memory";
  }
  ~GzipDecoder() override { inflateEnd(&stream_); }
  const char* format() const override { return "gzip"; }

  absl::StatusOr<DecodeStep> Decode(absl::string_view input, char* out, size_t capacity) override {
    if (ended_) inflateReset(&stream_);
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = Count(input.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = Count(capacity);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    ended_ = result == Z_STREAM_END;
    // Z_BUF_ERROR: no progress possible; the caller sees that nothing came.
    if (!ended_ && result != Z_OK && result != Z_BUF_ERROR) {
      return DataError(absl::StrCat("corrupted gzip stream: ",
                                    stream_.msg != nullptr ? stream_.msg : zError(result)));
    }
    return DecodeStep{.consumed = Count(input.size()) - stream_.avail_in,
                      .produced = Count(capacity) - stream_.avail_out,
                      .member_ended = ended_};
  }

 private:
  z_stream stream_ = {};
  bool ended_ = false;
};

class Bzip2Decoder : public Decoder {
 public:
  Bzip2Decoder() { Start(); }
  ~Bzip2Decoder() override { BZ2_bzDecompressEnd(&stream_); }
  const char* format() const override { return "bzip2"; }

  absl::StatusOr<DecodeStep> Decode(absl::string_view input, char* out, size_t capacity) override {
    if (ended_) {
      BZ2_bzDecompressEnd(&stream_);
      Start();
    }
    stream_.next_in = const_cast<char*>(input.data());
    stream_.avail_in = Count(input.size());
    stream_.next_out = out;
    stream_.avail_out = Count(capacity);
    const int result = BZ2_bzDecompress(&stream_);
    ended_ = result == BZ_STREAM_END;
    if (!ended_ && result != BZ_OK) {
      return DataError(absl::StrCat("corrupted bzip2 stream (libbz2 error ", result, ")"));
    }
    return DecodeStep{.consumed = Count(input.size()) - stream_.avail_in,
                      .produced = Count(capacity) - stream_.avail_out,
                      .member_ended = ended_};
  }

 private:
  void Start() {
    stream_ = {};
    CHECK_EQ(BZ2_bzDecompressInit(&stream_, 0, 0), BZ_OK) << "libbz2: out of memory";
    ended_ = false;
  }
  bz_stream stream_ = {};
  bool ended_ = false;
};

class ZstdDecoder : public Decoder {
 public:
  ZstdDecoder() : stream_(ZSTD_createDStream()) { CHECK(stream_ != nullptr); }
  ~ZstdDecoder() override { ZSTD_freeDStream(stream_); }
  const char* format() const override { return "zstd"; }

  absl::StatusOr<DecodeStep> Decode(absl::string_view input, char* out, size_t capacity) override {
    ZSTD_inBuffer in = {input.data(), input.size(), 0};
    ZSTD_outBuffer buffer = {out, capacity, 0};
    const size_t result = ZSTD_decompressStream(stream_, &buffer, &in);
    if (ZSTD_isError(result)) {
      return DataError(absl::StrCat("corrupted zstd stream: ", ZSTD_getErrorName(result)));
    }
    return DecodeStep{.consumed = in.pos, .produced = buffer.pos, .member_ended = result == 0};
  }

 private:
  ZSTD_DStream* const stream_;
};

}  // namespace

std::unique_ptr<Decoder> MakeDecoder(absl::string_view path) {
  if (absl::EndsWith(path, ".gz")) return std::make_unique<GzipDecoder>();
  if (absl::EndsWith(path, ".bz2")) return std::make_unique<Bzip2Decoder>();
  if (absl::EndsWith(path, ".zst")) return std::make_unique<ZstdDecoder>();
  return nullptr;
}

}  // namespace pagoda
