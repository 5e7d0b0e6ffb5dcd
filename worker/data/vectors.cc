#include "worker/data/vectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/checkpoint/safetensors.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "glog/logging.h"
#include "worker/data/encoder.h"
#include "worker/data/expression.h"
#include "worker/data/lines.h"

namespace pagoda {
namespace {

// Of values in messages.
constexpr size_t kShownBytes = 40;
// word2vec cuts words at 100 bytes; a longer one is damage, such as a wrong dim.
constexpr size_t kMaxValueBytes = 4096;
// "</s>", with which word2vec ends sentences: no value of a feature.
constexpr absl::string_view kSentenceEnd = "</s>";

// Takes one file's vectors into the rows of a table.
class Collector {
 public:
  Collector(const FeatureConfig& feature, const EmbeddingFeature& embedding, InitRows* rows)
      : feature_(feature), embedding_(embedding), rows_(*rows) {}

  int dim() const { return embedding_.dim; }

  // What the first of a file says, its header or a line, is the file's dim; a line of another one
  // behind it is damage.
  absl::Status CheckDim(const std::string& where, int64_t dim) {
    if (dim == embedding_.dim) {
      file_fits_ = true;
      return absl::OkStatus();
    }
    const std::string problem = absl::StrCat(where, "vectors of ", dim, " numbers, feature \"",
                                             feature_.name(), "\" has dim ", embedding_.dim);
    if (file_fits_) {
      return DataError(absl::StrCat(problem, ", as what stands before it: is this line whole?"));
    }
    if (dim <= 0) {
      return DataError(
          absl::StrCat(problem, "; is import.format: \"", feature_.import().format(), "\" right?"));
    }
    return DataError(absl::StrCat(problem, "; set dim: ", dim, ", or give it a file of that dim"));
  }

  // `where` ends in ": ".
  absl::Status Add(const std::string& where, absl::string_view value,
                   absl::Span<const float> vector) {
    uint64_t id;
    std::string reason = "is missing";
    if (value.empty() || !StoredIdOf(value, embedding_.slot, vocabulary(), &id, &reason)) {
      return DataError(absl::StrCat(where, Shown(value), " ", reason));
    }
    return AddRow(where, Shown(value), id, vector);
  }
  // Of a value that is a number.
  absl::Status Add(const std::string& where, uint64_t number, absl::Span<const float> vector) {
    const std::string shown = absl::StrCat("\"", number, "\"");
    uint64_t id;
    std::string reason;
    if (!StoredIdOf(number, embedding_.slot, vocabulary(), &id, &reason)) {
      return DataError(absl::StrCat(where, shown, " ", reason));
    }
    return AddRow(where, shown, id, vector);
  }

  static std::string Shown(absl::string_view value) {
    return absl::StrCat("\"", value.substr(0, kShownBytes), "\"");
  }

 private:
  uint64_t vocabulary() const { return static_cast<uint64_t>(feature_.vocabulary()); }

  absl::Status AddRow(const std::string& where, const std::string& shown, uint64_t id,
                      absl::Span<const float> vector) {
    CHECK_EQ(static_cast<int>(vector.size()), dim());
    if (!seen_.insert(id).second) return DataError(absl::StrCat(where, shown, " is there twice"));
    for (size_t i = 0; i < vector.size(); ++i) {
      if (std::isfinite(vector[i])) continue;
      return DataError(absl::StrCat(where, shown, ": number ", i + 1, " is ", vector[i]));
    }
    rows_.ids.push_back(id);
    rows_.rows.insert(rows_.rows.end(), vector.begin(), vector.end());
    return absl::OkStatus();
  }

  const FeatureConfig& feature_;
  const EmbeddingFeature& embedding_;
  InitRows& rows_;
  bool file_fits_ = false;  // By what was read of it so far.
  absl::flat_hash_set<uint64_t> seen_;
};

// Lines as they stand, checked by LineReader.
class PlainLines : public LineReader {
 public:
  explicit PlainLines(std::unique_ptr<ByteReader> bytes) : LineReader({}, std::move(bytes)) {}

 protected:
  void Parse(Row*) override {}
};

// Calls take(where, line) for each line that is not blank.
template <typename Take>
absl::Status ForEachLine(const std::string& path, const Take& take) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteReader> bytes, ByteReader::Open(path));
  PlainLines lines(std::move(bytes));
  Row row;
  for (;;) {
    const absl::StatusOr<bool> more = lines.Next(&row);
    if (!more.ok()) return WithContext(more.status(), path);
    if (!*more) return absl::OkStatus();
    const std::string where = absl::StrCat(path, ":", row.line, ": ");
    if (row.bad) return DataError(absl::StrCat(where, row.problem.reason));
    RETURN_IF_ERROR(take(where, row.text));
  }
}

