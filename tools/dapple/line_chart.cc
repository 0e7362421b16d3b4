#include "line_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace dapple::tool {
namespace {

using Anchor = Drawing::Anchor;

constexpr Color kInk = {0x22, 0x22, 0x22};
constexpr Color kFaint = {0x66, 0x66, 0x66};
constexpr Color kGrid = {0xE2, 0xE2, 0xE2};
constexpr Color kLimit = {0xC0, 0x20, 0x20};
// Told apart by eyes that see few colours, too (Okabe and Ito, "Color
// Universal Design", 2008).
constexpr Color kLines[] = {{0x33, 0x33, 0x33}, {0x00, 0x72, 0xB2},
                            {0xD5, 0x5E, 0x00}, {0x00, 0x9E, 0x73},
                            {0xCC, 0x79, 0xA7}, {0xE6, 0x9F, 0x00},
                            {0x56, 0xB4, 0xE9}, {0x8C, 0x56, 0x4B}};

constexpr int kMargin = 18;
constexpr int kLineHeight = 16;
constexpr int kPlotWidth = 560;
constexpr int kPlotHeight = 340;
constexpr int kMostSteps = 8;

int TextWidth(const std::string& text, int size) {
  return static_cast<int>(text.size()) * Drawing::Advance(size);
}

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

}  // namespace

double NiceStep(double most, int steps) {
  if (!(most > 0)) return 1;
  double power = std::pow(10.0, std::floor(std::log10(most / steps)));
  while (true) {
    for (const double factor : {1.0, 2.0, 2.5, 5.0})
      if (factor * power * steps >= most * (1 - 1e-12)) return factor * power;
    power *= 10;
  }
}

void SpreadApart(int gap, std::vector<int>* places) {
  // Blocks of labels that touch are centred on the mean of their places, and
  // join the block above when they reach into it.
  struct Block {
    size_t first, count;
    double begin;
  };
  std::vector<size_t> order(places->size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return (*places)[a] < (*places)[b];
  });
  const auto begin_of = [&](size_t first, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += (*places)[order[first + i]];
    const double n = static_cast<double>(count);
    return sum / n - gap * (n - 1) / 2;
  };
  std::vector<Block> blocks;
  for (size_t i = 0; i < order.size(); ++i) {
    blocks.push_back({i, 1, begin_of(i, 1)});
    while (blocks.size() > 1) {
      const Block& last = blocks.back();
      Block& before = blocks[blocks.size() - 2];
      if (before.begin + gap * static_cast<double>(before.count) <= last.begin)
        break;
      before.count += last.count;
      before.begin = begin_of(before.first, before.count);
      blocks.pop_back();
    }
  }
  for (const Block& block : blocks)
    for (size_t i = 0; i < block.count; ++i)
      (*places)[order[block.first + i]] = static_cast<int>(
          std::lround(block.begin + gap * static_cast<double>(i)));
}

std::string LengthName(double length) {
  return length >= 1024 ? Number(length / 1024) + "k" : Number(length);
}

