// Included once per instruction set, with PRUNE_TARGET set to its function attribute, inside a namespace of its name.
// No include guard, no standard library templates: what is compiled here must not be shared between the sets.
//
// The loops over a block are written for the compiler to vectorise; only the step from bytes to bits needs intrinsics.

#define PRUNE_INLINE inline __attribute__((always_inline)) PRUNE_TARGET

constexpr int64_t kBlock = 64;

// Bit i of the result = byte i (0 or 1).
PRUNE_INLINE uint64_t bits_of(const uint8_t* bytes) {
#if defined(PRUNE_SET_AVX512)
  const __m512i v = _mm512_loadu_si512(bytes);
  return _mm512_test_epi8_mask(v, v);
#elif defined(PRUNE_SET_AVX2)
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 32));
  const uint32_t low_bits = _mm256_movemask_epi8(_mm256_slli_epi16(low, 7));
  const uint32_t high_bits = _mm256_movemask_epi8(_mm256_slli_epi16(high, 7));
  return low_bits | uint64_t{high_bits} << 32;
#else
  uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) {
    uint64_t eight;
    __builtin_memcpy(&eight, bytes + 8 * i, 8);
    bits |= (eight * 0x0102040810204080 >> 56) << 8 * i;
  }
  return bits;
#endif
}

// Keys of `size` elements from index i on; the rest of the block is not touched.
template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_INLINE void load(const Piece<scalar_t>& piece, int64_t i, int64_t size, Key<scalar_t>* keys, Key<scalar_t>& nan) {
  using K = Key<scalar_t>;
  const auto* inside = reinterpret_cast<const uint8_t*>(piece.inside) + i;
  K bad = 0;
  for (int64_t j = 0; j < size; ++j) {
    scalar_t value = piece.score[i + j];
    if constexpr (kWeights) {
      value = static_cast<scalar_t>(value * piece.weight[i + j]);
    }
    K key = to_key(value);
    if constexpr (kWithin) {
      key = inside[j] != 0 ? key : kOutside<K>;
      bad |= (key > kInfinity<K>) | ((key < -kInfinity<K>) & (key != kOutside<K>));
    } else {
      bad |= (key > kInfinity<K>) | (key < -kInfinity<K>);
    }
    keys[j] = key;
  }
  nan |= bad;
}

template <typename K>
PRUNE_INLINE void append(Candidates<K>& to, const K* keys, uint64_t bits, int64_t offset) {
  if (bits == 0 || to.overflow) {
    return;
  }
  if (to.size + kBlock > to.capacity) {
    if (to.size > to.limit) {
      to.overflow = true;
      return;
    }
    to.reserve(2 * to.capacity + kBlock);
  }
  for (; bits != 0; bits &= bits - 1) {
    const int j = __builtin_ctzll(bits);
    to.keys[to.size] = keys[j];
    to.offsets[to.size++] = static_cast<uint32_t>(offset + j);
  }
}

template <typename K>
struct Mark {
  K low, high;
  Found<K>& found;

  PRUNE_INLINE void operator()(const K* keys, uint8_t* mask, int64_t offset) {
    alignas(64) uint8_t between[kBlock];
    for (int64_t j = 0; j < kBlock; ++j) {
      mask[j] = keys[j] > high;
    }
    for (int64_t j = 0; j < kBlock; ++j) {
      between[j] = (keys[j] >= low) & (keys[j] <= high);
    }
    found.above += __builtin_popcountll(bits_of(mask));
    append(found.between, keys, bits_of(between), offset);
  }
};

template <typename K>
struct Count {
  K low, high;
  Found<K>& found;

  PRUNE_INLINE void operator()(const K* keys, uint8_t*, int64_t offset) {
    alignas(64) uint8_t above[kBlock], at_high[kBlock], at_low[kBlock], between[kBlock];
    for (int64_t j = 0; j < kBlock; ++j) {
      above[j] = keys[j] > high;
    }
    for (int64_t j = 0; j < kBlock; ++j) {
      at_high[j] = keys[j] == high;
    }
    for (int64_t j = 0; j < kBlock; ++j) {
      at_low[j] = keys[j] == low;
    }
    for (int64_t j = 0; j < kBlock; ++j) {
      between[j] = (keys[j] > low) & (keys[j] < high);
    }
    found.above += __builtin_popcountll(bits_of(above));
    found.at_high += __builtin_popcountll(bits_of(at_high));
    found.at_low += __builtin_popcountll(bits_of(at_low));
    append(found.between, keys, bits_of(between), offset);
  }
};

template <typename K>
struct Write {
  K threshold;
  int64_t ties; // still to be kept

  PRUNE_INLINE void operator()(const K* keys, uint8_t* mask, int64_t) {
    for (int64_t j = 0; j < kBlock; ++j) {
      mask[j] = keys[j] == threshold;
    }
    const int64_t here = ties == 0 ? 0 : __builtin_popcountll(bits_of(mask));
    const bool all = here <= ties;
    const K least = here > 0 && all ? threshold : threshold + 1;
    for (int64_t j = 0; j < kBlock; ++j) {
      mask[j] = keys[j] >= least;
    }
    for (int64_t j = 0; !all && ties > 0; ++j) {
      mask[j] |= keys[j] == threshold;
      ties -= keys[j] == threshold;
    }
    ties -= all ? here : 0;
  }
};

