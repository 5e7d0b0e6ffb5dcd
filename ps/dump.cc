#include "ps/dump.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/checkpoint/digest.h"
#include "common/checkpoint/manifest.h"
#include "common/checkpoint/safetensors.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/io/file.h"
#include "common/optim/ema.h"
#include "ps/store/row_files.h"
#include "ps/table/row.h"

namespace pagoda {
namespace {

absl::Status ForEachRow(const std::string& checkpoint, const Manifest& manifest,
                        int first_partition, int end_partition, const VisitFileRow& visit) {
  for (const RowFile& file : manifest.rows()) {
    if (file.increment()) {
      return DataError(absl::StrCat(checkpoint, "/", file.name(),
                                    ": is an increment, which this version does not read"));
    }
    const bool overlaps = static_cast<int>(
        file.first_partition())<end_partition&& static_cast<int>(file.end_partition())>
        first_partition;
    if (!overlaps) continue;
    RETURN_IF_ERROR(ReadRowFile(
        checkpoint, file, first_partition, end_partition,
        [&](int table, uint64_t id, absl::Span<const std::byte> row) -> absl::Status {
          if (table < manifest.schema().table_size()) return visit(table, id, row);
          return DataError(absl::StrCat(checkpoint, "/", file.name(), ": a row of table ", table,
                                        ", the manifest has ", manifest.schema().table_size()));
        }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Tensor>> ReadDense(const std::string& checkpoint,
                                              const Manifest& manifest) {
  if (manifest.dense().name().empty()) return std::vector<Tensor>();
  ASSIGN_OR_RETURN(SafetensorsFile file,
                   ReadSafetensors(JoinPath(checkpoint, manifest.dense().name())));
  return std::move(file.tensors);
}

bool Matches(const std::string& globs, const std::string& name) {
  if (globs.empty()) return true;
  for (const absl::string_view glob : absl::StrSplit(globs, ',')) {
    if (fnmatch(std::string(glob).c_str(), name.c_str(), 0) == 0) return true;
  }
  return false;
}

// "tower0/w.state1", "tower0/w.OPTIMIZER.state1".
bool IsOptimizerState(absl::string_view name) {
  const size_t at = name.rfind(".state");
  if (at == absl::string_view::npos || at + 6 == name.size()) return false;
  const absl::string_view number = name.substr(at + 6);
  return std::all_of(number.begin(), number.end(), absl::ascii_isdigit);
}

// Not the state of an optimizer that is out of the scope.
bool IsInScope(const DigestScope& scope, const Schema& schema, const std::string& tensor) {
  if (!Matches(scope.match, tensor)) return false;
  if (!IsOptimizerState(tensor)) return true;
  const std::string labelled = tensor.substr(0, tensor.rfind(".state"));
  for (const OptimizerSchema& optimizer : schema.optimizer()) {
    if (!absl::EndsWith(labelled, absl::StrCat(".", optimizer.name()))) continue;
    return Matches(scope.optimizers, optimizer.name());
  }
  return true;  // There is one optimizer, without a label.
}

// The bytes of a row that a scope with optimizers is about.
std::vector<std::byte> RowInScope(const DigestScope& scope, const Schema& schema,
                                  const RowLayout& layout, absl::Span<const std::byte> row) {
  const size_t end = RowLayout::kWeightsOffset + layout.dim() * sizeof(float);
  std::vector<std::byte> bytes(row.begin(), row.begin() + end);
  for (const RowOptimizer& optimizer : layout.optimizers()) {
    const std::string& name = schema.optimizer(static_cast<int>(optimizer.schema_index)).name();
    if (!Matches(scope.optimizers, name)) continue;
    const auto state = row.begin() + optimizer.state_offset;
    bytes.insert(bytes.end(), state,
                 state + optimizer.rule->state_size(layout.dim()) * sizeof(float));
  }
  return bytes;
}

absl::StatusOr<std::vector<RowLayout>> Layouts(const Schema& schema) {
  std::vector<RowLayout> layouts;
  for (int table = 0; table < schema.table_size(); ++table) {
    ASSIGN_OR_RETURN(RowLayout layout, RowLayout::Make(schema, table));
    layouts.push_back(std::move(layout));
  }
  return layouts;
}

// UsageError: no optimizer has a name of the scope's.
absl::Status CheckOptimizers(const DigestScope& scope, const Schema& schema) {
  std::vector<std::string> names;
  for (const OptimizerSchema& optimizer : schema.optimizer()) {
    if (Matches(scope.optimizers, optimizer.name())) return absl::OkStatus();
    names.push_back(optimizer.name());
  }
  if (scope.optimizers.empty()) return absl::OkStatus();
  return UsageError(absl::StrCat("--optimizers=", scope.optimizers,
                                 ": no optimizer of the checkpoint has such a name; it has ",
                                 absl::StrJoin(names, ", ")));
}

struct Recomputed {
  std::string digest;
  uint64_t rows = 0;
};
absl::StatusOr<Recomputed> Recompute(const std::string& checkpoint, const Manifest& manifest,
                                     const DigestScope& scope) {
  const Schema& schema = manifest.schema();
  RETURN_IF_ERROR(CheckOptimizers(scope, schema));
  std::vector<RowLayout> layouts;
  if (!scope.optimizers.empty()) {
    ASSIGN_OR_RETURN(layouts, Layouts(schema));
  }
  Recomputed result;
  RowDigest digest;
  bool matches_table = false;
  for (const TableSchema& table : schema.table()) {
    matches_table = matches_table || Matches(scope.match, table.name());
  }
  ASSIGN_OR_RETURN(std::vector<Tensor> dense, ReadDense(checkpoint, manifest));
  std::erase_if(dense,
                [&](const Tensor& tensor) { return !IsInScope(scope, schema, tensor.name); });
  if (dense.empty() && !matches_table && !scope.match.empty()) {
    return UsageError(absl::StrCat("--match=", scope.match,
                                   ": no table and no dense tensor of the checkpoint has such a ",
                                   "name; psctl dump --dense shows them"));
  }
  const auto add = [&](int table, uint64_t id, absl::Span<const std::byte> row) -> absl::Status {
    const std::string& name = schema.table(table).name();
    ++result.rows;
    if (!Matches(scope.match, name)) return absl::OkStatus();
    if (scope.optimizers.empty()) {
      digest.AddRow(name, id, row);
      return absl::OkStatus();
    }
    if (row.size() != layouts[table].row_bytes()) {
      return DataError(absl::StrCat("table ", name, " id ", id, ": row of ", row.size(), " bytes"));
    }
    digest.AddRow(name, id, RowInScope(scope, schema, layouts[table], row));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ForEachRow(checkpoint, manifest, 0, kPartitions, add));
  std::map<std::string, double> clocks = LateClocks(schema, manifest.state());
  for (const OptimizerSchema& optimizer : schema.optimizer()) {
    if (!Matches(scope.optimizers, optimizer.name())) clocks.erase("clock/" + optimizer.name());
  }
  result.digest = JobDigest(digest, dense, manifest.state(), clocks);
  return result;
}

std::string JsonText(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&out, "\\", std::string(1, c));
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppend(&out, absl::StrFormat("\\u%04x", c));
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

// The rows that go to one folder of a dump.
struct Part {
  std::string name;
  int dim = 0;
  std::vector<uint64_t> ids;
  std::vector<float> rows;  // [n, dim]
};

void SortById(Part* part) {
  std::vector<size_t> order(part->ids.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return part->ids[a] < part->ids[b]; });
  Part sorted{part->name, part->dim, {}, {}};
  sorted.ids.reserve(part->ids.size());
  sorted.rows.reserve(part->rows.size());
  for (const size_t i : order) {
    sorted.ids.push_back(part->ids[i]);
    const float* row = part->rows.data() + i * part->dim;
    sorted.rows.insert(sorted.rows.end(), row, row + part->dim);
  }
  *part = std::move(sorted);
}

class PartCollector {
 public:
  static absl::StatusOr<PartCollector> Make(const Schema& schema) {
    PartCollector collector;
    collector.schema_ = &schema;
    for (int t = 0; t < schema.table_size(); ++t) {
      const TableSchema& table = schema.table(t);
      bool salted = false;
      for (const FeatureSchema& feature : table.feature()) {
        if (feature.slot() == 0) continue;
        salted = true;
        RETURN_IF_ERROR(collector.AddPart({t, feature.slot()}, feature.name(), table.dim()));
      }
      if (!salted) RETURN_IF_ERROR(collector.AddPart({t, 0}, table.name(), table.dim()));
      collector.salted_.push_back(salted);
    }
    return collector;
  }

  absl::Status Add(int table, uint64_t id, absl::Span<const std::byte> row) {
    const bool salted = salted_[table];
    const auto part = parts_.find({table, salted ? SlotOfSalted(id) : 0});
    const std::string& name = schema_->table(table).name();
    if (part == parts_.end()) {
      return DataError(
          absl::StrCat("table ", name, " id ", id, ": no feature has its slot ", SlotOfSalted(id)));
    }
    const size_t weight_bytes = size_t{schema_->table(table).dim()} * sizeof(float);
    if (row.size() < RowLayout::kWeightsOffset + weight_bytes) {
      return DataError(absl::StrCat("table ", name, " id ", id, ": row of ", row.size(), " bytes"));
    }
    part->second.ids.push_back(salted ? ValueOfSalted(id) : id);
    std::vector<float>& rows = part->second.rows;
    rows.resize(rows.size() + schema_->table(table).dim());
    std::memcpy(rows.data() + rows.size() - schema_->table(table).dim(),
                row.data() + RowLayout::kWeightsOffset, weight_bytes);
    return absl::OkStatus();
  }

  std::map<std::pair<int, uint32_t>, Part>& parts() { return parts_; }

 private:
  absl::Status AddPart(std::pair<int, uint32_t> key, const std::string& name, int dim) {
    // Tables of embedding sets are "SET/NAME": folders within folders.
    for (const absl::string_view part : absl::StrSplit(name, '/')) {
      if (!part.empty() && part[0] != '.') continue;
      return UsageError(
          absl::StrCat("\"", name, "\" cannot be the name of a folder: rename the feature"));
    }
    parts_[key] = {name, dim, {}, {}};
    return absl::OkStatus();
  }

  const Schema* schema_ = nullptr;
  std::vector<bool> salted_;                        // By table: its features share it by salts.
  std::map<std::pair<int, uint32_t>, Part> parts_;  // By (table, slot).
};

// `,"smearing":{TASK:factor}` for tasks whose predictions are means; empty when there are none.
std::string SmearingJson(const TrainState& state) {
  std::vector<std::string> factors;
  for (const TaskSmearing& one : state.smearing()) {
    factors.push_back(
        absl::StrCat(JsonText(one.task()), ":", absl::StrFormat("%.17g", one.factor())));
  }
  if (factors.empty()) return "";
  return absl::StrCat(",\"smearing\":{", absl::StrJoin(factors, ","), "}");
}

// Returns the part's entry for manifest.json.
absl::StatusOr<std::string> WritePart(const std::string& folder, Part& part) {
  SortById(&part);
  const std::string file = absl::StrCat("tables/", part.name, "/part-00000.safetensors");
  const std::string path = JoinPath(folder, file);
  RETURN_IF_ERROR(MakeDirectories(DirectoryOf(path)));
  const auto n = static_cast<int64_t>(part.ids.size());
  RETURN_IF_ERROR(WriteSafetensors(path,
                                   {Tensor::U64("ids", {n}, part.ids.data()),
                                    Tensor::F32("rows", {n, part.dim}, part.rows.data())},
                                   {{"table", part.name}}));
  return absl::StrCat("{\"name\":", JsonText(part.name), ",\"dim\":", part.dim, ",\"rows\":", n,
                      ",\"file\":", JsonText(file), "}");
}

// The dense parameters as they serve: without optimizers' states, averages in place of weights.
std::vector<Tensor> ServingTensors(std::vector<Tensor> dense) {
  std::map<std::string, Tensor> serving;
  for (Tensor& tensor : dense) {
    if (IsOptimizerState(tensor.name)) continue;
    absl::string_view name = tensor.name;
    const bool is_average = absl::ConsumeSuffix(&name, kAverageSuffix);
    std::string parameter(name);
    tensor.name = parameter;
    if (is_average) {
      serving.insert_or_assign(std::move(parameter), std::move(tensor));
    } else {
      serving.emplace(std::move(parameter), std::move(tensor));
    }
  }
  std::vector<Tensor> tensors;
  for (auto& [name, tensor] : serving) tensors.push_back(std::move(tensor));
  return tensors;
}

absl::Status WriteDump(const std::string& checkpoint, const Manifest& manifest,
                       const std::string& folder, bool dense) {
  ASSIGN_OR_RETURN(PartCollector collector, PartCollector::Make(manifest.schema()));
  RETURN_IF_ERROR(ForEachRow(checkpoint, manifest, 0, kPartitions,
                             [&](int table, uint64_t id, absl::Span<const std::byte> row) {
                               return collector.Add(table, id, row);
                             }));
  std::vector<std::string> tables;
  for (auto& [key, part] : collector.parts()) {
    ASSIGN_OR_RETURN(std::string entry, WritePart(folder, part));
    tables.push_back(std::move(entry));
    part = {};
  }
  if (dense) {
    ASSIGN_OR_RETURN(std::vector<Tensor> tensors, ReadDense(checkpoint, manifest));
    RETURN_IF_ERROR(WriteSafetensors(JoinPath(folder, "dense.safetensors"),
                                     ServingTensors(std::move(tensors)), {}));
  }
  const std::string json = absl::StrCat(
      "{\"format_version\":1,\"step\":", manifest.state().step(),
      ",\"digest\":", JsonText(manifest.digest()), dense ? ",\"dense\":\"dense.safetensors\"" : "",
      SmearingJson(manifest.state()), ",\"tables\":[\n", absl::StrJoin(tables, ",\n"), "]}\n");
  return WriteFileAtomically(JoinPath(folder, "manifest.json"), json);
}

// The table and stored id that a person means by (table or feature, value).
absl::StatusOr<std::pair<int, uint64_t>> Resolve(const Schema& schema, const std::string& name,
                                                 uint64_t id) {
  std::vector<std::string> known;
  for (int t = 0; t < schema.table_size(); ++t) {
    known.push_back(schema.table(t).name());
    if (schema.table(t).name() == name) return std::pair<int, uint64_t>(t, id);
    for (const FeatureSchema& feature : schema.table(t).feature()) {
      known.push_back(feature.name());
      if (feature.name() == name) {
        return std::pair<int, uint64_t>(t, SaltId(feature.slot(), id));
      }
    }
  }
  return UsageError(absl::StrCat("no table or feature is called ", name, NearestHint(name, known)));
}

std::string RowText(uint64_t id, const RowHeader& header, absl::Span<const float> weights) {
  return absl::StrCat("id ", id, "\nupdates ", header.updates, "\nlast_step ", header.last_step,
                      "\nweights ", absl::StrJoin(weights, " "), "\n");
}

}  // namespace

absl::StatusOr<std::string> DigestCheckpoint(const std::string& checkpoint,
                                             const DigestScope& scope) {
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(checkpoint));
  ASSIGN_OR_RETURN(const Recomputed found, Recompute(checkpoint, manifest, scope));
  return found.digest;
}

absl::StatusOr<std::string> VerifyCheckpoint(const std::string& checkpoint) {
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(checkpoint));
  RETURN_IF_ERROR(VerifyFiles(checkpoint, manifest));
  ASSIGN_OR_RETURN(const Recomputed found, Recompute(checkpoint, manifest, {}));
  if (found.rows != manifest.row_count()) {
    return DataError(absl::StrCat(checkpoint, ": its files have ", found.rows,
                                  " rows, its manifest says ", manifest.row_count()));
  }
  if (found.digest != manifest.digest()) {
    return DataError(absl::StrCat(checkpoint, ": its files have digest ", found.digest,
                                  ", its manifest says ", manifest.digest()));
  }
  return absl::StrCat(checkpoint, ": step ", manifest.state().step(), ", ", found.rows, " rows in ",
                      manifest.rows_size(), " files, digest ", found.digest, ": good");
}

absl::Status DumpCheckpoint(const std::string& checkpoint, const std::string& output, bool dense) {
  const bool exists = FileExists(output);
  if (exists && !FileExists(JoinPath(output, "manifest.json"))) {
    return UsageError(absl::StrCat(output, ": is there and is no dump; name another folder"));
  }
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(checkpoint));
  const std::string temporary = output + ".tmp", replaced = output + ".old";
  RETURN_IF_ERROR(RemoveTree(temporary));
  RETURN_IF_ERROR(MakeDirectories(temporary));
  RETURN_IF_ERROR(WriteDump(checkpoint, manifest, temporary, dense));
  RETURN_IF_ERROR(SyncFile(temporary));
  RETURN_IF_ERROR(RemoveTree(replaced));
  if (exists && std::rename(output.c_str(), replaced.c_str()) != 0) {
    return ErrnoError(errno, "move away", output);
  }
  if (std::rename(temporary.c_str(), output.c_str()) != 0) {
    return ErrnoError(errno, "rename to", output);
  }
  RETURN_IF_ERROR(SyncFile(DirectoryOf(output)));
  return RemoveTree(replaced);
}

absl::StatusOr<std::string> LookupCheckpoint(const std::string& checkpoint,
                                             const std::string& table, uint64_t id) {
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(checkpoint));
  std::pair<int, uint64_t> wanted;
  ASSIGN_OR_RETURN(wanted, Resolve(manifest.schema(), table, id));
  const uint32_t dim = manifest.schema().table(wanted.first).dim();
  const int partition = PartitionOf(wanted.second);
  std::string text;
  RETURN_IF_ERROR(ForEachRow(
      checkpoint, manifest, partition, partition + 1,
      [&](int row_table, uint64_t row_id, absl::Span<const std::byte> row) -> absl::Status {
        if (row_table != wanted.first || row_id != wanted.second) return absl::OkStatus();
        if (row.size() < RowLayout::kWeightsOffset + dim * sizeof(float)) {
          return DataError(absl::StrCat("row of ", row.size(), " bytes, dim is ", dim));
        }
        RowHeader header;
        std::vector<float> weights(dim);
        std::memcpy(&header, row.data(), sizeof(header));
        std::memcpy(weights.data(), row.data() + RowLayout::kWeightsOffset, dim * sizeof(float));
        text = RowText(id, header, weights);
        return absl::OkStatus();
      }));
  if (text.empty()) {
    return absl::NotFoundError(
        absl::StrCat("table ", table, " has no row of id ", id, ": no push ever touched it"));
  }
  return text;
}

}  // namespace pagoda
