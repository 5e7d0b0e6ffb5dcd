#include "worker/data/dataset.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/io/file.h"
#include "common/io/pipe.h"
#include "glog/logging.h"
#include "worker/data/encoder.h"
#include "worker/data/format.h"
#include "worker/data/ingest.h"
#include "worker/data/record.h"
#include "worker/data/statistics.h"

namespace pagoda {
namespace {

constexpr char kSummaryName[] = "summary";

// A shuffled epoch's records lie anywhere. So many ahead of the one in hand are fetched: a few
// hundred nanoseconds of work, about a miss's time.
constexpr size_t kPrefetchRecords = 4;

// 2^64 / golden ratio: keeps a chain of zeros from staying zero.
constexpr uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;

absl::Status CheckIsNoFolder(const std::string& path, const std::string& format) {
  std::error_code error;  // Of a file that is gone: who opens it says so.
  if (!std::filesystem::is_directory(path, error)) return absl::OkStatus();
  return UsageError(absl::StrCat("dataset.source.path: ", path, " is a folder; name its files: ",
                                 JoinPath(path, format == "csv" ? "*.csv" : "*")));
}

absl::StatusOr<std::vector<ResolvedSource>> ResolveSources(const DatasetConfig& config,
                                                           const std::string& config_dir) {
  std::vector<ResolvedSource> sources;
  for (const SourceConfig& source : config.source()) {
    ResolvedSource resolved;
    resolved.config = source;
    for (const std::string& path : source.path()) {
      if (IsPipe(path)) {
        resolved.names.push_back(path);
        resolved.paths.push_back(path);
        continue;
      }
      absl::StatusOr<std::vector<std::string>> found = Glob(JoinPath(config_dir, path));
      if (!found.ok()) return WithContext(found.status(), "dataset.source.path");
      for (const std::string& file : *found) {
        RETURN_IF_ERROR(CheckIsNoFolder(file, config.format()));
        const std::string folder = JoinPath(config_dir, "");
        resolved.names.push_back(std::string(absl::StripPrefix(file, folder)));
        resolved.paths.push_back(file);
      }
    }
    if (source.path_size() == 0) {
      resolved.names.push_back(config.format());
      resolved.paths.push_back("");
    }
    sources.push_back(std::move(resolved));
  }
  return sources;
}

absl::StatusOr<std::vector<SourceStamp>> StampSources(const std::vector<ResolvedSource>& sources) {
  std::vector<SourceStamp> stamps;
  std::map<std::string, SourceStamp> known;  // By path: a file of several sources is summed once.
  for (const ResolvedSource& source : sources) {
    for (size_t i = 0; i < source.paths.size(); ++i) {
      SourceStamp& stamp = known[source.paths[i]];
      if (!stamp.path().empty()) {
        stamps.push_back(stamp);
        continue;
      }
      stamp.set_path(source.names[i]);
      if (!source.paths[i].empty() && !IsPipe(source.paths[i])) {
        ASSIGN_OR_RETURN(const uint64_t bytes, FileSize(source.paths[i]));
        ASSIGN_OR_RETURN(const uint64_t checksum, ChecksumFile(source.paths[i]));
        stamp.set_bytes(bytes);
        stamp.set_checksum(checksum);
      }
      stamps.push_back(stamp);
    }
  }
  return stamps;
}

absl::Status StampRecords(const std::string& folder, RecordSummary* summary) {
  std::string checksums;
  for (const Split split : kSplits) {
    for (const std::string& path : RecordPaths(folder, SplitName(split))) {
      ASSIGN_OR_RETURN(const uint64_t size, FileSize(path));
      ASSIGN_OR_RETURN(const uint64_t checksum, ChecksumFile(path));
      summary->bytes += size;
      absl::StrAppend(&checksums, absl::Hex(checksum, absl::kZeroPad16));
    }
  }
  summary->checksum = HashBytes(checksums);
  return absl::OkStatus();
}

// All that the records depend on: not transforms, buckets, dims or weights, so that trying those
// reads nothing again.
std::string Fingerprint(const DatasetConfig& config, const InputLayout& input,
                        const std::vector<std::string>& strict_funnel, bool keeps_weightless,
                        const std::vector<SourceStamp>& stamps) {
  DatasetConfig relevant = config;
  relevant.clear_description();
  relevant.clear_funnel();
  relevant.clear_strict_funnel();  // Which rows are refused, the steps below say.
  for (FeatureConfig& feature : *relevant.mutable_feature()) {
    feature.clear_dim();
    if (!IsWeighted(feature)) feature.clear_pooling();  // Else it says which weights are refused.
    feature.clear_field();
    // Made when a batch is filled; that there is one says that no id is read.
    if (feature.has_cross()) feature.mutable_cross()->Clear();
    feature.clear_transform();
    feature.clear_buckets();
    feature.clear_import();  // Rows of a table, not of the data.
    feature.clear_frozen();
  }
  for (TaskConfig& task : *relevant.mutable_task()) {
    task.clear_weight();
    task.clear_normalize();
    task.clear_huber_delta();
    task.clear_focal_gamma();
    task.clear_focal_alpha();
    task.clear_inverse();
    task.clear_positive_weight();
    task.clear_auto_positive_weight();
    task.clear_calibrate();
  }
  std::string text = absl::StrCat("records ", kRecordVersion, "\n", relevant.DebugString());
  for (const EmbeddingFeature& embedding : input.embeddings) {
    if (!embedding.set.empty()) continue;  // It reads an ordinary feature's ids.
    absl::StrAppend(&text, "slot ", embedding.slot, "\n");
  }
  const bool samples = std::any_of(config.task().begin(), config.task().end(),
                                   [](const auto& task) { return task.negative_sampling() < 1; });
  if (samples && keeps_weightless) absl::StrAppend(&text, "weightless rows, too\n");
  for (const std::string& step : strict_funnel) absl::StrAppend(&text, "step ", step, "\n");
  for (const SourceStamp& stamp : stamps) {
    absl::StrAppend(&text, stamp.path(), "\n", stamp.bytes(), " ", stamp.checksum(), "\n");
  }
  return absl::StrFormat("%016x", HashBytes(text));
}

class RecordDataset : public Dataset {
 public:
  RecordDataset(const Config& config, DataSchema schema)
      : config_(config.dataset()),
        schema_(std::move(schema)),
        layout_(config_),
        keeps_weightless_(config.train().method() == TrainConfig::ALTERNATING) {}

