// What several models are made of.
//
// Thread-safe (functions).
#ifndef PAGODA_WORKER_MODELS_BLOCKS_H_
#define PAGODA_WORKER_MODELS_BLOCKS_H_

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/repeated_field.h"
#include "worker/models/model.h"

namespace pagoda {

using Widths = google::protobuf::RepeatedField<int>;

// OK if there is at least one width. `field` is the configuration's name of it, such as "tower".
absl::Status RequireWidths(const ModelArgs& args, const std::string& field, const Widths& widths);

// OK if `count` >= minimum.
absl::Status RequireAtLeast(const ModelArgs& args, const std::string& field, int count,
                            int minimum);

// The task's tower h on x and its logit: layers TASK/tower/layer0, ..., TASK/tower/out.
Value TowerLogit(const ModelArgs& args, Graph& g, const std::string& task, Value x);

// The task's tower and its head.
void TowerHead(const ModelArgs& args, Graph& g, const ModelTask& task, Value x);

// softmax(x W_g), [B, experts], W_g [d, experts]; with a bias if the configuration asks for it.
Value Gate(const ModelArgs& args, Graph& g, const std::string& name, Value x, int experts);

}  // namespace pagoda

#endif  // PAGODA_WORKER_MODELS_BLOCKS_H_
