#include "heat_map.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "bitmap_font.h"

#if defined(DAPPLE_HAVE_PNG)
#include <png.h>
#endif

namespace dapple::tool {
namespace {

size_t CountOf(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + 1))
    ++count;
  return count;
}

HeatMap Small() {
  HeatMap map;
  map.title = "dapq & <friends>";
  map.notes = {"a note"};
  map.columns = {"4k", "8k", "16k"};
  map.rows = {"0 %", "100 %"};
  map.values = {{0, 50, 100}, {97.5, -1, 33.333}};
  return map;
}

TEST_CASE("heat goes from orange over pale to blue-green, without a jump") {
  CHECK(HeatColor(0).red > HeatColor(0).blue);
  CHECK(HeatColor(100).blue > HeatColor(100).red);
  CHECK(HeatColor(-5).red == HeatColor(0).red);
  CHECK(HeatColor(200).green == HeatColor(100).green);
  Color last = HeatColor(0);
  for (int i = 1; i <= 1000; ++i) {
    const Color color = HeatColor(i / 10.0);
    CHECK(std::abs(color.red - last.red) <= 2);
    CHECK(std::abs(color.green - last.green) <= 2);
    CHECK(std::abs(color.blue - last.blue) <= 2);
    last = color;
  }
}

TEST_CASE("an SVG heat map holds all labels, values and escaped text") {
  const std::string svg = DrawHeatMap(Small()).Svg();
  CHECK(svg.find("<svg xmlns=") == 0);
  CHECK(svg.find("dapq &amp; &lt;friends&gt;") != std::string::npos);
  for (const char* text :
       {">4k<", ">8k<", ">16k<", ">0 %<", ">100 %<", ">97.5<", ">33.3<", ">-<",
        ">a note<", ">needle depth<", ">prompt tokens<", ">accuracy, %<"})
    CHECK_MESSAGE(svg.find(text) != std::string::npos, text);
  // As many elements opened as closed.
  CHECK(CountOf(svg, "<text") == CountOf(svg, "</text>"));
  CHECK(CountOf(svg, "<rect") + 0 == CountOf(svg, "/>"));
  CHECK(CountOf(svg, "<svg") == CountOf(svg, "</svg>"));
}

TEST_CASE("the font has a glyph of its own for each character") {
  std::set<std::string> seen;
  for (char c = ' '; c <= '~'; ++c) {
    std::string dots(1, static_cast<char>('0' + GlyphDrop(c)));
    for (int y = 0; y < kGlyphHeight; ++y)
      for (int x = 0; x < kGlyphWidth; ++x)
        dots += GlyphDot(c, x, y) ? '#' : '.';
    CHECK((c == ' ') == (dots.find('#') == std::string::npos));
    CHECK_MESSAGE(seen.insert(dots).second, std::string(1, c));
  }
  for (int y = 0; y < kGlyphHeight; ++y)
    for (int x = 0; x < kGlyphWidth; ++x)
      CHECK(GlyphDot('\xC3', x, y) == GlyphDot('?', x, y));
}

#if defined(DAPPLE_HAVE_PNG)
struct Picture {
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]
  Color At(int x, int y) const {
    const size_t at = (static_cast<size_t>(y) * static_cast<size_t>(width) +
                       static_cast<size_t>(x)) *
                      3;
    return {pixels[at], pixels[at + 1], pixels[at + 2]};
  }
};

Picture Decode(const std::string& file) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  REQUIRE(png_image_begin_read_from_memory(&image, file.data(), file.size()) !=
          0);
  image.format = PNG_FORMAT_RGB;
  Picture picture;
  picture.width = static_cast<int>(image.width);
  picture.height = static_cast<int>(image.height);
  picture.pixels.resize(PNG_IMAGE_SIZE(image));
  REQUIRE(png_image_finish_read(&image, nullptr, picture.pixels.data(), 0,
                                nullptr) != 0);
  return picture;
}

bool Same(Color a, Color b) {
  return a.red == b.red && a.green == b.green && a.blue == b.blue;
}

TEST_CASE("a PNG shows rectangles and text where they were drawn") {
  Drawing drawing(50, 31);
  const Color red = {200, 10, 20}, ink = {1, 2, 3};
  drawing.Rectangle(5, 6, 10, 4, red);
  drawing.Rectangle(45, 28, 100, 100, red);  // runs out of the page
  drawing.Text(20, 15, "L", Drawing::Anchor::kStart, ink);
  const auto file = drawing.Png();
  REQUIRE(file.ok());
  const Picture picture = Decode(*file);
  REQUIRE(picture.width == 100);
  REQUIRE(picture.height == 62);
  const Color white = {255, 255, 255};
  CHECK(Same(picture.At(10, 12), red));
  CHECK(Same(picture.At(29, 19), red));
  CHECK(Same(picture.At(30, 19), white));
  CHECK(Same(picture.At(9, 12), white));
  CHECK(Same(picture.At(10, 20), white));
  CHECK(Same(picture.At(99, 61), red));
  // The L: a stem at the left, a foot at the bottom, 14 dots high around 30.
  CHECK(Same(picture.At(40, 23), ink));
  CHECK(Same(picture.At(40, 36), ink));
  CHECK(Same(picture.At(49, 36), ink));
  CHECK(Same(picture.At(49, 23), white));
}

TEST_CASE("a PNG heat map has the colours of its values") {
  const auto file = DrawHeatMap(Small()).Png();
  REQUIRE(file.ok());
  const Picture picture = Decode(*file);
  size_t zeros = 0, hundreds = 0, missing = 0;
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      if (Same(picture.At(x, y), HeatColor(0))) ++zeros;
      if (Same(picture.At(x, y), HeatColor(100))) ++hundreds;
      if (Same(picture.At(x, y), {0xE4, 0xE4, 0xE4})) ++missing;
    }
  }
  // A cell each, less its figures, and a line of the legend.
  CHECK(zeros > 4000);
  CHECK(hundreds > 4000);
  CHECK(missing > 4000);
  CHECK(zeros < 8000);
}
#else
TEST_CASE("without libpng a PNG is refused with the reason") {
  const auto file = DrawHeatMap(Small()).Png();
  REQUIRE(!file.ok());
  CHECK(file.status().message().find("libpng") != std::string::npos);
}
#endif

}  // namespace
}  // namespace dapple::tool
