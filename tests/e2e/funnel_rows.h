// Made-up clicks, and conversions after some of them.
#ifndef PAGODA_TESTS_E2E_FUNNEL_ROWS_H_
#define PAGODA_TESTS_E2E_FUNNEL_ROWS_H_

#include <cstdint>
#include <set>
#include <sstream>
#include <string>

namespace pagoda::test {

// 600 rows user,item,clicked,bought; those of `broken`, counted from 0, are bought without a click.
inline std::string FunnelRows(const std::set<int>& broken = {}) {
  std::ostringstream rows;
  for (int i = 0; i < 600; ++i) {
    const uint32_t draw = static_cast<uint32_t>(i) * 2654435761u >> 8;
    const bool is_broken = broken.count(i) > 0;
    const bool click = !is_broken && draw % 3 == 0, buy = is_broken || (click && draw % 2 == 0);
    rows << "u" << draw % 97 << "," << draw / 97 % 53 << "," << click << "," << buy << "\n";
  }
  return rows.str();
}

// `sources`: of files of such rows.
inline std::string FunnelDataset(const std::string& sources) {
  return R"(dataset {
  name: "funnel"
  column: ["user", "item", "clicked", "bought"]
  )" + sources +
         R"(
  feature { name: "user" }
  feature { name: "item" }
  task { name: "click" label: "clicked" }
  task { name: "buy" label: "bought" }
  funnel: ["click", "buy"]
})";
}

}  // namespace pagoda::test

#endif  // PAGODA_TESTS_E2E_FUNNEL_ROWS_H_