absl::Status ParseVector(const std::string& where, absl::Span<const absl::string_view> texts,
                         std::vector<float>* vector) {
  vector->clear();
  for (const absl::string_view text : texts) {
    double number;
    if (!ParseNumber(text, &number) || !std::isfinite(static_cast<float>(number))) {
      return DataError(absl::StrCat(where, "number ", vector->size() + 1, ": ",
                                    Collector::Shown(text), " is not a finite 32-bit float"));
    }
    vector->push_back(static_cast<float>(number));
  }
  return absl::OkStatus();
}

// VALUE and the numbers behind it.
absl::Status AddLine(const std::string& where, absl::Span<const absl::string_view> fields,
                     std::vector<float>* vector, Collector* collector) {
  RETURN_IF_ERROR(collector->CheckDim(where, static_cast<int64_t>(fields.size()) - 1));
  RETURN_IF_ERROR(ParseVector(where, fields.subspan(1), vector));
  return collector->Add(where, fields[0], *vector);
}

absl::Status ReadTsv(const std::string& path, Collector* collector) {
  std::vector<float> vector;
  return ForEachLine(path, [&](const std::string& where, absl::string_view line) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
    return AddLine(where, fields, &vector, collector);
  });
}

// "COUNT DIM"
absl::Status ParseHeader(const std::string& where, absl::string_view line, int64_t* count,
                         int64_t* dim) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
  if (fields.size() == 2 && absl::SimpleAtoi(fields[0], count) &&
      absl::SimpleAtoi(fields[1], dim) && *count >= 0 && *dim > 0) {
    return absl::OkStatus();
  }
  return DataError(absl::StrCat(where, Collector::Shown(line), " is not COUNT DIM, with which a ",
                                "file of word2vec begins"));
}

absl::Status CheckCount(const std::string& path, int64_t found, int64_t count) {
  if (found == count) return absl::OkStatus();
  return DataError(
      absl::StrCat(path, ": ", found, " vectors, its header says ", count,
                   found < count ? "; it was cut off, or copied while it was written" : ""));
}

absl::Status ReadWord2Vec(const std::string& path, Collector* collector) {
  std::vector<float> vector;
  int64_t count = -1, dim = 0, found = 0;
  RETURN_IF_ERROR(ForEachLine(path, [&](const std::string& where, absl::string_view line) {
    if (count < 0) {
      RETURN_IF_ERROR(ParseHeader(where, line, &count, &dim));
      return collector->CheckDim(where, dim);
    }
    ++found;
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields[0] != kSentenceEnd) return AddLine(where, fields, &vector, collector);
    return collector->CheckDim(where, static_cast<int64_t>(fields.size()) - 1);
  }));
  if (count < 0) return DataError(absl::StrCat(path, ": is empty"));
  return CheckCount(path, found, count);
}

// Bytes of a stream, taken in order.
class ByteBuffer {
 public:
  explicit ByteBuffer(std::unique_ptr<ByteReader> reader) : reader_(std::move(reader)) {}

  // Up to and without `end`; false when it is not among the next kMaxValueBytes bytes.
  absl::StatusOr<bool> TakeUntil(char end, std::string* text) {
    text->clear();
    while (text->size() < kMaxValueBytes) {
      ASSIGN_OR_RETURN(const bool more, Fill(1));
      if (!more) return false;
      const char c = bytes_[at_++];
      if (c == end) return true;
      text->push_back(c);
    }
    return false;
  }
  // False when fewer are left.
  absl::StatusOr<bool> Take(size_t size, void* out) {
    ASSIGN_OR_RETURN(const bool more, Fill(size));
    if (!more) return false;
    std::memcpy(out, bytes_.data() + at_, size);
    at_ += size;
    return true;
  }
  absl::Status SkipNewLine() {
    ASSIGN_OR_RETURN(const bool more, Fill(1));
    if (more && bytes_[at_] == '\n') ++at_;
    return absl::OkStatus();
  }
  absl::StatusOr<bool> AtEnd() {
    ASSIGN_OR_RETURN(const bool more, Fill(1));
    return !more;
  }

