#include "global_mask/cpu/mask_memory.h"

#include "common/memory_pool.h"

#include <ATen/Functions.h>

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

namespace prunesweep {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = 1 << 21;
constexpr int64_t kPooled = 1 << 20; // the smallest block that the pool keeps
constexpr int64_t kSmall = 1 << 18; // below, the allocator's memory is just as good

int64_t aligned(int64_t size) {
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

// The pool keeps it when all masks in it are freed: zeroing fresh pages takes as long as the selection itself.
at::Tensor pooled_block(int64_t size) {
  const int64_t huge = size < 4 * kHugePage ? 0 : size / kHugePage * kHugePage;
  const at::Tensor block = pooled_empty({std::max(size, kPooled) + (huge ? kHugePage : 0)}, at::kByte);
  if (huge == 0) {
    return block;
  }
  const auto address = reinterpret_cast<uintptr_t>(block.data_ptr());
  const int64_t begin = (kHugePage - address % kHugePage) % kHugePage;
  // the last, partly used page stays as small ones; if the system refuses, this is only slower
  (void)madvise(block.data_ptr<uint8_t>() + begin, huge, MADV_HUGEPAGE);
  return block.narrow(0, begin, size);
}

} // namespace

std::vector<at::Tensor> empty_masks(at::TensorList like) {
  std::vector<at::Tensor> masks;
  masks.reserve(like.size());
  int64_t total = 0;
  for (const auto& t : like) {
    total += aligned(t.numel());
  }
  const auto options = like[0].options().dtype(at::kBool);
  if (total < kSmall) {
    for (const auto& t : like) {
      masks.push_back(at::empty(t.sizes(), options));
    }
    return masks;
  }
  const at::Tensor block = pooled_block(total);
  auto* const data = block.data_ptr<uint8_t>();
  int64_t begin = 0;
  for (const auto& t : like) {
    masks.push_back(at::from_blob(data + begin, t.sizes(), [block](void*) {}, options));
    begin += aligned(t.numel());
  }
  return masks;
}

} // namespace prunesweep
