// Decompressors behind one step function. Inside common/io only; people use ByteReader.
//
// A compressed file is one or more members (gzip's word; a stream of bzip2, a frame of zstd), one
// after the other, as `cat a.gz b.gz` makes them.
//
// Confined to one thread at a time.
#ifndef PAGODA_COMMON_IO_DECODER_H_
#define PAGODA_COMMON_IO_DECODER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

struct DecodeStep {
  size_t consumed = 0;        // Of the input.
  size_t produced = 0;        // Into the output.
  bool member_ended = false;  // And all of its bytes are out; the next input starts another.
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual const char* format() const = 0;  // For messages: "gzip".
  // May be called with no input, to drain what is buffered. DataError: not this format, or
  // corrupted.
  virtual absl::StatusOr<DecodeStep> Decode(absl::string_view input, char* out,
                                            size_t capacity) = 0;
};

// By the path's ending: .gz, .bz2, .zst; nullptr for any other.
std::unique_ptr<Decoder> MakeDecoder(absl::string_view path);

}  // namespace pagoda

#endif  // PAGODA_COMMON_IO_DECODER_H_
