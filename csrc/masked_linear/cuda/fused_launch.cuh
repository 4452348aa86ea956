// Launching the fused kernels: blocks of 256 threads with the dynamic shared memory that a kernel needs.

#pragma once

#include "common/cuda/runtime.h"

#include <type_traits>

namespace prunesweep::cuda {

constexpr int kThreads = 256;

template <class... Arguments>
void launch(
    const char* name, void (*kernel)(Arguments...), dim3 grid, size_t shared, cudaStream_t stream,
    std::type_identity_t<Arguments>... arguments) {
  check(
      cudaFuncSetAttribute(
          reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
      name);
  kernel<<<grid, kThreads, shared, stream>>>(arguments...);
  check_launch(name);
}

} // namespace prunesweep::cuda
