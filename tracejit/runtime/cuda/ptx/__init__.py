"""An interpreter of the PTX that kernels compile to: all threads at once, on NumPy, with every access checked."""
