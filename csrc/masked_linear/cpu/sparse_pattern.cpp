#include "masked_linear/cpu/sparse_pattern.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <numeric>

namespace prunesweep {
namespace {

struct Place {
  uint16_t row, column;
};

// Places of the true bytes of a [outer, inner] window with inner stride 1, as found(outer index, inner index).
template <typename Found>
void scan(const uint8_t* mask, int64_t outer, int64_t inner, int64_t stride, const Found& found) {
  for (int64_t o = 0; o < outer; ++o) {
    const uint8_t* const line = mask + o * stride;
    int64_t i = 0;
    for (; i + 8 <= inner; i += 8) {
      uint64_t eight;
      std::memcpy(&eight, line + i, 8);
      if (eight) {
        for (int64_t k = i; k < i + 8; ++k) {
          if (line[k]) {
            found(o, k);
          }
        }
      }
    }
    for (; i < inner; ++i) {
      if (line[i]) {
        found(o, i);
      }
    }
  }
}

// Appends the entries of one block of `rows` rows to its tile, and segments of the rows that have any, or of all rows.
void append(const std::vector<Place>& places, int64_t rows, bool all, Pattern::Tile& tile) {
  int64_t count[kTileRows] = {};
  for (const auto place : places) {
    ++count[place.row];
  }
  uint16_t order[kTileRows];
  std::iota(order, order + rows, 0);
  std::stable_sort(order, order + rows, [&](uint16_t a, uint16_t b) { return count[a] > count[b]; });
  int64_t next[kTileRows];
  int64_t end = tile.columns.size();
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = order[r];
    next[row] = end;
    end += count[row];
    if (all || count[row]) {
      tile.segments.push_back({row, static_cast<uint16_t>(count[row])});
    }
  }
  tile.columns.resize(end);
  for (const auto place : places) {
    tile.columns[next[place.row]++] = place.column;
  }
  tile.first_segment.push_back(tile.segments.size());
  tile.first_column.push_back(end);
}

} // namespace

Pattern::Pattern(
    const uint8_t* mask, int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride, int64_t chunk)
    : rows(rows), columns(columns), chunk(chunk), entries(0), tiles((rows + kTileRows - 1) / kTileRows) {
  at::parallel_for(0, tiles.size(), 1, [&](int64_t begin, int64_t end) {
    std::vector<Place> places;
    for (int64_t t = begin; t < end; ++t) {
      auto& tile = tiles[t];
      tile.first_segment = tile.first_column = {0};
      for (int64_t c = 0; c < columns; c += chunk) {
        const auto* const window = mask + t * kTileRows * row_stride + c * column_stride;
        const int64_t width = std::min(chunk, columns - c);
        places.clear();
        const auto add = [&](int64_t row, int64_t column) {
          places.push_back({static_cast<uint16_t>(row), static_cast<uint16_t>(column)});
        };
        if (column_stride == 1) {
          scan(window, rows_of(t), width, row_stride, add);
        } else {
          scan(window, width, rows_of(t), column_stride, [&](int64_t column, int64_t row) { add(row, column); });
        }
        append(places, rows_of(t), c == 0, tile);
      }
      tile.segments.shrink_to_fit();
      tile.columns.shrink_to_fit();
    }
  });
  for (auto& tile : tiles) {
    tile.first_entry = entries;
    entries += tile.columns.size();
  }
}

int64_t Pattern::bytes() const {
  int64_t total = sizeof(Pattern);
  for (const auto& tile : tiles) {
    total += sizeof(Tile) + tile.segments.size() * sizeof(RowSegment) + tile.columns.size() * sizeof(uint16_t) +
        (tile.first_segment.size() + tile.first_column.size()) * sizeof(int64_t);
  }
  return total;
}

} // namespace prunesweep
