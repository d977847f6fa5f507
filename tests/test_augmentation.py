"""Counted random words, and pictures varied by them, against plain Python integers and slices."""

import math
from itertools import product

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Dataset, Examples
from fastnn.data.scaling import Scaling
from fastnn.kernels import Augmentation, kernels_for
from fastnn.kernels.counted import STREAM_AUGMENTATION
from fastnn.kernels.reference import Reference
from fastnn.training.build import build
from fastnn.training.config import TrainConfig

KEY = 0x123456789ABCDEF0
AS_THEY_ARE = Scaling("unit", None, np.ones(1))
STILL = Augmentation(5, 7, 1, shift=0, flip=False, cutout=0)


def splitmix64(seed):
    """Its outputs, as Sebastiano Vigna's public domain splitmix64.c has them."""
    state, modulus = seed, 2**64
    while True:
        state = (state + 0x9E3779B97F4A7C15) % modulus
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % modulus
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % modulus
        yield z ^ (z >> 31)


def words_of(key, stream, first, many):
    """Word i of a stream: the i-th output of a generator that the epoch's own generator seeds."""
    keys = splitmix64(key)
    for _ in range(stream):
        next(keys)
    words = splitmix64(next(keys))
    for _ in range(first):
        next(words)
    return [next(words) for _ in range(many)]


def chi_square_bound(freedom):
    """What the statistic exceeds once in a million times (Wilson & Hilferty)."""
    part = 2 / (9 * freedom)
    return freedom * (1 - part + 4.75 * math.sqrt(part)) ** 3


def chi_square(counts):
    expected = counts.sum() / counts.size
    return ((counts - expected) ** 2 / expected).sum()


# Random words.


def test_the_referee_is_splitmix64():
    """The first outputs for seed 0, as published with Java's SplittableRandom and elsewhere."""
    words = splitmix64(0)
    assert [next(words) for _ in range(3)] == [
        0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F,
    ]  # fmt: skip


@pytest.mark.parametrize("key", [0, KEY, 2**64 - 1])
@pytest.mark.parametrize("stream", [0, 1, 5])
@pytest.mark.parametrize(("before", "shape"), [(0, (4, 3)), (9, (2, 5)), (70, (3, 1))])
def test_words_are_those_of_two_generators_in_plain_integers(key, stream, before, shape):
    noise = np.array([key, before], np.uint64)
    words = Reference(np)._words(noise, stream, shape)
    expected = words_of(key, stream, before * shape[1], shape[0] * shape[1])
    assert words.ravel().tolist() == expected


@pytest.mark.parametrize("dropout", [1 / 16, 0.3, 0.5, 0.77, 15 / 16])
def test_dropout_compares_these_words_with_its_share(backend, dropout):
    stream, before, shape = 3, 17, (6, 9)
    ones = backend.xp.ones(shape)
    kernels_for(backend).activate(
        ones, ones, None, backend.asarray(np.array([KEY, before], np.uint64)),
        activation="identity", dropout=dropout, stream=stream,
    )  # fmt: skip
    words = words_of(KEY, stream, before * shape[1], shape[0] * shape[1])
    expected = [word / 2**64 >= dropout for word in words]
    assert (backend.to_host(ones) != 0).ravel().tolist() == expected


# Pictures.


def varied(backend, pictures, how, *, key=KEY, before=0, dtype=np.float64):
    """(N, H, W, C) after one gather of all of them, on the host."""
    many, columns, xp = len(pictures), pictures[0].size, backend.xp
    raw = pictures.reshape(many, columns)
    inputs = backend.asarray(raw)
    x, labels = xp.empty((many, columns), dtype), backend.asarray(np.arange(many))
    noise = backend.asarray(np.array([key, before], np.uint64))
    kernels_for(backend).gather(
        x, xp.empty_like(labels), inputs, labels, labels, xp.empty_like(inputs), None,
        backend.asarray(np.ones(1), dtype), noise, augmentation=how,
    )  # fmt: skip
    assert np.array_equal(backend.to_host(inputs), raw)  # the data themselves stay as they are
    return backend.to_host(x).reshape(many, how.height, how.width, how.channels)


