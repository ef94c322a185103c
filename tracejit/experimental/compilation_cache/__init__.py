"""The cache of compiled code on disk, under JAX's names."""
