#include "mask_memory.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <sys/mman.h>

#include <cstdlib>
#include <memory>

namespace prunesweep {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = 1 << 21;
constexpr int64_t kSmall = 4 * kHugePage; // below, the allocator's memory does as well

int64_t aligned(int64_t size) {
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

std::shared_ptr<char> huge_block(int64_t size) {
  void* block = nullptr;
  TORCH_CHECK_WITH(
      OutOfMemoryError,
      posix_memalign(&block, kHugePage, size) == 0,
      "global_mask: no memory for masks of ", size, " bytes");
  // the last, partly used page stays one of small ones; refused or not known to the system: slower, no more
  (void)madvise(block, size / kHugePage * kHugePage, MADV_HUGEPAGE);
  return std::shared_ptr<char>(static_cast<char*>(block), std::free);
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
  const auto block = huge_block(total);
  int64_t begin = 0;
  for (const auto& t : like) {
    masks.push_back(at::from_blob(block.get() + begin, t.sizes(), [block](void*) {}, options));
    begin += aligned(t.numel());
  }
  return masks;
}

} // namespace prunesweep