 private:
  absl::StatusOr<bool> Fill(size_t size) {
    while (bytes_.size() - at_ < size) {
      bytes_.erase(0, at_);
      at_ = 0;
      const size_t had = bytes_.size();
      bytes_.resize(had + kReadBytes);
      absl::StatusOr<size_t> read = reader_->Read(&bytes_[had], kReadBytes);
      if (!read.ok()) return read.status();
      bytes_.resize(had + *read);
      if (*read == 0) return false;
    }
    return true;
  }

  const std::unique_ptr<ByteReader> reader_;
  std::string bytes_;  // Unread from at_ on.
  size_t at_ = 0;
};

absl::Status ReadWord2VecBinary(const std::string& path, Collector* collector) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteReader> reader, ByteReader::Open(path));
  ByteBuffer bytes(std::move(reader));
  std::string text;
  int64_t count, dim;
  ASSIGN_OR_RETURN(const bool has_header, bytes.TakeUntil('\n', &text));
  if (!has_header) text.resize(std::min(text.size(), kShownBytes));
  RETURN_IF_ERROR(ParseHeader(path + ":1: ", text, &count, &dim));
  RETURN_IF_ERROR(collector->CheckDim(path + ":1: ", dim));
  std::vector<float> vector(collector->dim());
  for (int64_t n = 1; n <= count; ++n) {
    const std::string where = absl::StrCat(path, ": vector ", n, " of ", count, ": ");
    RETURN_IF_ERROR(bytes.SkipNewLine());
    ASSIGN_OR_RETURN(const bool has_value, bytes.TakeUntil(' ', &text));
    if (!has_value && text.size() >= kMaxValueBytes) {
      return DataError(absl::StrCat(where, "no blank behind its value; is it another format?"));
    }
    ASSIGN_OR_RETURN(const bool has_vector,
                     bytes.Take(vector.size() * sizeof(float), vector.data()));
    if (!has_value || !has_vector) return DataError(absl::StrCat(where, "the file ends in it"));
    if (text != kSentenceEnd) RETURN_IF_ERROR(collector->Add(where, text, vector));
  }
  RETURN_IF_ERROR(bytes.SkipNewLine());
  ASSIGN_OR_RETURN(const bool at_end, bytes.AtEnd());
  if (at_end) return absl::OkStatus();
  return DataError(
      absl::StrCat(path, ": more bytes behind the ", count, " vectors that its ", "header says"));
}

// Number i of a tensor as a float.
float FloatOf(const Tensor& tensor, size_t i) {
  if (tensor.dtype == "F32") return tensor.f32()[i];
  double x;
  std::memcpy(&x, tensor.bytes.data() + i * sizeof(x), sizeof(x));
  return static_cast<float>(x);
}

absl::Status ReadTensors(const std::string& path, Collector* collector) {
  ASSIGN_OR_RETURN(const SafetensorsFile file, ReadSafetensors(path));
  const auto named = [&](const char* name) {
    const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                    [&](const Tensor& tensor) { return tensor.name == name; });
    return found == file.tensors.end() ? nullptr : &*found;
  };
  const Tensor* ids = named("ids");
  const Tensor* rows = named("rows");
  const bool fits = ids != nullptr && rows != nullptr &&
                    (ids->dtype == "U64" || ids->dtype == "I64") && ids->shape.size() == 1 &&
                    (rows->dtype == "F32" || rows->dtype == "F64") && rows->shape.size() == 2 &&
                    rows->shape[0] == ids->shape[0];
  if (!fits) {
    return DataError(absl::StrCat(path, ": needs tensors `ids`, U64 or I64 [n], and `rows`, F32 ",
                                  "or F64 [n, ", collector->dim(), "]"));
  }
  RETURN_IF_ERROR(collector->CheckDim(path + ": ", rows->shape[1]));
  std::vector<float> vector(collector->dim());
  for (int64_t n = 0; n < ids->shape[0]; ++n) {
    for (size_t c = 0; c < vector.size(); ++c) {
      vector[c] = FloatOf(*rows, n * vector.size() + c);
    }
    const uint64_t id = ids->u64()[n];
    const std::string where = absl::StrCat(path, ": vector ", n + 1, ": ");
    const auto as_signed = static_cast<int64_t>(id);
    if (ids->dtype == "I64" && as_signed < 0) {
      return DataError(absl::StrCat(where, "its id ", as_signed, " is negative"));
    }
    RETURN_IF_ERROR(collector->Add(where, id, vector));
  }
  return absl::OkStatus();
}

