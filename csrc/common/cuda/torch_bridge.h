// The bridge between PyTorch and the kernels: which device and stream, and memory from PyTorch's allocator. It does not
// use PyTorch's CUDA headers, so the library also builds against a PyTorch without CUDA.

#pragma once

#include "common/cuda/runtime.h"

#include <ATen/Functions.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <deque>

namespace prunesweep::cuda {

// Makes the device of a tensor the current one, in PyTorch and for the kernels of this library, whose CUDA runtime is
// its own.
class OnDevice {
 public:
  explicit OnDevice(const at::Tensor& t)
      : guard_(t.device()), stream_(c10::impl::VirtualGuardImpl(at::kCUDA).getStream(t.device())) {
    check(cudaSetDevice(t.device().index()), "cudaSetDevice");
  }

  // PyTorch's current stream on the device
  c10::Stream torch_stream() const {
    return stream_;
  }

  cudaStream_t stream() const {
    return static_cast<cudaStream_t>(stream_.native_handle());
  }

  void synchronize() const {
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
  }

  // Work of a graph under capture does not run yet: nothing can be read back.
  bool is_capturing() const {
    cudaStreamCaptureStatus status{};
    check(cudaStreamIsCapturing(stream(), &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }

 private:
  c10::DeviceGuard guard_;
  c10::Stream stream_;
};

// Device memory that lives as long as this object: stream-ordered, as all of PyTorch's.
class Memory {
 public:
  explicit Memory(at::Device device) : options_(at::TensorOptions(at::kByte).device(device)) {}

  Allocate allocate() {
    return [this](size_t bytes) {
      bytes_ += bytes;
      return blocks_.emplace_back(at::empty({static_cast<int64_t>(bytes)}, options_)).mutable_data_ptr();
    };
  }

  int64_t bytes() const {
    return bytes_;
  }

  // Blocks that are freed while this stream still has work to do are not reused before it is done.
  void record_stream(c10::Stream stream) const {
    for (const auto& block : blocks_) {
      block.record_stream(stream);
    }
  }

 private:
  at::TensorOptions options_;
  std::deque<at::Tensor> blocks_;
  int64_t bytes_ = 0;
};

inline Dtype dtype_of(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat:
      return Dtype::kFloat;
    case at::kDouble:
      return Dtype::kDouble;
    case at::kBFloat16:
      return Dtype::kBFloat16;
    default:
      return Dtype::kHalf;
  }
}

} // namespace prunesweep::cuda