// step(keys, mask, offset) for each block of the range; a block that is not full is filled up with kOutside.
template <typename scalar_t, bool kWeights, bool kWithin, typename Step>
PRUNE_INLINE bool for_each_block(const Pieces<scalar_t>& pieces, int64_t first, int64_t last, Step step) {
  using K = Key<scalar_t>;
  K nan = 0;
  const Piece<scalar_t>* end_of_pieces = pieces.data() + pieces.size();
  for (const Piece<scalar_t>* p = pieces.data(); p != end_of_pieces; ++p) {
    const Piece<scalar_t> piece = *p;
    const int64_t begin = first > piece.begin ? first - piece.begin : 0;
    const int64_t end = last - piece.begin < piece.size ? last - piece.begin : piece.size;
    auto* mask = reinterpret_cast<uint8_t*>(piece.mask);
    alignas(64) K keys[kBlock];
    int64_t i = begin;
    for (; i + kBlock <= end; i += kBlock) {
      load<scalar_t, kWeights, kWithin>(piece, i, kBlock, keys, nan);
      step(keys, mask + i, piece.begin + i - first);
    }
    if (i < end) {
      alignas(64) uint8_t bytes[kBlock];
      __builtin_memcpy(bytes, mask + i, end - i);
      for (int64_t j = 0; j < kBlock; ++j) {
        keys[j] = kOutside<K>;
      }
      load<scalar_t, kWeights, kWithin>(piece, i, end - i, keys, nan);
      step(keys, bytes, piece.begin + i - first);
      __builtin_memcpy(mask + i, bytes, end - i);
    }
  }
  return nan != 0;
}

template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_TARGET void sample(
    const Pieces<scalar_t>& pieces, const int64_t* begins, const int64_t* ends, int64_t lines, Key<scalar_t>* keys) {
  using K = Key<scalar_t>;
  const Piece<scalar_t>* piece = pieces.data();
  K nan = 0;
  for (int64_t line = 0; line < lines; ++line) {
    K* to = keys + line * kLine;
    for (int64_t j = 0; j < kLine; ++j) {
      to[j] = kOutside<K>;
    }
    for (int64_t at = begins[line]; at < ends[line];) {
      while (at >= piece->begin + piece->size) {
        ++piece;
      }
      const int64_t end = piece->begin + piece->size < ends[line] ? piece->begin + piece->size : ends[line];
      if (end - at == kLine) {
        load<scalar_t, kWeights, kWithin>(*piece, at - piece->begin, kLine, to, nan);
      } else {
        load<scalar_t, kWeights, kWithin>(*piece, at - piece->begin, end - at, to + (at - begins[line]), nan);
      }
      at = end;
    }
  }
}

template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_TARGET void mark(
    const Pieces<scalar_t>& pieces,
    int64_t first,
    int64_t last,
    Key<scalar_t> low,
    Key<scalar_t> high,
    Found<Key<scalar_t>>& found) {
  found.nan = for_each_block<scalar_t, kWeights, kWithin>(pieces, first, last, Mark<Key<scalar_t>>{low, high, found});
}

template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_TARGET void count(
    const Pieces<scalar_t>& pieces,
    int64_t first,
    int64_t last,
    Key<scalar_t> low,
    Key<scalar_t> high,
    Found<Key<scalar_t>>& found) {
  found.nan = for_each_block<scalar_t, kWeights, kWithin>(pieces, first, last, Count<Key<scalar_t>>{low, high, found});
}

template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_TARGET void write(
    const Pieces<scalar_t>& pieces, int64_t first, int64_t last, Key<scalar_t> threshold, int64_t ties) {
  for_each_block<scalar_t, kWeights, kWithin>(pieces, first, last, Write<Key<scalar_t>>{threshold, ties});
}

template <typename K>
PRUNE_TARGET int64_t
sift(const K* keys, int64_t size, K low, K high, K* out, int64_t capacity, int64_t* above) {
  alignas(64) uint8_t over[kBlock], between[kBlock];
  int64_t found = 0;
  *above = 0;
  for (int64_t i = 0; i < size; i += kBlock) {
    alignas(64) K block[kBlock];
    const K* in = keys + i;
    if (size - i < kBlock) {
      for (int64_t j = 0; j < kBlock; ++j) {
        block[j] = i + j < size ? keys[i + j] : kOutside<K>;
      }
      in = block;
    }
    for (int64_t j = 0; j < kBlock; ++j) {
      over[j] = in[j] > high;
    }
    for (int64_t j = 0; j < kBlock; ++j) {
      between[j] = (in[j] >= low) & (in[j] <= high);
    }
    *above += __builtin_popcountll(bits_of(over));
    uint64_t bits = bits_of(between);
    const int64_t here = __builtin_popcountll(bits);
    if (found + here <= capacity) {
      K* to = out + found;
      for (; bits != 0; bits &= bits - 1) {
        *to++ = in[__builtin_ctzll(bits)];
      }
    }
    found += here;
  }
  return found;
}

template <typename scalar_t, bool kWeights, bool kWithin>
constexpr Scans<scalar_t> kScans = {
    sample<scalar_t, kWeights, kWithin>,
    mark<scalar_t, kWeights, kWithin>,
    count<scalar_t, kWeights, kWithin>,
    write<scalar_t, kWeights, kWithin>,
    sift<Key<scalar_t>>,
};

template <typename scalar_t>
const Scans<scalar_t>& scans(bool weights, bool within) {
  if (weights) {
    return within ? kScans<scalar_t, true, true> : kScans<scalar_t, true, false>;
  }
  return within ? kScans<scalar_t, false, true> : kScans<scalar_t, false, false>;
}

#undef PRUNE_INLINE