def numbered(many, how):
    """Pictures whose pixels are all different and none of them 0."""
    pixels = how.height * how.width * how.channels
    assert pixels < 256
    picture = np.arange(1, pixels + 1, dtype=np.uint8)
    return np.tile(picture, (many, 1)).reshape(many, how.height, how.width, how.channels)


def moved(picture, down, right):
    """By np.roll, and then what came round is blanked."""
    turned = np.roll(picture, (down, right), (0, 1))
    height, width = picture.shape[:2]
    turned[: max(down, 0)] = 0
    turned[height + min(down, 0) :] = 0
    turned[:, : max(right, 0)] = 0
    turned[:, width + min(right, 0) :] = 0
    return turned


def by_hand(picture, how, word):
    """One picture varied as `Kernels.gather` says, by slices and integers."""
    down = (word & 0xFFFF) * (2 * how.shift + 1) // 2**16 - how.shift
    right = (word >> 16 & 0xFFFF) * (2 * how.shift + 1) // 2**16 - how.shift
    if how.flip and word >> 32 & 1:
        picture = picture[:, ::-1]
    picture = moved(picture, down, right)
    if how.cutout:
        row = (word >> 33 & 0x7FFF) * how.height // 2**15 - how.cutout // 2
        column = (word >> 48 & 0x7FFF) * how.width // 2**15 - how.cutout // 2
        picture[
            max(row, 0) : max(row + how.cutout, 0), max(column, 0) : max(column + how.cutout, 0)
        ] = 0
    return picture


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("shift", "flip", "cutout"), [*product((0, 2), (False, True), (0, 1, 4)), (4, True, 7)]
)
def test_pictures_are_varied_as_by_hand(backend, shift, flip, cutout, dtype, channels):
    how = Augmentation(5, 7, channels, shift, flip, cutout)
    rng = np.random.default_rng(0)
    pictures = rng.integers(1, 256, (60, 5, 7, channels)).astype(dtype)
    found = varied(backend, pictures, how, before=31)
    words = words_of(KEY, STREAM_AUGMENTATION, 31, len(pictures))
    expected = [by_hand(*pair) for pair in zip(pictures, [how] * 60, words, strict=True)]
    assert np.array_equal(found, expected)


def test_every_move_is_whole_and_about_as_frequent(backend):
    how = STILL._replace(shift=2)
    picture = numbered(1, how)[0]
    possible = {
        moved(picture, down, right).tobytes(): (down + 2, right + 2)
        for down, right in product(range(-2, 3), repeat=2)
    }
    assert len(possible) == 25
    counts = np.zeros((5, 5))
    for found in varied(backend, numbered(5000, how), how):
        counts[possible[found.astype(np.uint8).tobytes()]] += 1
    assert chi_square(counts) < chi_square_bound(24)


def test_half_of_all_pictures_are_exact_mirrors(backend):
    how = STILL._replace(flip=True)
    pictures = numbered(2000, how)
    found = varied(backend, pictures, how)
    same = (found == pictures).all(axis=(1, 2, 3))
    mirrored = (found == pictures[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert mirrored.mean() == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 2000))


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_cuts_are_squares_clipped_at_borders(backend, side):
    how = STILL._replace(cutout=side)
    pictures = numbered(3000, how)
    blank = varied(backend, pictures, how)[..., 0] == 0
    for one in blank:
        rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
        height, width = len(rows), len(columns)
        assert one.sum() == height * width == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        for length, ends, whole in ((height, rows, how.height), (width, columns, how.width)):
            assert length == side or (length < side and {ends[0], ends[-1]} & {0, whole - 1})
        assert min(height, width) >= side - side // 2  # its middle is always a pixel
    areas = blank.sum(axis=(1, 2))
    assert areas.max() == side**2
    # A cut reaches over a border where its pixel is nearer than half a side.
    inside = (how.height - side + 1) * (how.width - side + 1) / (how.height * how.width)
    share = (areas == side**2).mean()
    assert share == pytest.approx(inside, abs=4 * math.sqrt(inside * (1 - inside) / 3000) + 1e-9)


