// What all CUDA sources of the extension share. The .cu files use raw pointers, sizes and a stream, and nothing of
// PyTorch, so they compile without it.

#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace prunesweep::cuda {

enum class Dtype { kFloat, kDouble, kBFloat16, kHalf };

// Device memory of at least this many bytes, aligned to 256, in the order of the stream that the call works on. It is
// not returned: scratch lives as long as the caller of the function keeps it.
using Allocate = std::function<void*(size_t bytes)>;

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    cudaGetLastError(); // reported here, so the check after the next launch must not find it again
    throw std::runtime_error(std::string("CUDA error: ") + cudaGetErrorString(status) + " (" + what + ")");
  }
}

// After every launch: raises if the launch itself failed. Errors while a kernel runs are reported by the next
// synchronisation.
inline void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

// Of the current device
inline int attribute(cudaDeviceAttr which) {
  int device = 0;
  int value = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

inline int multiprocessors() {
  return attribute(cudaDevAttrMultiProcessorCount);
}

// Whether blocks may have the shared memory that the fused and the sparse kernels need: true for compute capability 8.0
// and from 9.0 on, false for 8.6, 8.9 and 12.0.
inline bool has_large_shared_memory() {
  constexpr int kNeeded = 162 * 1024;
  return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) >= kNeeded;
}

} // namespace prunesweep::cuda