struct ImportFormat {
  const char* name;
  absl::Status (*read)(const std::string& path, Collector* collector);
};
constexpr ImportFormat kFormats[] = {{"safetensors", ReadTensors},
                                     {"word2vec", ReadWord2Vec},
                                     {"word2vec_binary", ReadWord2VecBinary},
                                     {"tsv", ReadTsv}};

const ImportFormat* FindImportFormat(const std::string& name) {
  const auto* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [&](const ImportFormat& one) { return one.name == name; });
  return found == std::end(kFormats) ? nullptr : found;
}

// The feature's ordinary embedding; null: it has none, or nothing reads it.
const EmbeddingFeature* EmbeddingOf(const FeatureConfig& feature, const DataSchema& data) {
  for (const EmbeddingFeature& one : data.input.embeddings) {
    if (one.set.empty() && one.name == feature.name() && one.table >= 0) return &one;
  }
  return nullptr;
}

absl::Status CheckImport(const FeatureConfig& feature) {
  const std::string field = absl::StrCat("feature[", feature.name(), "].import");
  if (feature.import().path().empty()) return UsageError(absl::StrCat(field, ".path: is empty"));
  if (FindImportFormat(feature.import().format()) != nullptr) return absl::OkStatus();
  std::vector<std::string> known;
  for (const ImportFormat& format : kFormats) known.push_back(format.name);
  return UsageError(absl::StrCat(field, ".format = \"", feature.import().format(),
                                 "\": there is none",
                                 NearestHint(feature.import().format(), known)));
}

}  // namespace

absl::Status CheckImports(const Config& config, const DataSchema& data) {
  std::map<std::pair<int, uint32_t>, std::string> importers;  // By table and slot.
  std::map<int, const FeatureConfig*> first;                  // By table.
  for (const FeatureConfig& feature : config.dataset().feature()) {
    const EmbeddingFeature* embedding = EmbeddingOf(feature, data);
    if (feature.has_import()) RETURN_IF_ERROR(CheckImport(feature));
    if (embedding == nullptr) continue;  // Nothing reads the feature.
    if (feature.has_import()) {
      const auto key = std::make_pair(embedding->table, embedding->slot);
      const auto [other, is_new] = importers.emplace(key, feature.name());
      if (!is_new) {
        return UsageError(absl::StrCat("feature[", feature.name(), "].import: it has its table in ",
                                       "common with feature \"", other->second,
                                       "\", which imports rows already; one of them does"));
      }
    }
    const auto [other, is_new] = first.emplace(embedding->table, &feature);
    if (is_new || other->second->frozen() == feature.frozen()) continue;
    const FeatureConfig& frozen = feature.frozen() ? feature : *other->second;
    const FeatureConfig& free = feature.frozen() ? *other->second : feature;
    return UsageError(absl::StrCat("feature[", frozen.name(), "].frozen: its table \"",
                                   data.tables[embedding->table].name(),
                                   "\" is also that of feature \"", free.name(),
                                   "\", which is not frozen; give it one of its ", "own (table: \"",
                                   frozen.name(), "\"), or freeze both"));
  }
  return absl::OkStatus();
}

std::vector<int> FrozenTables(const Config& config, const DataSchema& data) {
  std::set<int> tables;
  for (const FeatureConfig& feature : config.dataset().feature()) {
    const EmbeddingFeature* const embedding = EmbeddingOf(feature, data);
    if (feature.frozen() && embedding != nullptr) tables.insert(embedding->table);
  }
  return {tables.begin(), tables.end()};
}

absl::StatusOr<std::vector<InitRows>> ReadImports(const Config& config, const DataSchema& data) {
  std::map<int, InitRows> by_table;
  for (const FeatureConfig& feature : config.dataset().feature()) {
    const EmbeddingFeature* const embedding = EmbeddingOf(feature, data);
    if (!feature.has_import() || embedding == nullptr) continue;
    InitRows& rows = by_table[embedding->table];
    rows.table = embedding->table;
    const std::string& path = feature.import().path();
    if (!FileExists(path)) {
      return absl::NotFoundError(
          absl::StrCat("feature[", feature.name(), "].import.path: ", path, ": no such file"));
    }
    Collector collector(feature, *embedding, &rows);
    const absl::Status read = FindImportFormat(feature.import().format())->read(path, &collector);
    RETURN_IF_ERROR(WithContext(read, absl::StrCat("feature[", feature.name(), "].import")));
  }
  std::vector<InitRows> all;
  for (auto& [table, rows] : by_table) all.push_back(std::move(rows));
  return all;
}

}  // namespace pagoda
