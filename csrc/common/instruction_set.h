// Which instruction set the kernels use: chosen when the program runs, so that one build serves every node of a cluster.

#pragma once

namespace prunesweep {

enum class Cpu { plain, avx2, avx512 };

// The widest that this machine has, or what the environment variable PRUNE_CPU (plain, avx2, avx512) says. Raises if
// the variable holds anything else, or a set that the machine lacks. Looked up once.
Cpu cpu();

} // namespace prunesweep
