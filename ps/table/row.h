// A row's bytes: what one id of one table is, in memory, in the store, in a checkpoint and in the
// digest.
//
// row       = header weights state* padding
// header    = updates last_step
// updates   = u32                  pushes that touched the row, saturating
// last_step = u32                  of the last push, modulo 2^32
// weights   = f32 * dim
// state     = per_weight per_row   one an optimizer of the table, in the table's order
// per_weight = f32 * state_per_weight * dim
// per_row   = f32 * state_per_row  such as a count of the optimizer's own updates; mostly none
// padding   = zeros to a multiple of 8 bytes
//
// What a rule's state is belongs to the rule: a layout changes with the schema's rules only.
// Little-endian. Row bytes are a function of the pushes alone: residency (dirty, reference, pin)
// lives in the index slot.
//
// Thread-safe (values).
#ifndef PAGODA_PS_TABLE_ROW_H_
#define PAGODA_PS_TABLE_ROW_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/optim/rule.h"
#include "proto/wire.pb.h"

namespace pagoda {

struct RowHeader {
  uint32_t updates = 0;
  uint32_t last_step = 0;
};
static_assert(sizeof(RowHeader) == 8);

// One optimizer of a table.
struct RowOptimizer {
  uint32_t schema_index;  // In Schema.optimizer: what a segment's clock refers to.
  std::unique_ptr<Rule> rule;
  size_t state_offset;  // Bytes from the row's start.
};

// Where things stand in a row of one table, and what its absent rows are.
class RowLayout {
 public:
  // UsageError for dim 0 or > 65536, an optimizer index or a rule that does not exist.
  static absl::StatusOr<RowLayout> Make(const Schema& schema, int table);

  const std::string& name() const { return name_; }
  int dim() const { return dim_; }
  size_t row_bytes() const { return row_bytes_; }  // Multiple of 8.
  static constexpr size_t kWeightsOffset = sizeof(RowHeader);
  const std::vector<RowOptimizer>& optimizers() const { return optimizers_; }

  // Of an id without a row, at inference: the mean of initial weights, which whoever serves a dump
  // knows without the seed.
  static constexpr float kDefaultWeight = 0;
  // weights [dim] of a row that was never pushed, in training: a function of (seed, table name, id,
  // column).
  void InitialWeights(uint64_t id, float* weights) const;
  // A whole new row: header zero, initial weights, initial states, zero padding.
  void InitialRow(uint64_t id, std::byte* row) const;

 private:
  RowLayout() = default;
  std::string name_;
  int dim_ = 0;
  size_t row_bytes_ = 0;
  uint64_t stream_key_ = 0;  // StreamKey(seed, "table/" + name).
  float init_range_ = 0;
  bool starts_at_zero_ = false;
  std::vector<RowOptimizer> optimizers_;
};

}  // namespace pagoda

#endif  // PAGODA_PS_TABLE_ROW_H_