  absl::Status Open(const DatasetOptions& options, const Statistics* statistics) {
    ASSIGN_OR_RETURN(const std::vector<ResolvedSource> sources,
                     ResolveSources(config_, options.config_dir));
    ASSIGN_OR_RETURN(stamps_, StampSources(sources));
    const std::string name = config_.name().empty() ? "data" : config_.name();
    const std::string fingerprint =
        Fingerprint(config_, schema_.input, options.strict_funnel, keeps_weightless_, stamps_);
    const std::string folder = JoinPath(options.cache_dir, absl::StrCat(name, "-", fingerprint));
    const bool is_stale = options.reads_pipes_again && ReadsPipe(config_);
    if (is_stale || !FileExists(JoinPath(folder, kSummaryName))) {
      RETURN_IF_ERROR(ReadSources(sources, folder, options));
    }
    RETURN_IF_ERROR(MapRecords(folder));
    StampPipes();
    if (statistics != nullptr) {
      RETURN_IF_ERROR(CheckStatistics(config_, *statistics));
      statistics_ = *statistics;
    } else {
      statistics_ = ComputeStatistics(config_, layout_, *records_[TRAIN]);
    }
    PlanFeatures();
    return absl::OkStatus();
  }

  const DataSchema& schema() const override { return schema_; }
  const Statistics& statistics() const override { return statistics_; }
  const std::vector<SourceStamp>& sources() const override { return stamps_; }
  int64_t bad_rows() const override { return summary_.bad_rows; }
  int64_t rows(Split split) const override { return records_[split]->rows(); }
  const std::vector<int64_t>& positives() const override { return summary_.positives; }
  const std::vector<int64_t>& negatives() const override { return summary_.negatives; }

