// What is worked out about a mask is kept with the mask tensor itself, so it lives exactly as long, and holds for one version of
// its contents.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/TensorImpl.h>

#include <memory>
#include <mutex>

namespace prunesweep {

// Plan has `version`, `rows` and `columns`.
template <typename Plan>
class KeptWithMask {
 public:
  // The plan of the mask as it is now, made by `make(version)` if there is none; null for a mask without a version counter
  // (made in inference mode), whose changes could not be noticed.
  template <typename Make>
  static std::shared_ptr<const Plan> get(const at::Tensor& mask, const Make& make) {
    if (mask.is_inference()) {
      return nullptr;
    }
    if (auto plan = peek(mask); plan && is_current(*plan, mask)) {
      return plan;
    }
    std::shared_ptr<const Plan> plan = make(version_of(mask));
    const std::lock_guard lock(attachments());
    mask.unsafeGetTensorImpl()->set_backend_meta(c10::make_intrusive<Held>(plan));
    return plan;
  }

  static bool is_current(const Plan& plan, const at::Tensor& mask) {
    // the sizes too: `set_` and `resize_` change what a tensor is
    return !mask.is_inference() && plan.version == version_of(mask) && plan.rows == mask.size(0) &&
        plan.columns == mask.size(1);
  }

  // What is kept, of whatever version; null if nothing is.
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
  static uint32_t version_of(const at::Tensor& mask) {
    return mask.unsafeGetTensorImpl()->version_counter().current_version();
  }

  struct Held final : c10::BackendMeta {
    explicit Held(std::shared_ptr<const Plan> plan) : plan(std::move(plan)) {}
    const std::shared_ptr<const Plan> plan;
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
