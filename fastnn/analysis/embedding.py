"""Many numbers an example as two, to be drawn: by PCA, and by t-SNE or UMAP where installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import ConfigError

METHODS = ("auto", "pca", "tsne", "umap")
_PACKAGES = {"umap": "umap-learn", "tsne": "scikit-learn"}  # other packages are called umap, too
FEWEST = 16  # examples for t-SNE and UMAP, which look at a dozen neighbours of each
_KEPT = 50  # principal components that t-SNE and UMAP start from, as their authors advise


class Embedding(NamedTuple):
    """Points (N, 2) and what made them: pca, tsne or umap."""

    points: NDArray[np.float64]
    method: str


def embed(features: NDArray[Any], method: str = "auto", seed: int = 0) -> Embedding:
    """Features (N, H) in the plane. `auto` takes UMAP or t-SNE where installed, else PCA."""
    require_method(method)
    if method == "auto":
        method = richest(len(features))
    if method != "pca" and len(features) < FEWEST:
        raise ConfigError(
            f"method: {method} needs at least {FEWEST} examples, found {len(features)}; use pca"
        )
    reduced = principal_components(features, max(2, min(_KEPT, features.shape[1])))
    if method == "pca" or not reduced.any():  # examples that are all alike are one point
        return Embedding(reduced[:, :2], method)
    return Embedding(_neighbours_kept(reduced, method, seed), method)


def require_method(method: str) -> None:
    """ConfigError where this is no method, or one whose package is not installed."""
    if method not in METHODS:
        raise ConfigError(f"method: {method!r} is not one of {', '.join(METHODS)}")
    package = _PACKAGES.get(method)
    if package and not _installed(package):
        raise ConfigError(
            f"method: {method} needs {package}, which is not installed; pip install {package}"
        )


def richest(examples: int) -> str:
    """The best method that can be had here for so many examples."""
    return next(iter(installed()), "pca") if examples >= FEWEST else "pca"


def installed() -> list[str]:
    """The methods beyond PCA that can be had here, the best first."""
    return [name for name, package in _PACKAGES.items() if _installed(package)]


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def principal_components(features: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Projections (N, count) on the directions of greatest variance, greatest first.

    Each direction's sign is such that its entry of greatest magnitude is positive, so that pictures
    do not flip from one machine to the next. Where there are fewer directions, the rest is 0.
    """
    centred = features - features.mean(axis=0, dtype=np.float64)
    if centred.shape[0] >= centred.shape[1]:
        _, directions = np.linalg.eigh(centred.T @ centred)
        leading = directions[:, ::-1][:, :count]
    else:  # of many features: the same directions, from the smaller of both products
        _, mixtures = np.linalg.eigh(centred @ centred.T)
        leading = centred.T @ mixtures[:, ::-1][:, :count]
        leading /= np.maximum(np.linalg.norm(leading, axis=0), np.finfo(np.float64).tiny)
    largest = np.take_along_axis(leading, np.abs(leading).argmax(axis=0)[None], axis=0)
    projected: NDArray[np.float64] = centred @ (leading * np.where(largest < 0, -1.0, 1.0))
    return np.pad(projected, ((0, 0), (0, count - projected.shape[1])))


def _neighbours_kept(reduced: NDArray[np.float64], method: str, seed: int) -> NDArray[np.float64]:
    """t-SNE (van der Maaten and Hinton 2008) or UMAP (McInnes et al. 2018) in the plane."""
    if method == "umap":
        from umap import UMAP

        model = UMAP(random_state=seed, n_jobs=1)
    else:
        from sklearn.manifold import TSNE

        # What init="pca" would be; that fails where there is one feature only. Half of
        # scikit-learn's steps: some thousand points hardly move after these.
        start = (reduced[:, :2] * (1e-4 / reduced[:, 0].std())).astype(np.float32)
        model = TSNE(
            random_state=seed, init=start, perplexity=min(30.0, (len(reduced) - 1) / 3),
            max_iter=500, n_jobs=-1,
        )  # fmt: skip
    points: NDArray[np.float64] = np.asarray(model.fit_transform(reduced), np.float64)
    return points
