#include "common/checkpoint/safetensors.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/safetensors_header.h"
#include "common/errors.h"
#include "common/io/file.h"

namespace pagoda {
namespace {

// The limit of the reference implementation.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kAlignment = 8;

template <typename T>
Tensor MakeTensor(std::string name, const char* dtype, std::vector<int64_t> shape, const T* data) {
  Tensor tensor{.name = std::move(name), .dtype = dtype, .shape = std::move(shape), .bytes = {}};
  tensor.bytes.assign(reinterpret_cast<const char*>(data),
                      static_cast<size_t>(tensor.size()) * sizeof(T));
  return tensor;
}

// Wide types first, so that each tensor is aligned in the file; then by name, so that the file is a
// function of its contents.
std::vector<const Tensor*> InFileOrder(const std::vector<Tensor>& tensors) {
  std::vector<const Tensor*> order;
  for (const Tensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const Tensor* a, const Tensor* b) {
    const int a_bytes = DtypeBytes(a->dtype), b_bytes = DtypeBytes(b->dtype);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a->name < b->name;
  });
  return order;
}

// The tensors fill the file's rest without a gap or an overlap.
absl::Status CheckOffsets(const SafetensorsHeader& header, uint64_t data_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const TensorEntry& tensor : header.tensors) ranges.emplace_back(tensor.begin, tensor.end);
  std::sort(ranges.begin(), ranges.end());
  uint64_t at = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != at) return DataError(absl::StrCat("a gap or an overlap of tensors at byte ", at));
    at = end;
  }
  if (at != data_bytes) {
    return DataError(absl::StrCat("tensors of ", at, " bytes, but ", data_bytes,
                                  " bytes follow the header; the file is truncated or damaged"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsFile> Parse(absl::string_view file) {
  uint64_t header_bytes = 0;
  if (file.size() < sizeof(header_bytes)) return DataError("too short for a safetensors file");
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  file.remove_prefix(sizeof(header_bytes));
  if (header_bytes > std::min<uint64_t>(file.size(), kMaxHeaderBytes)) {
    return DataError(absl::StrCat("header of ", header_bytes, " bytes in a file of ",
                                  file.size() + sizeof(header_bytes),
                                  " bytes; truncated, or no safetensors file"));
  }
  ASSIGN_OR_RETURN(const SafetensorsHeader header,
                   ParseSafetensorsHeader(file.substr(0, header_bytes)));
  file.remove_prefix(header_bytes);
  RETURN_IF_ERROR(CheckOffsets(header, file.size()));
  SafetensorsFile result;
  result.metadata = header.metadata;
  for (const TensorEntry& entry : header.tensors) {
    result.tensors.push_back(
        {.name = entry.name,
         .dtype = entry.dtype,
         .shape = entry.shape,
         .bytes = std::string(file.substr(entry.begin, entry.end - entry.begin))});
  }
  std::sort(result.tensors.begin(), result.tensors.end(),
            [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  return result;
}

}  // namespace

Tensor Tensor::F32(std::string name, std::vector<int64_t> shape, const float* data) {
  return MakeTensor(std::move(name), "F32", std::move(shape), data);
}
Tensor Tensor::U64(std::string name, std::vector<int64_t> shape, const uint64_t* data) {
  return MakeTensor(std::move(name), "U64", std::move(shape), data);
}

int64_t Tensor::size() const {
  int64_t product = 1;
  for (const int64_t extent : shape) product *= extent;
  return product;
}

absl::Status WriteSafetensors(const std::string& path, const std::vector<Tensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header{.tensors = {}, .metadata = metadata};
  const std::vector<const Tensor*> order = InFileOrder(tensors);
  std::set<std::string> names = {"__metadata__"};
  uint64_t at = 0;
  for (const Tensor* tensor : order) {
    CHECK_EQ(static_cast<size_t>(tensor->size()) * DtypeBytes(tensor->dtype), tensor->bytes.size())
        << "tensor " << tensor->name;
    CHECK(names.insert(tensor->name).second) << "two tensors are called " << tensor->name;
    const uint64_t end = at + tensor->bytes.size();
    header.tensors.push_back({tensor->name, tensor->dtype, tensor->shape, at, end});
    at = end;
  }
  std::string text = FormatSafetensorsHeader(header);
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const uint64_t header_bytes = text.size();
  ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file->Append(
      absl::string_view(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes))));
  RETURN_IF_ERROR(file->Append(text));
  for (const Tensor* tensor : order) RETURN_IF_ERROR(file->Append(tensor->bytes));
  return file->Commit();
}

absl::StatusOr<SafetensorsFile> ReadSafetensors(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  absl::StatusOr<SafetensorsFile> result =
      Parse({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()});
  if (!result.ok()) return WithContext(result.status(), path);
  return result;
}

}  // namespace pagoda
