"""A GPU that is not there: the package's CUDA path, run on the host (see fake_cupy.py)."""
