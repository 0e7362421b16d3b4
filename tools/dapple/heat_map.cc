#include "heat_map.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace dapple::tool {
namespace {

constexpr Color kInk = {0x22, 0x22, 0x22};
constexpr Color kFaint = {0x66, 0x66, 0x66};
constexpr Color kMissing = {0xE4, 0xE4, 0xE4};
constexpr Color kLight = {0xFF, 0xFF, 0xFF};

constexpr int kCellHeight = 26;
constexpr int kMargin = 16;
constexpr int kLineHeight = 16;

struct Stop {
  double at;
  Color color;
};
constexpr Stop kStops[] = {
    {0, {0xA8, 0x4A, 0x0C}},   {25, {0xE8, 0x9B, 0x4A}},
    {50, {0xF7, 0xEE, 0xD9}},  {75, {0x7C, 0xC2, 0xBB}},
    {100, {0x0B, 0x66, 0x63}},
};

uint8_t Mix(uint8_t from, uint8_t to, double share) {
  return static_cast<uint8_t>(std::lround(from + (to - from) * share));
}

// Rec. 709 weights on the encoded values: good enough to choose the ink.
bool Dark(Color color) {
  return 0.2126 * color.red + 0.7152 * color.green + 0.0722 * color.blue < 140;
}

int TextWidth(const std::string& text, int size) {
  return static_cast<int>(text.size()) * Drawing::Advance(size);
}

int Widest(const std::vector<std::string>& texts) {
  int widest = 0;
  for (const std::string& text : texts)
    widest = std::max(widest, TextWidth(text, 1));
  return widest;
}

std::string Percent(double value) {
  char text[16];
  // "100" or "97.5": as few figures as say it all.
  const bool whole = std::abs(value - std::round(value)) < 0.05;
  std::snprintf(text, sizeof(text), whole ? "%.0f" : "%.1f", value);
  return text;
}

}  // namespace

Color HeatColor(double percent) {
  percent = std::clamp(percent, 0.0, 100.0);
  const Stop* from = kStops;
  while (from->at + 25 < percent) ++from;
  if (percent <= 0) return kStops[0].color;
  const Stop& to = from[1];
  const double share = (percent - from->at) / (to.at - from->at);
  return {Mix(from->color.red, to.color.red, share),
          Mix(from->color.green, to.color.green, share),
          Mix(from->color.blue, to.color.blue, share)};
}

Drawing DrawHeatMap(const HeatMap& map) {
  const int columns = static_cast<int>(map.columns.size());
  const int rows = static_cast<int>(map.rows.size());
  const int cell = std::max(60, Widest(map.columns) + 14);
  const std::string y_title = "needle depth";
  const int left =
      kMargin + std::max(Widest(map.rows), TextWidth(y_title, 1)) + 10;
  const int grid_width = columns * cell;
  // The legend stands to the right of the grid, its figures beside it.
  const int legend_x = left + grid_width + 28;
  constexpr int kLegendWidth = 16;
  const std::string legend_title = "accuracy, %";
  const int width = std::max({legend_x + TextWidth(legend_title, 1) + kMargin,
                              kMargin * 2 + TextWidth(map.title, 2),
                              kMargin * 2 + Widest(map.notes)});
  const int top =
      kMargin + 20 + static_cast<int>(map.notes.size()) * kLineHeight + 36;
  // A short grid leaves the legend its height.
  const int grid_height = rows * kCellHeight;
  const int legend_height = std::max(grid_height, 120);
  const int height =
      top + std::max(grid_height + 2 * kLineHeight + 10, legend_height) +
      kMargin;

  Drawing drawing(width, height);
  using Anchor = Drawing::Anchor;
  drawing.Text(kMargin, kMargin + 8, map.title, Anchor::kStart, kInk, 2);
  for (size_t i = 0; i < map.notes.size(); ++i)
    drawing.Text(kMargin, kMargin + 32 + static_cast<int>(i) * kLineHeight,
                 map.notes[i], Anchor::kStart, kFaint);

  drawing.Text(left - 10, top - 16, y_title, Anchor::kEnd, kInk);
  for (int row = 0; row < rows; ++row) {
    const int y = top + row * kCellHeight;
    drawing.Text(left - 10, y + kCellHeight / 2,
                 map.rows[static_cast<size_t>(row)], Anchor::kEnd, kInk);
    for (int column = 0; column < columns; ++column) {
      const double value =
          map.values[static_cast<size_t>(row)][static_cast<size_t>(column)];
      const int x = left + column * cell;
      const Color color = value < 0 ? kMissing : HeatColor(value);
      drawing.Rectangle(x, y, cell - 1, kCellHeight - 1, color);
      drawing.Text(x + (cell - 1) / 2, y + (kCellHeight - 1) / 2,
                   value < 0 ? "-" : Percent(value), Anchor::kMiddle,
                   Dark(color) ? kLight : kInk);
    }
  }
  for (int column = 0; column < columns; ++column)
    drawing.Text(left + column * cell + (cell - 1) / 2, top + grid_height + 12,
                 map.columns[static_cast<size_t>(column)], Anchor::kMiddle,
                 kInk);
  drawing.Text(left + grid_width / 2, top + grid_height + 12 + kLineHeight,
               "prompt tokens", Anchor::kMiddle, kInk);

  drawing.Text(legend_x, top - 16, legend_title, Anchor::kStart, kInk);
  for (int y = 0; y < legend_height; ++y)
    drawing.Rectangle(legend_x, top + y, kLegendWidth, 1,
                      HeatColor(100 - 100.0 * y / (legend_height - 1)));
  for (int tick = 0; tick <= 4; ++tick) {
    const int y = top + tick * (legend_height - 1) / 4;
    drawing.Rectangle(legend_x + kLegendWidth, y, 4, 1, kInk);
    drawing.Text(legend_x + kLegendWidth + 8, y,
                 std::to_string(100 - 25 * tick), Anchor::kStart, kInk);
  }
  return drawing;
}

}  // namespace dapple::tool
