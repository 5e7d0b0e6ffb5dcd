#include "ps/given_rows.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <utility>

#include "common/errors.h"
#include "common/hash.h"
#include "ps/store/row_files.h"
#include "ps/table/row.h"

namespace pagoda {
namespace {

// Where each id stands, in the order of a row file's keys: (partition, id).
std::vector<size_t> KeyOrder(absl::Span<const uint64_t> ids) {
  std::vector<size_t> order(ids.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(PartitionOf(ids[a]), ids[a]) < std::pair(PartitionOf(ids[b]), ids[b]);
  });
  return order;
}

}  // namespace

absl::StatusOr<std::vector<RowFile>> WriteGivenRows(const std::string& directory,
                                                    const Schema& schema,
                                                    absl::Span<const GivenRows> tables) {
  ASSIGN_OR_RETURN(auto writer, RowFileWriter::Create(directory, "init.sst", 0, kPartitions));
  for (const GivenRows& table : tables) {
    ASSIGN_OR_RETURN(const RowLayout layout, RowLayout::Make(schema, table.table));
    std::vector<std::byte> row(layout.row_bytes());
    for (const size_t i : KeyOrder(table.ids)) {
      layout.InitialRow(table.ids[i], row.data());
      std::memcpy(row.data() + RowLayout::kWeightsOffset, table.weights.data() + i * layout.dim(),
                  sizeof(float) * layout.dim());
      RETURN_IF_ERROR(writer->Add(table.table, table.ids[i], row));
    }
  }
  ASSIGN_OR_RETURN(const RowFile file, writer->Finish());
  if (file.rows() == 0) return std::vector<RowFile>();
  return std::vector<RowFile>{file};
}

}  // namespace pagoda