  std::vector<RecordRuns> TaskRecords() const override;
  absl::Status Fill(Split split, absl::Span<const int64_t> records, Batch* batch) const override;

 private:
  // How an embedding feature's ids come out of a record.
  struct IdPlan {
    FeaturePlace place;
    uint32_t slot;
    std::vector<double> boundaries;  // BUCKET.
  };
  // Which embedding features' ids make a cross's.
  struct CrossPlan {
    int feature;
    std::vector<int> members;
  };
  // How a dense feature's float does.
  struct NumberPlan {
    int index;
    NumberTransform transform;
  };

  absl::Status ReadSources(const std::vector<ResolvedSource>& sources, const std::string& folder,
                           const DatasetOptions& options) const;
  absl::Status MapRecords(const std::string& folder);
  void StampPipes();
  void PlanFeatures();
  void Prefetch(const std::byte* record) const;
  // Example b of the batch, but for its lists.
  void FillExample(const std::byte* record, size_t b, Batch* batch) const;
  absl::Status FillList(const RecordFile& file, absl::Span<const int64_t> records, int list,
                        Batch::IdColumn* column) const;
  void FillCross(const CrossPlan& cross, size_t b, Batch* batch) const;

  const DatasetConfig config_;
  const DataSchema schema_;
  const RecordLayout layout_;
  // When tasks alternate, one task's labels do not decide which rows the others see.
  const bool keeps_weightless_;
  std::vector<SourceStamp> stamps_;
  RecordSummary summary_;
  Statistics statistics_;
  std::array<std::unique_ptr<RecordFile>, 4> records_;  // [Split]
  std::vector<IdPlan> id_plans_;                        // [embedding feature]
  std::vector<NumberPlan> number_plans_;                // [dense feature]
  std::vector<CrossPlan> crosses_;
};

absl::Status RecordDataset::ReadSources(const std::vector<ResolvedSource>& sources,
                                        const std::string& folder,
                                        const DatasetOptions& options) const {
  const std::string temporary = folder + ".tmp";
  RETURN_IF_ERROR(RemoveTree(temporary));
  RETURN_IF_ERROR(MakeDirectories(temporary));
  IngestOptions ingest{&config_, &schema_.input, &layout_, temporary, options.quarantine_path};
  ingest.strict_funnel = options.strict_funnel;
  ingest.keeps_weightless = keeps_weightless_;
  ASSIGN_OR_RETURN(RecordSummary summary, Ingest(ingest, sources));
  if (ReadsPipe(config_)) RETURN_IF_ERROR(StampRecords(temporary, &summary));
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(temporary, kSummaryName), summary.ToText()));
  RETURN_IF_ERROR(RemoveTree(folder));
  if (std::rename(temporary.c_str(), folder.c_str()) != 0) {
    return ErrnoError(errno, "rename to", folder);
  }
  return SyncFile(DirectoryOf(folder));
}

absl::Status RecordDataset::MapRecords(const std::string& folder) {
  const std::string summary_path = JoinPath(folder, kSummaryName);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(summary_path));
  absl::StatusOr<RecordSummary> summary = RecordSummary::FromText(text);
  if (!summary.ok()) return WithContext(summary.status(), summary_path);
  summary_ = *std::move(summary);
  for (size_t i = 0; i < kSplits.size(); ++i) {
    ASSIGN_OR_RETURN(records_[kSplits[i]],
                     RecordFile::Open(&layout_, folder, SplitName(kSplits[i]), summary_.rows[i]));
  }
  return absl::OkStatus();
}

// What a command gave is not there any more: its stamp is the records that were made of it.
void RecordDataset::StampPipes() {
  for (SourceStamp& stamp : stamps_) {
    if (!IsPipe(stamp.path())) continue;
    stamp.set_bytes(summary_.bytes);
    stamp.set_checksum(summary_.checksum);
  }
}