Drawing DrawLineChart(const LineChart& chart) {
  double least_x = HUGE_VAL, most_x = 0, most_y = chart.limit;
  for (const ChartSeries& series : chart.series)
    for (const auto& [x, y] : series.points) {
      least_x = std::min(least_x, x);
      most_x = std::max(most_x, x);
      most_y = std::max(most_y, y);
    }
  if (most_x == 0) least_x = most_x = 1;
  int first = static_cast<int>(std::floor(std::log2(least_x) + 1e-9));
  int last = static_cast<int>(std::ceil(std::log2(most_x) - 1e-9));
  if (first == last) {  // a single length stands in the middle
    --first;
    ++last;
  }
  const double step = NiceStep(most_y, kMostSteps);
  const int steps = std::max(1, static_cast<int>(std::ceil(most_y / step)));

  int names_width = TextWidth(chart.limit_name, 1);
  for (const ChartSeries& series : chart.series)
    names_width = std::max(names_width, TextWidth(series.name, 1));
  int numbers_width = 0;
  for (int i = 0; i <= steps; ++i)
    numbers_width = std::max(numbers_width, TextWidth(Number(i * step), 1));
  const int left = kMargin + numbers_width + 10;
  const int right = left + kPlotWidth;
  const int top =
      kMargin + 22 + static_cast<int>(chart.notes.size()) * kLineHeight + 40;
  const int bottom = top + kPlotHeight;
  int width = std::max(right + 16 + names_width + kMargin,
                       2 * kMargin + TextWidth(chart.title, 2));
  for (const std::string& note : chart.notes)
    width = std::max(width, 2 * kMargin + TextWidth(note, 1));
  // Names that were moved apart may reach below a short plot.
  const int names = static_cast<int>(chart.series.size()) + 1;
  const int height =
      std::max(bottom + 2 * kLineHeight + 12, top + names * kLineHeight) +
      kMargin;
  const auto place_x = [&](double x) {
    return left + static_cast<int>(std::lround((std::log2(x) - first) /
                                               (last - first) * kPlotWidth));
  };
  const auto place_y = [&](double y) {
    return bottom -
           static_cast<int>(std::lround(y / (steps * step) * kPlotHeight));
  };

  Drawing drawing(width, height);
  drawing.Text(kMargin, kMargin + 8, chart.title, Anchor::kStart, kInk, 2);
  for (size_t i = 0; i < chart.notes.size(); ++i)
    drawing.Text(kMargin, kMargin + 34 + static_cast<int>(i) * kLineHeight,
                 chart.notes[i], Anchor::kStart, kFaint);
  drawing.Text(kMargin, top - 18, chart.y_title, Anchor::kStart, kInk);
  for (int i = 0; i <= steps; ++i) {
    const int y = place_y(i * step);
    drawing.Rectangle(left, y, kPlotWidth, 1, i == 0 ? kInk : kGrid);
    drawing.Text(left - 8, y, Number(i * step), Anchor::kEnd, kInk);
  }
  for (int power = first; power <= last; ++power) {
    const int x = place_x(std::exp2(power));
    drawing.Rectangle(x, top, 1, kPlotHeight, kGrid);
    drawing.Rectangle(x, bottom, 1, 5, kInk);
    drawing.Text(x, bottom + 14, LengthName(std::exp2(power)), Anchor::kMiddle,
                 kInk);
  }
  drawing.Text(left + kPlotWidth / 2, bottom + 14 + kLineHeight, chart.x_title,
               Anchor::kMiddle, kInk);

  std::vector<int> places;
  std::vector<std::pair<const std::string*, Color>> labels;
  if (chart.limit > 0) {
    constexpr int kDash = 10, kGap = 6;
    const int y = place_y(chart.limit);
    for (int x = left; x < right; x += kDash + kGap)
      drawing.Rectangle(x, y - 1, std::min(kDash, right - x), 2, kLimit);
    places.push_back(y);
    labels.emplace_back(&chart.limit_name, kLimit);
  }
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const auto& points = chart.series[i].points;
    if (points.empty()) continue;
    const Color color = kLines[i % std::size(kLines)];
    for (size_t p = 0; p < points.size(); ++p) {
      const int x = place_x(points[p].first), y = place_y(points[p].second);
      drawing.Stroke(x, y, x, y, 7, color);
      if (p == 0) continue;
      drawing.Stroke(place_x(points[p - 1].first),
                     place_y(points[p - 1].second), x, y, 2, color);
    }
    const int end = place_x(points.back().first);
    if (points.size() > 1 && points.back().first < most_x) {
      // A line that ends early is named where it ends.
      drawing.Text(end + 8, place_y(points.back().second), chart.series[i].name,
                   Anchor::kStart, color);
      continue;
    }
    places.push_back(place_y(points.back().second));
    labels.emplace_back(&chart.series[i].name, color);
  }
  // A hair from the name to the end of its line where the name had to move.
  std::vector<int> ends = places;
  SpreadApart(kLineHeight, &places);
  for (size_t i = 0; i < labels.size(); ++i) {
    if (places[i] != ends[i])
      drawing.Stroke(right + 2, ends[i], right + 12, places[i], 1,
                     labels[i].second);
    drawing.Text(right + 16, places[i], *labels[i].first, Anchor::kStart,
                 labels[i].second);
  }
  return drawing;
}

}  // namespace dapple::tool
