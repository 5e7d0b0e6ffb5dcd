#include "worker/data/record.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

template <typename T>
void Put(std::byte* at, const std::vector<T>& items) {
  if (!items.empty()) std::memcpy(at, items.data(), items.size() * sizeof(T));
}

template <typename T>
void Get(const std::byte* at, int count, std::vector<T>* items) {
  items->resize(count);
  if (count > 0) std::memcpy(items->data(), at, count * sizeof(T));
}

// Words that n weights take.
uint64_t WeightWords(uint64_t n) { return n / 2 + n % 2; }

}  // namespace

const char* SplitName(Split split) {
  switch (split) {
    case TRAIN:
      return "train";
    case VALID:
      return "valid";
    case TEST:
      return "test";
    default:
      LOG(FATAL) << "not a split: " << split;
  }
}

std::array<std::string, 2> RecordPaths(const std::string& folder, const std::string& name) {
  return {JoinPath(folder, name + ".records"), JoinPath(folder, name + ".lists")};
}

bool IsList(const FeatureConfig& feature) {
  return feature.kind() == FeatureConfig::ID_LIST || feature.kind() == FeatureConfig::SEQUENCE;
}

bool IsWeighted(const FeatureConfig& feature) {
  return feature.weighted() || !feature.weights_column().empty();
}

const std::string& ColumnOf(const FeatureConfig& feature) {
  CHECK(!feature.has_cross()) << feature.name();
  return feature.column().empty() ? feature.name() : feature.column();
}

RecordLayout::RecordLayout(const DatasetConfig& config) : tasks(config.task_size()) {
  for (const FeatureConfig& feature : config.feature()) {
    FeaturePlace place{feature.kind(), -1};
    if (feature.kind() == FeatureConfig::ID) {
      if (!feature.has_cross()) place.index = ids++;
    } else if (IsList(feature)) {
      place.index = lists++;
      list_is_weighted.push_back(IsWeighted(feature));
    } else {
      const std::string& column = ColumnOf(feature);
      const auto found = std::find(number_columns.begin(), number_columns.end(), column);
      place.index = static_cast<int>(found - number_columns.begin());
      if (found == number_columns.end()) number_columns.push_back(column);
    }
    features.push_back(place);
  }
  numbers = static_cast<int>(number_columns.size());
  lists_at = ids * sizeof(uint64_t);
  numbers_at = lists_at + lists * 2 * sizeof(uint64_t);
  labels_at = numbers_at + numbers * sizeof(float);
  weights_at = labels_at + tasks * sizeof(float);
  bytes = (weights_at + tasks * sizeof(float) + 7) / 8 * 8;
}

absl::StatusOr<std::unique_ptr<RecordWriter>> RecordWriter::Create(const RecordLayout* layout,
                                                                   const std::string& folder,
                                                                   const std::string& name) {
  std::unique_ptr<RecordWriter> writer(new RecordWriter(layout));
  const auto [records_path, lists_path] = RecordPaths(folder, name);
  writer->records_.path = records_path;
  writer->lists_.path = lists_path;
  for (OutputFile* output : {&writer->records_, &writer->lists_}) {
    output->file.reset(std::fopen(output->path.c_str(), "wb"));
    if (output->file == nullptr) return ErrnoError(errno, "create", output->path);
  }
  writer->bytes_.resize(layout->bytes);
  return writer;
}

absl::Status RecordWriter::Append(const Record& record) {
  std::byte* out = bytes_.data();
  Put(out, record.ids);
  for (size_t i = 0; i < record.lists.size(); ++i) {
    const std::vector<uint64_t>& list = record.lists[i];
    const uint64_t span[2] = {list_words_, list.size()};
    std::memcpy(out + layout_->lists_at + i * sizeof(span), span, sizeof(span));
    RETURN_IF_ERROR(AppendWords(list.data(), list.size()));
    if (!layout_->list_is_weighted[i]) continue;
    const std::vector<float>& weights = record.list_weights[i];
    CHECK_EQ(weights.size(), list.size());
    weight_words_.assign(WeightWords(weights.size()), 0);
    if (!weights.empty()) {
      std::memcpy(weight_words_.data(), weights.data(), weights.size() * sizeof(float));
    }
    RETURN_IF_ERROR(AppendWords(weight_words_.data(), weight_words_.size()));
  }
  Put(out + layout_->numbers_at, record.numbers);
  Put(out + layout_->labels_at, record.labels);
  Put(out + layout_->weights_at, record.weights);
  if (!bytes_.empty() && std::fwrite(out, bytes_.size(), 1, records_.file.get()) != 1) {
    return ErrnoError(errno, "write", records_.path);
  }
  ++rows_;
  return absl::OkStatus();
}

