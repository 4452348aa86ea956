// Which kernels run: decided once, at the first use.

#include "masked_linear/cpu/kernels.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string>

namespace prunesweep {

extern const Kernels plain_kernels;

#if defined(__x86_64__)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

namespace {

bool is_there(const Kernels& candidate) {
#if defined(__x86_64__)
  if (&candidate == &avx512_kernels) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  }
  if (&candidate == &avx2_kernels) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }
#endif
  return true;
}

const Kernels& choose() {
  const Kernels* const all[] = {
#if defined(__x86_64__)
      &avx512_kernels,
      &avx2_kernels,
#endif
      &plain_kernels,
  };
  const char* const asked = std::getenv("PRUNE_CPU");
  std::string here;
  for (const auto* candidate : all) {
    if (is_there(*candidate)) {
      if (!asked || !*asked || candidate->name == std::string(asked)) {
        return *candidate;
      }
      here += std::string(here.empty() ? "" : ", ") + candidate->name;
    }
  }
  TORCH_CHECK(false, "PRUNE_CPU is '", asked, "', but this machine has ", here);
}

} // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

} // namespace prunesweep
