// HeatMap: accuracy over needle depth and prompt length, as a picture.
#ifndef DAPPLE_TOOLS_HEAT_MAP_H_
#define DAPPLE_TOOLS_HEAT_MAP_H_

#include <string>
#include <vector>

#include "drawing.h"

namespace dapple::tool {

struct HeatMap {
  std::string title;
  std::vector<std::string> notes;    // lines under the title
  std::vector<std::string> columns;  // prompt lengths
  std::vector<std::string> rows;     // depths, from the top
  // [rows][columns], percent in [0, 100]; negative: not measured.
  std::vector<std::vector<double>> values;
};

// Orange (0) over pale (50) to blue-green (100): told apart by readers who
// are colour-blind, and on a grey printer from the figures in the cells.
Color HeatColor(double percent);

Drawing DrawHeatMap(const HeatMap& map);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_HEAT_MAP_H_
