"""Pictures in the plane: principal components against an SVD, and what may be missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from fastnn.analysis.embedding import embed, principal_components
from fastnn.errors import ConfigError


@pytest.fixture
def bare(monkeypatch):
    """As if neither scikit-learn nor umap-learn were installed."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "umap", None)


@pytest.mark.parametrize(("count", "columns"), [(40, 6), (5, 30), (200, 2)])
def test_components_are_those_of_an_svd(count, columns):
    rng = np.random.default_rng(count)
    features = (rng.normal(size=(count, columns)) * np.arange(1, columns + 1) + 50).astype("f4")
    centred = features.astype(float) - features.astype(float).mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    found = principal_components(features, 2)
    for column in range(2):
        expected = left[:, column] * sizes[column]
        sign = np.sign(expected @ found[:, column])
        np.testing.assert_allclose(found[:, column], sign * expected, atol=1e-8 * sizes[0])


def test_a_turned_plane_is_found_again():
    """A long and a short axis, turned into five dimensions and shifted: distances stay."""
    rng = np.random.default_rng(0)
    plane = np.stack([rng.uniform(-9, 9, 80), rng.uniform(-1, 1, 80)], axis=1)
    turned, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    found = principal_components(plane @ turned[:2] + [1, -2, 3, -4, 5], 3)
    for points in (plane, found):
        points -= points.mean(axis=0)
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-7)
    pairs = [np.linalg.norm(p[:, None] - p[None], axis=2) for p in (plane, found[:, :2])]
    np.testing.assert_allclose(*pairs, atol=1e-7)
    assert np.abs(found[:, 0]).max() > 5 > 2 > np.abs(found[:, 1]).max()


def test_signs_follow_the_greatest_entry_of_a_direction():
    steps = np.arange(5.0)[:, None]
    up = principal_components(steps * [1, 3, -2], 1)[:, 0]  # 3 is the greatest: it points up
    assert (np.diff(up) > 0).all()
    down = principal_components(steps * [1, -3, 2], 1)[:, 0]
    np.testing.assert_allclose(down, -up, atol=1e-9)


@pytest.mark.parametrize(
    "features", [np.ones((1, 4)), np.full((6, 3), 7.5, np.float32), np.zeros((4, 1))]
)
def test_examples_that_are_all_alike_lie_in_one_point(features):
    np.testing.assert_array_equal(principal_components(features, 2), np.zeros((len(features), 2)))
    assert embed(features).method == "pca"


def test_one_feature_is_a_line():
    found = principal_components(np.array([[3.0], [5.0], [10.0]], np.float32), 2)
    np.testing.assert_allclose(found, [[-3, 0], [-1, 0], [4, 0]], atol=1e-12)


def test_without_extras_pca_is_what_there_is(bare):
    features = np.random.default_rng(0).normal(size=(150, 4))
    points, method = embed(features)
    assert method == "pca"
    np.testing.assert_array_equal(points, principal_components(features, 2))
    for method, package in (("tsne", "scikit-learn"), ("umap", "umap-learn")):
        with pytest.raises(ConfigError, match=f"{method} needs .*pip install {package}"):
            embed(features, method)


def test_unknown_methods_and_too_few_examples_are_told():
    with pytest.raises(ConfigError, match="'tsen' is not one of auto, pca, tsne, umap"):
        embed(np.zeros((3, 2)), "tsen")
    if find_spec("sklearn"):
        with pytest.raises(ConfigError, match="tsne needs at least 16 examples, found 3; use pca"):
            embed(np.zeros((3, 2)), "tsne")


@pytest.mark.parametrize(("method", "module"), [("tsne", "sklearn"), ("umap", "umap")])
def test_neighbours_stay_neighbours(method, module):
    """Three far groups of 40: each point's nearest neighbour is of its own group."""
    pytest.importorskip(module, reason=f"{method} needs {module}, which is not installed")
    rng = np.random.default_rng(0)
    groups = np.arange(120) % 3
    features = rng.normal(size=(120, 8)) + 40 * np.eye(8)[groups]
    points, found = embed(features, method)
    assert found == method
    assert points.shape == (120, 2)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(groups[distances.argmin(axis=1)], groups)
    again = embed(features)  # auto takes what there is, and the seed decides the rest
    if again.method == method:
        np.testing.assert_array_equal(again.points, points)
    else:
        assert again.method == "umap"


@pytest.mark.parametrize(
    "features", [np.arange(120.0)[:, None], np.ones((120, 5)), np.eye(4)[np.arange(30) % 4]]
)
def test_tsne_of_odd_features(features):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    points, _ = embed(features, "tsne")
    assert points.shape == (len(features), 2)
    assert np.isfinite(points).all()


@pytest.mark.parametrize(("examples", "features"), [(5, 40), (1, 7), (39, 40)])
def test_many_features_have_the_same_components_by_the_smaller_product(examples, features):
    x = np.random.default_rng(0).normal(size=(examples, features))
    centred = x - x.mean(axis=0)
    _, scales, directions = np.linalg.svd(centred, full_matrices=False)
    found = principal_components(x, 3)
    kept = min(3, examples - 1)
    expected = np.abs(centred @ directions[:kept].T)
    np.testing.assert_allclose(np.abs(found[:, :kept]), expected, atol=1e-8)
    np.testing.assert_allclose(found[:, kept:], 0, atol=1e-6)
    assert scales[0] >= 0


def test_another_package_of_the_same_name_is_not_taken_for_umap(tmp_path, monkeypatch):
    (tmp_path / "umap").mkdir()
    (tmp_path / "umap" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    found = embed(np.random.default_rng(0).normal(size=(120, 5)), "auto")
    assert found.method in ("pca", "tsne")
