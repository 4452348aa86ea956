// Where a mask is true, in the order that the sparse kernels need.

#pragma once

#include "masked_linear/cpu/kernels.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace prunesweep {

constexpr int64_t kTileRows = 256;

// Compressed rows in blocks: a tile of kTileRows rows by a chunk of columns, whose part of the other operand fits into
// a cache. Within a block the rows are sorted by their number of entries, which makes the inner loop's length
// predictable. The first chunk has a segment for every row, possibly empty, so that results computed from it can be
// written instead of added.
struct Pattern {
  struct Tile {
    std::vector<RowSegment> segments;
    std::vector<uint16_t> columns; // of each entry, within its chunk
    std::vector<int64_t> first_segment; // [chunks + 1]
    std::vector<int64_t> first_column; // [chunks + 1]
    int64_t first_entry; // of all entries of the pattern
  };

  int64_t rows, columns, chunk, entries;
  std::vector<Tile> tiles;

  // The mask is [rows, columns] with one of the strides 1. chunk is at most 65536.
  Pattern(const uint8_t* mask, int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride, int64_t chunk);

  int64_t chunks() const {
    return (columns + chunk - 1) / chunk;
  }
  int64_t rows_of(int64_t tile) const {
    return std::min(kTileRows, rows - tile * kTileRows);
  }
  int64_t columns_of(int64_t chunk_index) const {
    return std::min(chunk, columns - chunk_index * chunk);
  }
  // The first entry of a block
  int64_t entry_of(int64_t tile, int64_t chunk_index) const {
    return tiles[tile].first_entry + tiles[tile].first_column[chunk_index];
  }
  int64_t bytes() const;

  // Calls visit(entry, row, column) for the entries of a tile, in order.
  template <typename Visit>
  void visit(int64_t tile, const Visit& visit) const;
};

template <typename Visit>
void Pattern::visit(int64_t index, const Visit& visit) const {
  const auto& tile = tiles[index];
  int64_t entry = 0;
  for (int64_t c = 0; c < chunks(); ++c) {
    for (int64_t r = tile.first_segment[c]; r < tile.first_segment[c + 1]; ++r) {
      const int64_t row = index * kTileRows + tile.segments[r].row;
      for (const int64_t end = entry + tile.segments[r].count; entry < end; ++entry) {
        visit(tile.first_entry + entry, row, c * chunk + tile.columns[entry]);
      }
    }
  }
}

} // namespace prunesweep
