// Which instruction set the CPU kernels use: chosen at run time, so that one build serves every node of a cluster.

#pragma once

namespace prunesweep {

enum class InstructionSet { plain, avx2, avx512 };

// The widest that this machine has, or the one that the environment variable PRUNE_CPU (plain, avx2, avx512; empty
// counts as unset) names. Raises if the variable holds anything else, or a set that the machine lacks. Read once, at
// the first use.
InstructionSet instruction_set();

} // namespace prunesweep
