#include "worker/graph/reach.h"

#include <glog/logging.h>

#include <algorithm>

#include "worker/graph/plan.h"

namespace pagoda {
namespace {

using Marks = std::vector<bool>;  // [width of a node]

void MarkAll(Marks* columns) { std::fill(columns->begin(), columns->end(), true); }

std::vector<Marks> NoMarks(const Graph& graph) {
  std::vector<Marks> marks;  // [node]
  for (const Graph::Node& node : graph.nodes()) marks.emplace_back(node.width, false);
  return marks;
}

// Marks the columns of the node's inputs through which the marked ones of its own were computed.
void MarkInputs(const Graph& graph, int n, std::vector<Marks>* reached) {
  const Graph::Node& node = graph.nodes()[n];
  const Marks& own = (*reached)[n];
  if (std::find(own.begin(), own.end(), true) == own.end()) return;
  size_t column = 0;
  if (node.kind == NodeKind::kColumns) {
    Marks& input = (*reached)[node.inputs[0].node];
    for (const ColumnRange& range : node.ranges) {
      for (int i = 0; i < range.count; ++i, ++column) {
        if (own[column]) input[range.begin + i] = true;
      }
    }
    return;
  }
  for (Value value : node.inputs) {
    Marks& input = (*reached)[value.node];
    if (node.kind != NodeKind::kConcat && node.kind != NodeKind::kStopGradient) {
      MarkAll(&input);
      continue;
    }
    for (size_t i = 0; i < input.size(); ++i, ++column) {
      if (own[column]) input[i] = true;
    }
  }
}

}  // namespace

Reach::Reach(const Graph& graph) : of_column_(graph.width(graph.Input())) {
  for (const ParameterOfNode& parameter : ListParameters(graph)) {
    of_parameter_[parameter.view.name];
  }
  std::vector<std::string> tasks;
  for (const Graph::HeadSpec& head : graph.heads()) {
    if (!head.has_loss || std::find(tasks.begin(), tasks.end(), head.task) != tasks.end()) continue;
    tasks.push_back(head.task);
    AddTask(graph, head.task);
  }
}

void Reach::AddTask(const Graph& graph, const std::string& task) {
  std::vector<Marks> reached = NoMarks(graph);
  for (const Graph::HeadSpec& head : graph.heads()) {
    if (!head.has_loss || head.task != task) continue;
    MarkAll(&reached[head.x.node]);
    if (head.kind == HeadKind::kProduct) MarkAll(&reached[head.y.node]);
  }
  for (int n = static_cast<int>(reached.size()) - 1; n > 0; --n) {
    if (graph.nodes()[n].kind != NodeKind::kStopGradient) MarkInputs(graph, n, &reached);
  }
  for (const ParameterOfNode& parameter : ListParameters(graph)) {
    const Marks& columns = reached[parameter.node];
    if (std::find(columns.begin(), columns.end(), true) == columns.end()) continue;
    of_parameter_[parameter.view.name].push_back(task);
  }
  for (size_t c = 0; c < of_column_.size(); ++c) {
    if (reached[0][c]) of_column_[c].push_back(task);
  }
}

const std::vector<std::string>& Reach::TasksOfParameter(const std::string& parameter) const {
  const auto it = of_parameter_.find(parameter);
  CHECK(it != of_parameter_.end()) << "no parameter is called " << parameter;
  return it->second;
}

const std::vector<std::string>& Reach::TasksOfInputColumn(int column) const {
  CHECK(column >= 0 && column < static_cast<int>(of_column_.size())) << column;
  return of_column_[column];
}

std::vector<bool> ColumnsRead(const Graph& graph) {
  std::vector<Marks> read = NoMarks(graph);
  for (const Graph::HeadSpec& head : graph.heads()) {
    MarkAll(&read[head.x.node]);
    if (head.y.node >= 0) MarkAll(&read[head.y.node]);
  }
  for (int n = static_cast<int>(read.size()) - 1; n > 0; --n) MarkInputs(graph, n, &read);
  return read[graph.Input().node];
}

}  // namespace pagoda
