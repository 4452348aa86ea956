// Included once per instruction set, with PRUNE_TARGET set to its function attribute, inside a namespace of its name.
// No include guard, no standard library templates: what is compiled here must not be shared between the sets.
//
// The loops over a block are written for the compiler to vectorise; only comparing to bits needs intrinsics.

#define PRUNE_INLINE inline __attribute__((always_inline)) PRUNE_TARGET

constexpr int64_t kBlock = 64;

// Bit i of the result: keys[i] > bound.
#if defined(PRUNE_SET_AVX512)
PRUNE_INLINE uint64_t greater(const int32_t* keys, int32_t bound) {
  const __m512i b = _mm512_set1_epi32(bound);
  uint64_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    bits |= uint64_t{_mm512_cmpgt_epi32_mask(_mm512_loadu_si512(keys + 16 * i), b)} << 16 * i;
  }
  return bits;
}

PRUNE_INLINE uint64_t greater(const int64_t* keys, int64_t bound) {
  const __m512i b = _mm512_set1_epi64(bound);
  uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) {
    bits |= uint64_t{_mm512_cmpgt_epi64_mask(_mm512_loadu_si512(keys + 8 * i), b)} << 8 * i;
  }
  return bits;
}

// bytes[i] = bit i.
PRUNE_INLINE void store_bits(uint8_t* bytes, uint64_t bits) {
  _mm512_storeu_si512(bytes, _mm512_maskz_set1_epi8(bits, 1));
}
#else
PRUNE_INLINE uint64_t bits_of(const uint8_t* bytes) {
#if defined(PRUNE_SET_AVX2)
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

template <typename K>
PRUNE_INLINE uint64_t greater(const K* keys, K bound) {
  alignas(64) uint8_t bytes[kBlock];
  for (int64_t j = 0; j < kBlock; ++j) {
    bytes[j] = keys[j] > bound;
  }
  return bits_of(bytes);
}

PRUNE_INLINE void store_bits(uint8_t* bytes, uint64_t bits) {
  for (int64_t i = 0; i < kBlock; i += 8) {
    // one bit of each byte, then carried to the top if it is set
    const uint64_t spread = (bits >> i & 255) * 0x0101010101010101 & 0x8040201008040201;
    const uint64_t eight = (spread + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101;
    __builtin_memcpy(bytes + i, &eight, 8);
  }
}
#endif

// The largest |key| of each lane, in an order in which NaN comes last.
template <typename K>
struct Extremes {
  using U = std::make_unsigned_t<K>;
  alignas(64) U lanes[kBlock] = {};

  PRUNE_INLINE bool nan() const {
    bool any = false;
    for (int64_t j = 0; j < kBlock; ++j) {
      any |= lanes[j] > 2 * static_cast<U>(kInfinity<K>);
    }
    return any;
  }
};

// Keys of `size` elements from index i on; the rest of the block is not touched.
template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_INLINE void load(
    const Piece<scalar_t>& piece, int64_t i, int64_t size, Key<scalar_t>* keys, Extremes<Key<scalar_t>>& extremes) {
  using K = Key<scalar_t>;
  using U = std::make_unsigned_t<K>;
  const auto* inside = reinterpret_cast<const uint8_t*>(piece.inside) + i;
  const scalar_t* score = piece.score + i;
  const scalar_t* weight = piece.weight + i;
  for (int64_t j = 0; j < size; ++j) {
    scalar_t value = score[j];
    if constexpr (kWeights) {
      value = static_cast<scalar_t>(value * weight[j]);
    }
    K key = to_key(value);
    // from 0 for -infinity to twice the key of infinity; both kinds of NaN are greater
    U shifted = static_cast<U>(key) + static_cast<U>(kInfinity<K>);
    if constexpr (kWithin) {
      shifted = inside[j] != 0 ? shifted : 0;
      key = inside[j] != 0 ? key : kOutside<K>;
    }
    extremes.lanes[j] = extremes.lanes[j] > shifted ? extremes.lanes[j] : shifted;
    keys[j] = key;
  }
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
    const uint64_t above = greater(keys, high);
    store_bits(mask, above);
    found.above += __builtin_popcountll(above);
    append(found.between, keys, greater(keys, low - 1) & ~above, offset);
  }
};

template <typename K>
struct Count {
  K low, high;
  Found<K>& found;

  PRUNE_INLINE void operator()(const K* keys, uint8_t*, int64_t offset) {
    const uint64_t above = greater(keys, high);
    const uint64_t high_and_up = greater(keys, high - 1);
    const uint64_t above_low = greater(keys, low);
    const uint64_t low_and_up = greater(keys, low - 1);
    found.above += __builtin_popcountll(above);
    found.at_high += __builtin_popcountll(high_and_up & ~above);
    found.at_low += __builtin_popcountll(low_and_up & ~above_low);
    append(found.between, keys, above_low & ~high_and_up, offset);
  }
};

template <typename K>
struct Write {
  K threshold;
  int64_t ties; // still to be kept

  PRUNE_INLINE void operator()(const K* keys, uint8_t* mask, int64_t) {
    const uint64_t above = greater(keys, threshold);
    uint64_t tied = ties > 0 ? greater(keys, threshold - 1) & ~above : 0;
    while (__builtin_popcountll(tied) > ties) {
      tied ^= uint64_t{1} << (63 - __builtin_clzll(tied)); // the last of them
    }
    ties -= __builtin_popcountll(tied);
    store_bits(mask, above | tied);
  }
};

// step(keys, mask, offset) for each block of the range; a block that is not full is filled up with kOutside.
template <typename scalar_t, bool kWeights, bool kWithin, typename Step>
PRUNE_INLINE bool for_each_block(const Pieces<scalar_t>& pieces, int64_t first, int64_t last, Step step) {
  using K = Key<scalar_t>;
  Extremes<K> extremes;
  const Piece<scalar_t>* end_of_pieces = pieces.data() + pieces.size();
  for (const Piece<scalar_t>* p = pieces.data(); p != end_of_pieces; ++p) {
    const Piece<scalar_t> piece = *p;
    const int64_t begin = first > piece.begin ? first - piece.begin : 0;
    const int64_t end = last - piece.begin < piece.size ? last - piece.begin : piece.size;
    auto* mask = reinterpret_cast<uint8_t*>(piece.mask);
    alignas(64) K keys[kBlock];
    int64_t i = begin;
    for (; i + kBlock <= end; i += kBlock) {
      load<scalar_t, kWeights, kWithin>(piece, i, kBlock, keys, extremes);
      step(keys, mask + i, piece.begin + i - first);
    }
    if (i < end) {
      alignas(64) uint8_t bytes[kBlock];
      __builtin_memcpy(bytes, mask + i, end - i);
      for (int64_t j = 0; j < kBlock; ++j) {
        keys[j] = kOutside<K>;
      }
      load<scalar_t, kWeights, kWithin>(piece, i, end - i, keys, extremes);
      step(keys, bytes, piece.begin + i - first);
      __builtin_memcpy(mask + i, bytes, end - i);
    }
  }
  return extremes.nan();
}

template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_TARGET void sample(
    const Pieces<scalar_t>& pieces, const int64_t* begins, const int64_t* ends, int64_t lines, Key<scalar_t>* keys) {
  using K = Key<scalar_t>;
  const Piece<scalar_t>* piece = pieces.data();
  Extremes<K> ignored;
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
        load<scalar_t, kWeights, kWithin>(*piece, at - piece->begin, kLine, to, ignored);
      } else {
        load<scalar_t, kWeights, kWithin>(*piece, at - piece->begin, end - at, to + (at - begins[line]), ignored);
      }
      at = end;
    }
  }
}

