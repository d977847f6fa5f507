"""What implementations of the counted random numbers share; kernels/__init__.py defines them."""

from __future__ import annotations

import numpy as np

# SplitMix64's constants: the step from word to word, and the factors of its finalizer `mix`.
G, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

# Streams of random numbers. Block l of a network has STREAM_BLOCKS + l. Never renumber.
STREAM_AUGMENTATION, STREAM_INPUTS, STREAM_BLOCKS = 0, 1, 2


def dropped_below(dropout: float) -> np.uint64:
    """Words below this are dropped: a share `dropout` of all 2^64; none if it is 0."""
    return np.uint64(int(dropout * 2.0**64))
