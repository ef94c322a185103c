"""Workloads timed on tracejit, JAX and NumPy side by side: `python -m benchmarks`."""
