#include "common/memory_pool.h"

#include <ATen/EmptyTensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/accumulate.h>

#include <cstdlib>
#include <cstring>
#include <list>
#include <mutex>

namespace prunesweep {
namespace {

constexpr size_t kSmallest = 1 << 20; // smaller blocks stay mapped by malloc anyway

struct Block {
  void* data;
  size_t size;
};

class Pool final : public c10::Allocator {
 public:
  Pool() {
    const char* const megabytes = std::getenv("PRUNE_POOL_MB");
    if (megabytes && *megabytes) {
      char* end = nullptr;
      const long long value = std::strtoll(megabytes, &end, 10);
      TORCH_CHECK(
          !*end && value >= 0 && value <= (1LL << 40), "PRUNE_POOL_MB is '", megabytes,
          "', but a whole number of megabytes, 0 or more, is needed");
      limit_ = static_cast<size_t>(value) << 20;
    }
  }

  c10::DataPtr allocate(size_t size) override {
    auto* const block = new Block(take(size));
    return {block->data, block, &give_back, at::kCPU};
  }

  c10::DeleterFnPtr raw_deleter() const override {
    return nullptr; // the context is not the data
  }

  void copy_data(void* to, const void* from, std::size_t size) const override {
    std::memcpy(to, from, size);
  }

  static Pool& get();

 private:
  static void give_back(void* context) {
    auto* const block = static_cast<Block*>(context);
    get().keep(*block);
    delete block;
  }

  // try_lock, not lock: in a forked child another thread's lock stays locked forever
  Block take(size_t size) {
    if (const std::unique_lock lock(mutex_, std::try_to_lock); lock) {
      auto best = free_.end();
      for (auto it = free_.begin(); it != free_.end(); ++it) {
        if (it->size >= size && it->size <= size + size / 8 && (best == free_.end() || it->size < best->size)) {
          best = it;
        }
      }
      if (best != free_.end()) {
        const Block found = *best;
        unused_ -= found.size;
        free_.erase(best);
        return found;
      }
    }
    return {c10::alloc_cpu(size), size};
  }

  void keep(Block block) {
    std::list<Block> surplus;
    if (const std::unique_lock lock(mutex_, std::try_to_lock); lock && block.size <= limit_) {
      free_.push_front(block);
      unused_ += block.size;
      while (unused_ > limit_) { // the least recently used goes first
        unused_ -= free_.back().size;
        surplus.splice(surplus.end(), free_, std::prev(free_.end()));
      }
    } else {
      surplus.push_back(block);
    }
    for (const auto& old : surplus) {
      c10::free_cpu(old.data);
    }
  }

  std::mutex mutex_;
  std::list<Block> free_; // most recently used first
  size_t unused_ = 0;
  size_t limit_ = size_t{256} << 20;
};

Pool& Pool::get() {
  static auto* const pool = new Pool; // never destroyed: tensors may outlive static objects
  return *pool;
}

} // namespace

at::Tensor pooled_empty(at::IntArrayRef sizes, at::ScalarType dtype) {
  const size_t bytes = c10::multiply_integers(sizes) * c10::elementSize(dtype);
  c10::Allocator* const allocator = bytes < kSmallest ? c10::GetCPUAllocator() : &Pool::get();
  return at::detail::empty_generic(sizes, allocator, c10::DispatchKeySet(c10::DispatchKey::CPU), dtype, std::nullopt);
}

} // namespace prunesweep