template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_TARGET void mark(
    const Pieces<scalar_t>& pieces, int64_t first, int64_t last, Key<scalar_t> low, Key<scalar_t> high,
    Found<Key<scalar_t>>& found) {
  found.nan = for_each_block<scalar_t, kWeights, kWithin>(pieces, first, last, Mark<Key<scalar_t>>{low, high, found});
}

template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_TARGET void count(
    const Pieces<scalar_t>& pieces, int64_t first, int64_t last, Key<scalar_t> low, Key<scalar_t> high,
    Found<Key<scalar_t>>& found) {
  found.nan = for_each_block<scalar_t, kWeights, kWithin>(pieces, first, last, Count<Key<scalar_t>>{low, high, found});
}

template <typename scalar_t, bool kWeights, bool kWithin>
PRUNE_TARGET void write(
    const Pieces<scalar_t>& pieces, int64_t first, int64_t last, Key<scalar_t> threshold, int64_t ties) {
  for_each_block<scalar_t, kWeights, kWithin>(pieces, first, last, Write<Key<scalar_t>>{threshold, ties});
}

template <typename K>
PRUNE_TARGET int64_t sift(const K* keys, int64_t size, K low, K high, K* out, int64_t capacity, int64_t* above) {
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
    const uint64_t over = greater(in, high);
    uint64_t bits = greater(in, low - 1) & ~over;
    *above += __builtin_popcountll(over);
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
