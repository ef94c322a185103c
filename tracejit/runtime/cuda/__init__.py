"""What runs GPU programs: a CUDA device, or an emulation of one on NumPy."""
