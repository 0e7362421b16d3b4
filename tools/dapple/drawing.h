// Drawing: filled rectangles, strokes and lines of text, as SVG or as PNG.
//
// Enough for a chart, with no library for SVG and libpng alone for PNG: a
// graphics library would be linked into a program that counts its memory.
// Coordinates are pixels of the SVG, y downwards; the PNG has twice as many.
// Text is ASCII in the PNG ("?" for anything else), drawn with a 5 × 7 font.
#ifndef DAPPLE_TOOLS_DRAWING_H_
#define DAPPLE_TOOLS_DRAWING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "dapple/status.h"

namespace dapple::tool {

struct Color {
  uint8_t red = 0, green = 0, blue = 0;
};

class Drawing {
 public:
  enum class Anchor { kStart, kMiddle, kEnd };

  // A white page.
  Drawing(int width, int height) : width_(width), height_(height) {}

  void Rectangle(int x, int y, int width, int height, Color color) {
    rectangles_.push_back({x, y, width, height, color});
  }
  // A straight stroke with round ends (a dot where they are one), `thickness`
  // across.
  void Stroke(int x0, int y0, int x1, int y1, int thickness, Color color) {
    strokes_.push_back({x0, y0, x1, y1, thickness, color});
  }
  // `y` is the middle of the line; `size` 1 for text, 2 for headings.
  void Text(int x, int y, std::string text, Anchor anchor, Color color,
            int size = 1) {
    texts_.push_back({x, y, std::move(text), anchor, color, size});
  }
  // Pixels that one character takes in the PNG, and about that in the SVG.
  static constexpr int Advance(int size) { return 3 + 3 * size; }

  std::string Svg() const;
  // The file's bytes. kUnsupported when built without libpng.
  Result<std::string> Png() const;

 private:
  struct Box {
    int x, y, width, height;
    Color color;
  };
  struct Segment {
    int x0, y0, x1, y1, thickness;
    Color color;
  };
  struct Line {
    int x, y;
    std::string text;
    Anchor anchor;
    Color color;
    int size;
  };

  int width_, height_;
  std::vector<Box> rectangles_;   // later ones over earlier ones
  std::vector<Segment> strokes_;  // over all rectangles
  std::vector<Line> texts_;       // over all else
};

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_DRAWING_H_
