// LineChart: values against lengths that double, one line a series.
#ifndef DAPPLE_TOOLS_LINE_CHART_H_
#define DAPPLE_TOOLS_LINE_CHART_H_

#include <string>
#include <utility>
#include <vector>

#include "drawing.h"

namespace dapple::tool {

struct ChartSeries {
  std::string name;
  // (x, y), x ascending and at least 1; y at least 0. May be empty.
  std::vector<std::pair<double, double>> points;
};

struct LineChart {
  std::string title;
  std::vector<std::string> notes;  // lines under the title
  std::string x_title;
  std::string y_title;
  std::vector<ChartSeries> series;
  // A horizontal line through the whole chart; 0: none.
  double limit = 0;
  std::string limit_name;
};

// x on a scale of base 2 with a mark at each power, named "4k"; y from 0. Each
// line is named at its end: beside the chart where it reaches the last x.
Drawing DrawLineChart(const LineChart& chart);

// The least of 1, 2, 2.5, 5 times a power of ten that reaches `most` in at
// most `steps` steps.
double NiceStep(double most, int steps);
// Moves the given places apart until neighbours differ by at least `gap`,
// their order and, as far as that allows, their mean kept.
void SpreadApart(int gap, std::vector<int>* places);
// "512", "1k", "128k"
std::string LengthName(double length);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_LINE_CHART_H_
