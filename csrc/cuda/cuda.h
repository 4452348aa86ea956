// What every CUDA source of the extension shares. The .cu files know raw pointers, sizes and a stream, and nothing of PyTorch, so they
// compile without it.

#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace prunesweep::cuda {

enum class Dtype { kFloat, kDouble, kBFloat16, kHalf };

// Device memory of at least this many bytes, aligned to 256, in the order of the stream that the call works on. Who asks does not give it
// back: scratch lives as long as the caller of the function keeps it.
using Allocate = std::function<void*(size_t bytes)>;

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
  }
}

// After every launch: what was wrong with the launch itself. What goes wrong while a kernel runs, the next synchronisation says.
inline void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

} // namespace prunesweep::cuda
