// Sequences that become one vector each, before any block of a model reads them
// (ModelConfig.sequence).
//
// e_j [d] is the row of place j of P, mask_j 1 where there is a value. Empty places have no part in
// any sum: what stands there changes no bit, and a sequence without values gives zeros.
//
// SELF_ATTENTION: the mean over filled places of MultiHead(E, E, E). Vaswani et al., "Attention Is
// All You Need", NIPS 2017, eq. (1) and section 3.2.2, without biases (attention.h):
//   head = softmax(E W_q (E W_k)^T / sqrt(d_h)) E W_v,  MultiHead = [head_1, ...] W_o
//
// TARGET: DIN's local activation unit. Zhou et al., "Deep Interest Network for Click-Through Rate
// Prediction", KDD 2018, eq. (3) and section 4.3: v_U = sum_j a(e_j, v_A) e_j, the weights not
// normalised. a() is a network of `hidden` layers on [e_j, v_A, e_j - v_A, e_j v_A]: the paper's
// figure 2 names an "out product" besides the two; difference and product element by element are
// what the authors' own program takes.
//
// Parameters of feature F: sequence/F/{q,k,v,out}/w; sequence/F/layer0, ..., sequence/F/out. An
// embedding set besides the ordinary one has its own: SET/sequence/F/... A wide part takes the
// sequence as it is: a weight for each value.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_MODELS_SEQUENCES_H_
#define PAGODA_WORKER_MODELS_SEQUENCES_H_

#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "worker/graph/graph.h"
#include "worker/models/model_input.h"

namespace pagoda {

// The network's input as blocks read it: columns of `value`.
struct PooledInput {
  Value value;
  ModelInput columns;
};

// Without ModelConfig.sequence: the graph's input itself. UsageError: a feature that is not there
// or no sequence, a target or heads that do not fit, a field that the way of pooling does not read.
absl::StatusOr<PooledInput> PoolSequences(const ModelConfig& config, const ModelInput& input,
                                          Graph* graph);

}  // namespace pagoda

#endif  // PAGODA_WORKER_MODELS_SEQUENCES_H_
