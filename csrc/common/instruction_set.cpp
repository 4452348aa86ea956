#include "common/instruction_set.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string>

namespace prunesweep {
namespace {

Cpu widest() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Cpu::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi")) {
    return Cpu::avx2;
  }
#endif
  return Cpu::plain;
}

Cpu choose() {
  const char* variable = std::getenv("PRUNE_CPU");
  if (variable == nullptr) {
    return widest();
  }
  const std::string asked = variable;
  TORCH_CHECK(
      asked == "plain" || asked == "avx2" || asked == "avx512",
      "PRUNE_CPU is '", asked, "': plain, avx2 and avx512 are known; unset it to use the best this machine has");
  const auto chosen = asked == "plain" ? Cpu::plain : asked == "avx2" ? Cpu::avx2 : Cpu::avx512;
  TORCH_CHECK(chosen <= widest(), "PRUNE_CPU is '", asked, "', which this machine lacks: unset it");
  return chosen;
}

} // namespace

Cpu cpu() {
  static const Cpu chosen = choose();
  return chosen;
}

} // namespace prunesweep
