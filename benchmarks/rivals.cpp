// What global_mask.py compares with and cannot have from Python: std::nth_element, and one pass of reading.

#include <algorithm>
#include <cstdint>
#include <functional>

extern "C" {

// Rearranges `values`; returns the keep-th largest.
float nth_element(float* values, int64_t size, int64_t keep) {
  std::nth_element(values, values + keep - 1, values + size, std::greater<float>());
  return values[keep - 1];
}

// Reads every value once, with OpenMP's threads.
int32_t read_pass(const float* const* tensors, const int64_t* sizes, int64_t count) {
  int32_t bits = 0;
  for (int64_t t = 0; t < count; ++t) {
    const auto* values = reinterpret_cast<const int32_t*>(tensors[t]);
#pragma omp parallel for simd reduction(^ : bits)
    for (int64_t i = 0; i < sizes[t]; ++i) {
      bits ^= values[i];
    }
  }
  return bits;
}
}
