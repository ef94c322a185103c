"""Kernels -> LLVM IR text for the CPU: explicit vectors, own elementary functions, own GEMM."""
