"""The parts of scripts/gpu_check.py: each a function that returns plain values for a JSON file."""
