"""Runs to report on: pictures, a table and numbers, with names that a page must not believe."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fastnn
from fastnn.data.examples import Dataset

NAMES = ("<script>alert(1)</script>", 'Ünï "code" & more', "</script><b>bold", "plain")


def pictures(shape: tuple[int, ...] = (9, 7), count: int = 240, seed: int = 0) -> Dataset:
    """Noisy pictures, a bright bar a class; some labels are wrong, so that there are mistakes."""
    rng = np.random.default_rng(seed)
    arrays = []
    for _ in range(2):
        labels = np.arange(count) % len(NAMES)
        images = rng.integers(0, 120, (count, *shape))
        for image, label in zip(images, labels, strict=True):
            image[2 * label] += 100
        labels[::12] = (labels[::12] + 1) % len(NAMES)
        arrays += [images.astype(np.uint8), np.array(NAMES)[labels]]
    return fastnn.dataset_from_arrays(*arrays, name="pic & tures")


def table(count: int = 200) -> Dataset:
    """Four columns, three classes that can be told apart."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 3
    x = rng.normal(size=(count, 4)) + labels[:, None] * np.array([1, -1, 2, 0])
    half = count // 2
    names = np.array(["a", "b", "c"])[labels]
    return fastnn.dataset_from_arrays(x[:half], names[:half], x[half:], names[half:])


def numbers(count: int = 200) -> Dataset:
    """Two targets that depend on three columns."""
    rng = np.random.default_rng(2)
    x = rng.uniform(size=(count, 3))
    y = np.stack([x[:, 0] * 100 + x[:, 1], x[:, 2] - x[:, 0]], axis=1)
    half = count // 2
    return fastnn.dataset_from_arrays(x[:half], y[:half], x[half:], y[half:], numbers=True)


def trained(data: Dataset, out: Path, **settings: object) -> Path:
    """The folder of a short run."""
    config = fastnn.TrainConfig(
        **{"hidden": (16,), "epochs": 4, "batch_size": 32, "learning_rate": 0.01, "device": "cpu",
           "kernels": "reference", **settings}
    )  # fmt: skip
    folder = fastnn.train(config, data=data, out=out).folder
    assert folder is not None
    return folder
