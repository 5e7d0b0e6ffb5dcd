// Which tasks' losses reach which parameters and which columns of the network's input: what a task
// trains when nothing else is said.
//
// Gradients stop at StopGradient nodes. Of the input, columns are told apart where nodes pick or
// join them (Columns, Concat); any other node is taken to read all columns of its input.
//
// Thread-safe (const after construction).
#ifndef PAGODA_WORKER_GRAPH_REACH_H_
#define PAGODA_WORKER_GRAPH_REACH_H_

#include <map>
#include <string>
#include <vector>

#include "worker/graph/graph.h"

namespace pagoda {

class Reach {
 public:
  explicit Reach(const Graph& graph);

  // HeadSpec::task of losses that reach it, in the order of heads. REQUIRES: the graph has it.
  const std::vector<std::string>& TasksOfParameter(const std::string& parameter) const;
  const std::vector<std::string>& TasksOfInputColumn(int column) const;

 private:
  void AddTask(const Graph& graph, const std::string& task);

  std::map<std::string, std::vector<std::string>> of_parameter_;
  std::vector<std::vector<std::string>> of_column_;  // [input_width]
};

// [input_width]: whether any head, with a loss or without, is computed from the column.
std::vector<bool> ColumnsRead(const Graph& graph);

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_REACH_H_