std::vector<RecordRuns> RecordDataset::TaskRecords() const {
  const RecordFile& file = *records_[TRAIN];
  std::vector<RecordRuns> runs(schema_.tasks.size());
  for (int64_t n = 0; n < file.rows(); ++n) {
    const auto* weights = reinterpret_cast<const float*>(file.record(n) + layout_.weights_at);
    for (size_t task = 0; task < runs.size(); ++task) {
      if (weights[task] != 0) runs[task].Add(n);
    }
  }
  return runs;
}

void RecordDataset::PlanFeatures() {
  const std::vector<DenseFeature>& dense = schema_.input.dense;
  int statistics_index = 0;
  for (int f = 0; f < config_.feature_size(); ++f) {
    const FeatureConfig& feature = config_.feature(f);
    const FeaturePlace place = layout_.features[f];
    if (feature.kind() == FeatureConfig::DENSE) {
      const FeatureStatistics& own = statistics_.feature(statistics_index++);
      if (number_plans_.size() == dense.size() ||
          dense[number_plans_.size()].name != feature.name()) {
        continue;  // No task reads it.
      }
      number_plans_.push_back({place.index, NumberTransform(feature, own)});
      continue;
    }
    IdPlan plan{place, schema_.input.embeddings[id_plans_.size()].slot, {}};
    if (feature.kind() == FeatureConfig::BUCKET) {
      const FeatureStatistics& own = statistics_.feature(statistics_index++);
      plan.boundaries.assign(own.boundary().begin(), own.boundary().end());
    }
    id_plans_.push_back(std::move(plan));
  }
  const std::vector<EmbeddingFeature>& embeddings = schema_.input.embeddings;
  for (const FeatureConfig& feature : config_.feature()) {
    if (!feature.has_cross()) continue;
    const auto index_of = [&](const std::string& name) {
      for (size_t f = 0; f < id_plans_.size(); ++f) {
        if (embeddings[f].name == name) return static_cast<int>(f);
      }
      LOG(FATAL) << "no feature " << name;
    };
    CrossPlan cross{index_of(feature.name()), {}};
    for (const std::string& member : feature.cross().feature()) {
      cross.members.push_back(index_of(member));
    }
    crosses_.push_back(std::move(cross));
  }
}

absl::Status RecordDataset::FillList(const RecordFile& file, absl::Span<const int64_t> records,
                                     int list, Batch::IdColumn* column) const {
  column->ids.clear();
  column->weights.clear();
  column->offsets.resize(records.size() + 1);
  for (size_t b = 0; b < records.size(); ++b) {
    absl::Span<const uint64_t> ids;
    const float* weights;
    RETURN_IF_ERROR(file.List(records[b], list, &ids, &weights));
    column->offsets[b] = static_cast<uint32_t>(column->ids.size());
    column->ids.insert(column->ids.end(), ids.begin(), ids.end());
    if (weights == nullptr) continue;
    column->weights.insert(column->weights.end(), weights, weights + ids.size());
  }
  column->offsets[records.size()] = static_cast<uint32_t>(column->ids.size());
  return absl::OkStatus();
}

void RecordDataset::Prefetch(const std::byte* record) const {
  constexpr size_t kCacheLine = 64;
  for (size_t at = 0; at < layout_.bytes; at += kCacheLine) __builtin_prefetch(record + at);
}

