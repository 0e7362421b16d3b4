#include "drawing.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "bitmap_font.h"

#if defined(DAPPLE_HAVE_PNG)
#include <png.h>
#endif

namespace dapple::tool {
namespace {

std::string Hex(Color color) {
  char text[8];
  std::snprintf(
      text, sizeof(text), "#%02x%02x%02x", static_cast<unsigned>(color.red),
      static_cast<unsigned>(color.green), static_cast<unsigned>(color.blue));
  return text;
}

std::string Escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else if (static_cast<unsigned char>(c) >= ' ')
      out += c;
  }
  return out;
}

#if defined(DAPPLE_HAVE_PNG)
constexpr int kScale = 2;  // PNG pixels a pixel of the drawing

class Raster {
 public:
  Raster(int width, int height)
      : width_(width),
        height_(height),
        pixels_(static_cast<size_t>(width) * static_cast<size_t>(height) * 3,
                0xFF) {}

  void Fill(int x, int y, int width, int height, Color color) {
    const int right = std::min(x + width, width_);
    const int bottom = std::min(y + height, height_);
    for (int row = std::max(y, 0); row < bottom; ++row) {
      for (int column = std::max(x, 0); column < right; ++column) {
        uint8_t* pixel =
            &pixels_[(static_cast<size_t>(row) * static_cast<size_t>(width_) +
                      static_cast<size_t>(column)) *
                     3];
        pixel[0] = color.red;
        pixel[1] = color.green;
        pixel[2] = color.blue;
      }
    }
  }

  // Smooth at its edges. Coordinates are PNG pixels.
  void Stroke(double x0, double y0, double x1, double y1, double thickness,
              Color color) {
    const double length = std::hypot(x1 - x0, y1 - y0);
    const double half = thickness / 2;
    const double dx = length > 0 ? (x1 - x0) / length : 1;
    const double dy = length > 0 ? (y1 - y0) / length : 0;
    const auto low = [&](double a, double b) {
      return std::max(0, static_cast<int>(std::floor(std::min(a, b) - half)));
    };
    const auto high = [&](double a, double b, int most) {
      return std::min(most,
                      static_cast<int>(std::ceil(std::max(a, b) + half)) + 1);
    };
    for (int y = low(y0, y1); y < high(y0, y1, height_); ++y)
      for (int x = low(x0, x1); x < high(x0, x1, width_); ++x) {
        const double px = x + 0.5 - x0, py = y + 0.5 - y0;
        const double along = px * dx + py * dy;
        const double beyond = std::max({-along, along - length, 0.0});
        const double away = std::hypot(px * dy - py * dx, beyond);
        Blend(x, y, std::clamp(half + 0.5 - away, 0.0, 1.0), color);
      }
  }

  const uint8_t* data() const { return pixels_.data(); }  // [height, width, 3]

 private:
  void Blend(int x, int y, double share, Color color) {
    uint8_t* pixel =
        &pixels_[(static_cast<size_t>(y) * static_cast<size_t>(width_) +
                  static_cast<size_t>(x)) *
                 3];
    const uint8_t parts[3] = {color.red, color.green, color.blue};
    for (int i = 0; i < 3; ++i)
      pixel[i] = static_cast<uint8_t>(
          std::lround(pixel[i] + (parts[i] - pixel[i]) * share));
  }

  int width_, height_;
  std::vector<uint8_t> pixels_;  // [height, width, 3]
};
#endif

}  // namespace

std::string Drawing::Svg() const {
  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" +
                    std::to_string(width_) + "\" height=\"" +
                    std::to_string(height_) + "\" viewBox=\"0 0 " +
                    std::to_string(width_) + " " + std::to_string(height_) +
                    "\">\n<rect width=\"100%\" height=\"100%\" "
                    "fill=\"#ffffff\"/>\n";
  for (const Box& box : rectangles_)
    out += "<rect x=\"" + std::to_string(box.x) + "\" y=\"" +
           std::to_string(box.y) + "\" width=\"" + std::to_string(box.width) +
           "\" height=\"" + std::to_string(box.height) + "\" fill=\"" +
           Hex(box.color) + "\"/>\n";
  for (const Segment& segment : strokes_)
    out +=
        "<line x1=\"" + std::to_string(segment.x0) + "\" y1=\"" +
        std::to_string(segment.y0) + "\" x2=\"" + std::to_string(segment.x1) +
        "\" y2=\"" + std::to_string(segment.y1) + "\" stroke-width=\"" +
        std::to_string(segment.thickness) +
        "\" stroke-linecap=\"round\" stroke=\"" + Hex(segment.color) + "\"/>\n";
  out += "<g font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n";
  for (const Line& line : texts_) {
    const char* anchor = line.anchor == Anchor::kStart    ? "start"
                         : line.anchor == Anchor::kMiddle ? "middle"
                                                          : "end";
    const int size = 8 + 4 * line.size;
    // Capitals are about 0.7 of the size high: the middle is 0.35 up.
    out += "<text x=\"" + std::to_string(line.x) + "\" y=\"" +
           std::to_string(line.y + size * 35 / 100) + "\" font-size=\"" +
           std::to_string(size) + "\" text-anchor=\"" + anchor + "\" fill=\"" +
           Hex(line.color) + "\">" + Escaped(line.text) + "</text>\n";
  }
  return out + "</g>\n</svg>\n";
}

#if defined(DAPPLE_HAVE_PNG)
Result<std::string> Drawing::Png() const {
  Raster raster(width_ * kScale, height_ * kScale);
  for (const Box& box : rectangles_)
    raster.Fill(box.x * kScale, box.y * kScale, box.width * kScale,
                box.height * kScale, box.color);
  for (const Segment& segment : strokes_)
    raster.Stroke(segment.x0 * kScale, segment.y0 * kScale, segment.x1 * kScale,
                  segment.y1 * kScale, segment.thickness * kScale,
                  segment.color);
  for (const Line& line : texts_) {
    const int dot = 1 + line.size;
    const int advance = Advance(line.size) * kScale;
    const int width = static_cast<int>(line.text.size()) * advance;
    int x = line.x * kScale;
    if (line.anchor == Anchor::kMiddle) x -= width / 2;
    if (line.anchor == Anchor::kEnd) x -= width;
    const int y = line.y * kScale - kGlyphHeight * dot / 2;
    for (char c : line.text) {
      for (int row = 0; row < kGlyphHeight; ++row)
        for (int column = 0; column < kGlyphWidth; ++column)
          if (GlyphDot(c, column, row))
            raster.Fill(x + column * dot, y + (row + GlyphDrop(c)) * dot, dot,
                        dot, line.color);
      x += advance;
    }
  }

  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width_ * kScale);
  image.height = static_cast<png_uint_32>(height_ * kScale);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(bytes, '\0');
  if (png_image_write_to_memory(&image, file.data(), &bytes, 0, raster.data(),
                                0, nullptr) == 0)
    return Internal(std::string("PNG: ") + image.message);
  file.resize(bytes);
  return file;
}
#else
Result<std::string> Drawing::Png() const {
  return Unsupported("PNG pictures need libpng, which this build lacks");
}
#endif

}  // namespace dapple::tool