def test_cuts_lie_around_every_pixel_alike(backend):
    how = STILL._replace(cutout=1)
    blank = varied(backend, numbered(7000, how), how)[..., 0] == 0
    assert (blank.sum(axis=(1, 2)) == 1).all()
    assert chi_square(blank.sum(axis=0)) < chi_square_bound(34)


def test_parts_of_a_variation_are_independent(backend):
    """Mirror against move: a two by three table of counts."""
    how = STILL._replace(shift=1, flip=True)
    found = varied(backend, numbered(3000, how), how)[..., 0]
    rising = found[:, 2, 3] > found[:, 2, 2]  # the middle is never blank
    down = (found[:, 0] == 0).all(axis=1) * 1 + (found[:, -1] == 0).all(axis=1) * 2
    table = np.array([[((down == d) & (rising == r)).sum() for d in range(3)] for r in (0, 1)])
    assert table.sum() == 3000
    assert chi_square(table) < chi_square_bound(5)


def test_channels_are_varied_together(backend):
    how = Augmentation(4, 5, 3, shift=1, flip=True, cutout=2)
    found = varied(backend, numbered(200, how), how)
    seen = found[..., 0] > 0
    for channel in (1, 2):
        assert np.array_equal(found[..., channel] > 0, seen)
        assert (found[..., channel] - found[..., 0])[seen] == pytest.approx(channel)


# Batches.


def batches(backend, size, *, seed=3, how=None, count=50):
    how = how or STILL._replace(shift=2, flip=True, cutout=3)
    inputs = numbered(count, how).reshape(count, -1)
    examples = Examples(inputs, np.arange(count, dtype=np.int32))
    return Batches(examples, size, AS_THEY_ARE, backend, seed=seed, augmentation=how)


def epoch_of(backend, size, epoch=2, *, start=0, **settings):
    """Each example's picture, by its number."""
    served = batches(backend, size, **settings).epoch(epoch, start=start)
    return {
        int(label): row.tobytes()
        for x, labels, _ in served
        for label, row in zip(backend.to_host(labels), backend.to_host(x).copy(), strict=True)
    }


def test_variations_depend_on_seed_epoch_and_row_whatever_the_batch(backend):
    expected = epoch_of(backend, 50)
    assert len(expected) == 50
    assert len(set(expected.values())) > 40
    for size in (1, 7, 32):
        assert epoch_of(backend, size) == expected


def test_a_restart_amid_an_epoch_meets_the_same_pictures(backend):
    whole = epoch_of(backend, 8)
    rest = epoch_of(backend, 8, start=4)
    assert len(rest) == 50 - 4 * 8
    assert rest.items() <= whole.items()


@pytest.mark.parametrize("other", [{"epoch": 3}, {"seed": 4}])
def test_another_epoch_or_seed_varies_otherwise(backend, other):
    first, second = epoch_of(backend, 10), epoch_of(backend, 10, **other)
    same = sum(first[number] == second[number] for number in first)
    assert first.keys() == second.keys()
    assert same < 10


def test_only_training_varies_pictures():
    rng = np.random.default_rng(0)
    part = Examples(rng.integers(0, 256, (40, 20), np.uint8), np.arange(40, dtype=np.int32) % 2)
    data = Dataset("squares", part, part, ("a", "b"), (4, 5))
    config = TrainConfig(hidden=(3,), val=0.25, shift=1, flip=True, cutout=2, kernels="reference")
    parts = build(config, data, get_backend("cpu"), [])
    assert parts.train_batches.augmentation == Augmentation(4, 5, 1, 1, True, 2)
    assert parts.valid_batches is not None
    assert parts.valid is not None
    assert parts.valid_batches.augmentation is None
    (batch,) = parts.valid_batches.epoch(0)
    np.testing.assert_allclose(batch.x * 255, parts.valid.inputs, atol=1e-4)
