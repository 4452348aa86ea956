#include "common/instruction_set.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string>

namespace prunesweep {
namespace {

// All that the kernels are compiled for, by the pragmas and attributes of masked_linear/cpu/kernels_*.cpp and
// global_mask/cpu/scan.cpp
InstructionSet widest() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
      __builtin_cpu_supports("popcnt");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return InstructionSet::avx512;
  }
  if (avx2) {
    return InstructionSet::avx2;
  }
#endif
  return InstructionSet::plain;
}

InstructionSet choose() {
  const char* const variable = std::getenv("PRUNE_CPU");
  const std::string name = variable ? variable : "";
  if (name.empty()) {
    return widest();
  }
  TORCH_CHECK(
      name == "plain" || name == "avx2" || name == "avx512", "PRUNE_CPU is '", name,
      "': plain, avx2 and avx512 are known; unset it to use the best this machine has");
  const auto chosen = name == "plain" ? InstructionSet::plain
      : name == "avx2"                ? InstructionSet::avx2
                                      : InstructionSet::avx512;
  TORCH_CHECK(chosen <= widest(), "PRUNE_CPU is '", name, "', which this machine lacks: unset it");
  return chosen;
}

} // namespace

InstructionSet instruction_set() {
  static const InstructionSet chosen = choose();
  return chosen;
}

} // namespace prunesweep
