// What is computed about a mask is cached on the mask tensor itself, so it lives exactly as long, and is valid for one
// version of its contents.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/TensorImpl.h>

#include <cstring>
#include <memory>
#include <mutex>

namespace prunesweep {

// Plan has `version`, `rows` and `columns`.
template <typename Plan>
class MaskCache {
 public:
  // The plan of the mask's current contents, created by `make(version)` if there is none; null for a mask without a
  // version counter (created in inference mode), whose changes would go unnoticed.
  template <typename Make>
  static std::shared_ptr<const Plan> get(const at::Tensor& mask, const Make& make) {
    if (mask.is_inference()) {
      return nullptr;
    }
    if (auto plan = current(mask)) {
      return plan;
    }
    std::shared_ptr<const Plan> plan = make(version_of(mask));
    const std::lock_guard lock(attachments());
    mask.unsafeGetTensorImpl()->set_backend_meta(c10::make_intrusive<Held>(plan, counter_of(mask)));
    return plan;
  }

  // The plan of the mask's current contents, null if there is none.
  static std::shared_ptr<const Plan> current(const at::Tensor& mask) {
    const std::lock_guard lock(attachments());
    const auto* const held = mask.is_inference() ? nullptr : held_by(mask);
    // `.data`, and assigning to it, copy the cached plan to a tensor with its own version counter
    if (!held || !is_same(held->counter, counter_of(mask)) || held->plan->version != version_of(mask)) {
      return nullptr;
    }
    // `set_` and `resize_` change the sizes without a new version
    return held->plan->rows == mask.size(0) && held->plan->columns == mask.size(1) ? held->plan : nullptr;
  }

  // The cached plan, whatever its version; null if there is none.
  static std::shared_ptr<const Plan> peek(const at::Tensor& mask) {
    const std::lock_guard lock(attachments());
    const auto* const held = held_by(mask);
    return held ? held->plan : nullptr;
  }

  static void forget(const at::Tensor& mask) {
    const std::lock_guard lock(attachments());
    if (held_by(mask)) {
      mask.unsafeGetTensorImpl()->set_backend_meta(nullptr);
    }
  }

 private:
  static const c10::VariableVersion& counter_of(const at::Tensor& mask) {
    return mask.unsafeGetTensorImpl()->version_counter();
  }

  static uint32_t version_of(const at::Tensor& mask) {
    return counter_of(mask).current_version();
  }

  // Whether both are the same counter: each holds a pointer to it, which has no accessor.
  static bool is_same(const c10::VariableVersion& a, const c10::VariableVersion& b) {
    static_assert(sizeof(c10::VariableVersion) == sizeof(void*));
    return std::memcmp(&a, &b, sizeof(void*)) == 0;
  }

  struct Held final : c10::BackendMeta {
    Held(std::shared_ptr<const Plan> plan, const c10::VariableVersion& counter)
        : plan(std::move(plan)), counter(counter) {}
    const std::shared_ptr<const Plan> plan;
    const c10::VariableVersion counter; // held, so that no other counter gets its address
  };

  static const Held* held_by(const at::Tensor& mask) {
    return dynamic_cast<const Held*>(mask.unsafeGetTensorImpl()->get_backend_meta());
  }

  static std::mutex& attachments() {
    static auto* const mutex = new std::mutex; // outlives every tensor
    return *mutex;
  }
};

} // namespace prunesweep
