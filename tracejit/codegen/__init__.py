"""Graph -> kernels -> native code: fusion, scheduling, memory planning and the backends."""