absl::Status RecordDataset::Fill(Split split, absl::Span<const int64_t> records,
                                 Batch* batch) const {
  const RecordFile& file = *records_[split];
  const size_t rows = records.size();
  batch->rows = static_cast<int>(rows);
  batch->ids.resize(id_plans_.size());
  batch->dense.resize(rows * number_plans_.size());
  batch->labels.resize(layout_.tasks * rows);
  batch->weights.resize(layout_.tasks * rows);
  batch->record.assign(records.begin(), records.end());
  for (size_t f = 0; f < id_plans_.size(); ++f) {
    if (schema_.input.embeddings[f].is_list) {
      RETURN_IF_ERROR(FillList(file, records, id_plans_[f].place.index, &batch->ids[f]));
    } else {
      batch->ids[f].ids.resize(rows);
      batch->ids[f].offsets.clear();
    }
  }
  for (size_t b = 0; b < rows; ++b) {
    CHECK(records[b] >= 0 && records[b] < file.rows()) << "record " << records[b];
    if (b + kPrefetchRecords < rows) Prefetch(file.record(records[b + kPrefetchRecords]));
    FillExample(file.record(records[b]), b, batch);
  }
  // Bits hold the sample space beside the weight (record.h).
  for (float& weight : batch->weights) {
    weight = split == TRAIN ? std::fabs(weight) : std::signbit(weight) ? 0 : 1;
  }
  return absl::OkStatus();
}

// A chain of mixed values: the order of the members counts. Values, not salted ids, so that slots
// do not; missing values are one value wherever they stand.
void RecordDataset::FillCross(const CrossPlan& cross, size_t b, Batch* batch) const {
  uint64_t hash = 0;
  for (const int member : cross.members) {
    const uint32_t slot = id_plans_[member].slot;
    const uint64_t id = batch->ids[member].ids[b];
    uint64_t value = slot == 0 ? id : ValueOfSalted(id);
    if (value == MissingId(slot)) value = MissingId(0);
    hash = MixId(hash + value + kGoldenRatio);
  }
  const uint32_t slot = id_plans_[cross.feature].slot;
  const uint64_t value = hash & MissingId(slot);
  batch->ids[cross.feature].ids[b] = SaltId(slot, value == MissingId(slot) ? value - 1 : value);
}

void RecordDataset::FillExample(const std::byte* record, size_t b, Batch* batch) const {
  const auto* ids = reinterpret_cast<const uint64_t*>(record);
  const auto* numbers = reinterpret_cast<const float*>(record + layout_.numbers_at);
  const auto* labels = reinterpret_cast<const float*>(record + layout_.labels_at);
  const auto* weights = reinterpret_cast<const float*>(record + layout_.weights_at);
  for (size_t f = 0; f < id_plans_.size(); ++f) {
    const IdPlan& plan = id_plans_[f];
    if (plan.place.kind == FeatureConfig::ID && plan.place.index >= 0) {
      batch->ids[f].ids[b] = ids[plan.place.index];
    } else if (plan.place.kind == FeatureConfig::BUCKET) {
      const uint64_t bucket = BucketOf(plan.boundaries, numbers[plan.place.index]);
      batch->ids[f].ids[b] = SaltId(plan.slot, bucket);
    }
  }
  for (const CrossPlan& cross : crosses_) FillCross(cross, b, batch);
  float* dense = batch->dense.data() + b * number_plans_.size();
  for (const NumberPlan& plan : number_plans_) {
    *dense++ = plan.transform.Apply(numbers[plan.index]);
  }
  for (int t = 0; t < layout_.tasks; ++t) {
    batch->labels[t * batch->rows + b] = labels[t];
    batch->weights[t * batch->rows + b] = weights[t];
  }
}

}  // namespace

bool ReadsPipe(const DatasetConfig& config) {
  return std::any_of(config.source().begin(), config.source().end(), [](const auto& source) {
    return std::any_of(source.path().begin(), source.path().end(), IsPipe);
  });
}

absl::StatusOr<std::unique_ptr<Dataset>> Dataset::Open(const Config& config,
                                                       const DatasetOptions& options,
                                                       const Statistics* statistics) {
  ASSIGN_OR_RETURN(DataSchema schema, MakeDataSchema(config));
  auto dataset = std::make_unique<RecordDataset>(config, std::move(schema));
  RETURN_IF_ERROR(WithContext(dataset->Open(options, statistics),
                              absl::StrCat("data set ", config.dataset().name())));
  return std::unique_ptr<Dataset>(std::move(dataset));
}

}  // namespace pagoda
