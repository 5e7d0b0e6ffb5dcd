// A compiled graph as its runner sees it: the plan, and a product for each product operation and
// tile height. Inside worker/graph only.
//
// Thread-safe (const after CreateProducts).
#ifndef PAGODA_WORKER_GRAPH_COMPILED_PROGRAM_H_
#define PAGODA_WORKER_GRAPH_COMPILED_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "worker/graph/matmul.h"
#include "worker/graph/plan.h"
#include "worker/graph/program.h"

namespace pagoda {

// Tile heights, tallest first. The rest of a slice below the smallest is padded to it.
inline constexpr int kHeights[] = {Program::kTileRows, 128, 64};

// The products of one list of operations at one tile height; null for other operations. `later`
// holds the weight gradients that accumulate: those of a slice's second tile and after.
struct Products {
  std::vector<std::shared_ptr<const MatMul>> first, later;
};

class CompiledProgram : public Program {
 public:
  CompiledProgram(Graph graph, const Options& options)
      : graph_(std::move(graph)), plan_(MakePlan(graph_, PlanOptionsOf(options))) {
    for (const PassSpec& pass : options.passes) {
      has_input_gradient_.push_back(pass.input_gradient);
    }
    if (options.passes.empty()) has_input_gradient_.push_back(true);
  }

  absl::Status CreateProducts();

  int input_width() const override { return graph_.width(graph_.Input()); }
  int64_t parameter_count() const override { return plan_.parameter_count; }
  const std::vector<ParameterView>& parameters() const override { return plan_.parameters; }
  const std::vector<Graph::HeadSpec>& heads() const override { return graph_.heads(); }
  int pass_count() const override { return static_cast<int>(plan_.passes.size()); }
  const std::vector<Stage>& stages() const override { return plan_.stages; }
  const std::vector<BatchNormLayer>& batch_norms() const override { return plan_.batch_norms; }
  int64_t multiply_adds_per_row() const override { return plan_.multiply_adds_per_row; }
  void InitParameters(uint64_t seed, float* parameters) const override;
  std::unique_ptr<Runner> NewRunner() const override;

  const Plan& plan() const { return plan_; }
  const Products& forward(int height_index) const { return forward_[height_index]; }
  const Products& pass(int pass, int height_index) const { return passes_[height_index][pass]; }
  bool has_input_gradient(int pass) const { return has_input_gradient_[pass]; }
  size_t scratch_bytes() const { return scratch_bytes_; }

 private:
  static PlanOptions PlanOptionsOf(const Options& options) {
    const bool is_isolated = options.isolate_tasks || options.passes.size() > 1;
    return {.fuse_siblings = options.fuse_siblings && !is_isolated, .passes = options.passes};
  }
  absl::Status CreateProducts(const std::vector<Op>& ops, int rows, Products* products);
  absl::Status CreateProduct(const MatMulShape& shape, std::shared_ptr<const MatMul>* product);

  const Graph graph_;
  const Plan plan_;
  std::vector<bool> has_input_gradient_;  // [pass]
  Products forward_[std::size(kHeights)];
  std::vector<Products> passes_[std::size(kHeights)];  // [height][pass]
  size_t scratch_bytes_ = 0;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_COMPILED_PROGRAM_H_
