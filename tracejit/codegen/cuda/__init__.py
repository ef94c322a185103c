"""Programs -> CUDA kernels as Numba-CUDA source text, and the calls that run them."""
