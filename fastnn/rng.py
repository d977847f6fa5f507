"""Random numbers that depend on (seed, purpose, counter) and on nothing drawn before.

Because every draw names its place, an epoch's order or an example's shape can be had again without
replaying what came before it: this is what makes a resumed run equal to an uninterrupted one.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a draw is for. Values are part of the reproducibility contract: never renumber."""

    WEIGHTS = 0
    SPLIT = 1
    ORDER = 2
    SAMPLE = 3
    GARMENTS = 4
    NOISE = 5
    TUNE = 6


def generator(seed: int, stream: Stream, *counter: int) -> np.random.Generator:
    """A fresh Philox generator (Salmon et al., SC 2011) keyed by (seed, stream, counter)."""
    sequence = np.random.SeedSequence(seed, spawn_key=(int(stream), *counter))
    return np.random.Generator(np.random.Philox(sequence))
