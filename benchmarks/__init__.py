"""Measurements: `make bench` for kernels and steps, `compare_steps.py` for ratios in one run."""