absl::Status RecordWriter::AppendWords(const uint64_t* words, size_t count) {
  if (count > 0 && std::fwrite(words, sizeof(uint64_t), count, lists_.file.get()) != count) {
    return ErrnoError(errno, "write", lists_.path);
  }
  list_words_ += count;
  return absl::OkStatus();
}

absl::Status RecordWriter::Close() {
  for (OutputFile* output : {&records_, &lists_}) {
    if (std::fflush(output->file.get()) != 0) return ErrnoError(errno, "write", output->path);
    output->file.reset();
    RETURN_IF_ERROR(SyncFile(output->path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RecordFile>> RecordFile::Open(const RecordLayout* layout,
                                                             const std::string& folder,
                                                             const std::string& name,
                                                             int64_t rows) {
  std::unique_ptr<RecordFile> file(new RecordFile(layout));
  const auto [path, lists_path] = RecordPaths(folder, name);
  ASSIGN_OR_RETURN(file->records_file_, MappedFile::Open(path));
  ASSIGN_OR_RETURN(file->lists_file_, MappedFile::Open(lists_path));
  const size_t want_bytes = static_cast<size_t>(rows) * layout->bytes;
  const size_t have_bytes = file->records_file_->bytes().size();
  if (rows < 0 || have_bytes != want_bytes) {
    return DataError(absl::StrCat(path, ": ", have_bytes, " bytes, not the ", want_bytes, " of ",
                                  rows, " records; remove ", folder, " to read the sources again"));
  }
  file->rows_ = rows;
  file->records_ = file->records_file_->bytes().data();
  const absl::Span<const std::byte> lists = file->lists_file_->bytes();
  file->list_words_ = {reinterpret_cast<const uint64_t*>(lists.data()),
                       lists.size() / sizeof(uint64_t)};
  return file;
}

absl::Status RecordFile::List(int64_t number, int list, absl::Span<const uint64_t>* ids,
                              const float** weights) const {
  uint64_t span[2];  // Begin, count.
  std::memcpy(span, record(number) + layout_->lists_at + list * sizeof(span), sizeof(span));
  const bool is_weighted = layout_->list_is_weighted[list];
  const uint64_t left = list_words_.size() - std::min<uint64_t>(span[0], list_words_.size());
  if (span[1] > left || (is_weighted && WeightWords(span[1]) > left - span[1])) {
    return DataError("a record's list lies outside its file: remove the data cache");
  }
  *ids = list_words_.subspan(span[0], span[1]);
  *weights = is_weighted ? reinterpret_cast<const float*>(list_words_.data() + span[0] + span[1])
                         : nullptr;
  return absl::OkStatus();
}

void RecordFile::Read(int64_t number, Record* out) const {
  const std::byte* in = record(number);
  Get(in, layout_->ids, &out->ids);
  out->lists.resize(layout_->lists);
  out->list_weights.resize(layout_->lists);
  for (int i = 0; i < layout_->lists; ++i) {
    absl::Span<const uint64_t> ids;
    const float* weights;
    const absl::Status found = List(number, i, &ids, &weights);
    CHECK(found.ok()) << found;  // Written by this process.
    out->lists[i].assign(ids.begin(), ids.end());
    out->list_weights[i].assign(weights, weights == nullptr ? weights : weights + ids.size());
  }
  Get(in + layout_->numbers_at, layout_->numbers, &out->numbers);
  Get(in + layout_->labels_at, layout_->tasks, &out->labels);
  Get(in + layout_->weights_at, layout_->tasks, &out->weights);
}

}  // namespace pagoda
