// The JSON header of a safetensors file, to text and back. Inside common/checkpoint only.
//
// The parser takes bytes from anywhere: its grammar is fixed (no value nests deeper than a tensor's
// shape), every number is bounded, and it allocates no more than the header's length.
//
// Thread-safe (functions).
#ifndef PAGODA_COMMON_CHECKPOINT_SAFETENSORS_HEADER_H_
#define PAGODA_COMMON_CHECKPOINT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

struct TensorEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // Its bytes, relative to the first byte after the header.
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;
  std::map<std::string, std::string> metadata;
};

// Bytes of one value; 0 for a dtype that is unknown.
int DtypeBytes(absl::string_view dtype);

std::string FormatSafetensorsHeader(const SafetensorsHeader& header);

// Syntax and each tensor alone: dtype known, shape x size = end - begin, no name twice. DataError.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json);

}  // namespace pagoda

#endif  // PAGODA_COMMON_CHECKPOINT_SAFETENSORS_HEADER_H_
