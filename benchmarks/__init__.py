"""Programs timed on tracejit, JAX, PyTorch, Numba and NumPy side by side: `python -m benchmarks`."""
