"""The training loop and what hangs off it: configuration, checkpoints, run folders."""
