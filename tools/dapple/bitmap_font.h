// BitmapFont: a 5 × 7 font of the ASCII characters, for pictures.
#ifndef DAPPLE_TOOLS_BITMAP_FONT_H_
#define DAPPLE_TOOLS_BITMAP_FONT_H_

namespace dapple::tool {

inline constexpr int kGlyphWidth = 5;
inline constexpr int kGlyphHeight = 7;

// Whether the dot at column x of 5 and row y of 7 is set. Characters that the
// font lacks look like "?".
bool GlyphDot(char character, int x, int y);
// Rows by which letters with a tail stand lower than the others.
int GlyphDrop(char character);

}  // namespace dapple::tool

#endif  // DAPPLE_TOOLS_BITMAP_FONT_H_
