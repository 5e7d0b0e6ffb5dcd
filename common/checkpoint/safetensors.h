// Safetensors files: named tensors that Python's `safetensors` loads without copying.
//
// file = header length u64-LE | JSON header, padded with blanks to 8 bytes | the tensors' bytes
// JSON = {"__metadata__": {text: text},
//         NAME: {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ...}
//
// Used for a checkpoint's dense file, for dumps and for --init.
//
// Thread-safe (values).
#ifndef PAGODA_COMMON_CHECKPOINT_SAFETENSORS_H_
#define PAGODA_COMMON_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagoda {

struct Tensor {
  std::string name;
  std::string dtype;  // F32, F64, U64, I64
  std::vector<int64_t> shape;
  std::string bytes;  // Little-endian, row-major.

  static Tensor F32(std::string name, std::vector<int64_t> shape, const float* data);
  static Tensor U64(std::string name, std::vector<int64_t> shape, const uint64_t* data);
  const float* f32() const { return reinterpret_cast<const float*>(bytes.data()); }
  const uint64_t* u64() const { return reinterpret_cast<const uint64_t*>(bytes.data()); }
  int64_t size() const;  // Product of shape.
};

// Writes atomically (temporary, fsync, rename).
absl::Status WriteSafetensors(const std::string& path, const std::vector<Tensor>& tensors,
                              const std::map<std::string, std::string>& metadata);

// Every offset, shape and dtype is checked against the file's size.
struct SafetensorsFile {
  std::vector<Tensor> tensors;  // In name order.
  std::map<std::string, std::string> metadata;
};
absl::StatusOr<SafetensorsFile> ReadSafetensors(const std::string& path);

}  // namespace pagoda

#endif  // PAGODA_COMMON_CHECKPOINT_SAFETENSORS_H_
