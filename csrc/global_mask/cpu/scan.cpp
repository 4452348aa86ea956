#include "global_mask/cpu/scan.h"

#include "common/instruction_set.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace prunesweep {

template <typename K>
void Candidates<K>::reserve(int64_t new_capacity) {
  // not std::vector, which would initialise what may never be needed
  std::unique_ptr<K[]> new_keys(new K[new_capacity]);
  std::unique_ptr<uint32_t[]> new_offsets(new uint32_t[new_capacity]);
  std::copy_n(keys.get(), size, new_keys.get());
  std::copy_n(offsets.get(), size, new_offsets.get());
  keys = std::move(new_keys);
  offsets = std::move(new_offsets);
  capacity = new_capacity;
}

template struct Candidates<int32_t>;
template struct Candidates<int64_t>;

namespace plain {
#define PRUNE_TARGET
#include "global_mask/cpu/scan_body.h"
#undef PRUNE_TARGET
} // namespace plain

#if defined(__x86_64__)
namespace avx2 {
#define PRUNE_SET_AVX2
#define PRUNE_TARGET __attribute__((target("avx2,bmi,popcnt")))
#include "global_mask/cpu/scan_body.h"
#undef PRUNE_TARGET
#undef PRUNE_SET_AVX2
} // namespace avx2

namespace avx512 {
#define PRUNE_SET_AVX512
#define PRUNE_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi,popcnt,prefer-vector-width=512")))
#include "global_mask/cpu/scan_body.h"
#undef PRUNE_TARGET
#undef PRUNE_SET_AVX512
} // namespace avx512
#endif

template <typename scalar_t>
const Scans<scalar_t>& scans(bool weights, bool within) {
#if defined(__x86_64__)
  if (instruction_set() == InstructionSet::avx512) {
    return avx512::scans<scalar_t>(weights, within);
  }
  if (instruction_set() == InstructionSet::avx2) {
    return avx2::scans<scalar_t>(weights, within);
  }
#endif
  return plain::scans<scalar_t>(weights, within);
}

template const Scans<float>& scans<float>(bool, bool);
template const Scans<double>& scans<double>(bool, bool);
template const Scans<c10::BFloat16>& scans<c10::BFloat16>(bool, bool);

} // namespace prunesweep
