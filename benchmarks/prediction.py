"""Classes of raw bytes: rows a second for 1, 100 and 60,000 rows, and how long one row takes.

    python -m benchmarks.prediction [--save]

Everybody has the default network with the same weights, gets the bytes of images (N, 784) and
returns class codes (N,) as a NumPy array. Rounds alternate between them; medians are printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from math import ceil

import numpy as np

from benchmarks.records import facts_with_warnings, write
from fastnn.backend import get_backend
from fastnn.bench import jax_peer, torch_peers
from fastnn.bench.competitors import EXAMPLES, SIZES, Problem, Skipped, imported
from fastnn.bench.ours import paths
from fastnn.data.examples import Schema
from fastnn.data.scaling import Scaling
from fastnn.kernels import kernels_for
from fastnn.nn.model import MLP
from fastnn.training.classifier import Classifier

Predict = Callable[[np.ndarray], np.ndarray]
COUNTS = (1, 100, EXAMPLES)
CHUNK = 1024  # rows at a time for torch and JAX, as fastnn does by itself: faster than all at once
PAUSE = 0.11  # seconds in which thread pools fall asleep


def fastnn(problem: Problem, kernels: str) -> Predict:
    backend = get_backend("cpu")
    chosen = kernels_for(backend, kernels)
    model = MLP(problem.sizes, backend, rng=np.random.default_rng(0), kernels=chosen)
    schema = Schema(tuple("0123456789"), (SIZES[0],), True, ())
    return Classifier(model, Scaling.fit(problem.examples.inputs), schema).predict


def torch(problem: Problem) -> Predict:
    torch = imported("torch", "torch")
    network = torch_peers.network(problem, torch.device("cpu"))

    def predict(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = [
                network(torch.from_numpy(rows[at : at + CHUNK]).float().div_(255)).argmax(dim=1)
                for at in range(0, len(rows), CHUNK)
            ]
            return torch.cat(found).numpy()

    return predict


def jax(problem: Problem) -> Predict:
    jax = imported("jax", "jax")
    layers = jax.device_put(problem.start)
    classes = jax.jit(lambda layers, x: jax_peer.logits(layers, x / 255.0).argmax(axis=1))

    def predict(rows: np.ndarray) -> np.ndarray:
        chunks = [classes(layers, rows[at : at + CHUNK]) for at in range(0, len(rows), CHUNK)]
        return np.concatenate([np.asarray(chunk) for chunk in chunks])

    return predict


def sklearn(problem: Problem) -> Predict:
    neural_network = imported("sklearn.neural_network", "scikit-learn")
    network = neural_network.MLPClassifier(problem.sizes[1:-1])
    network.partial_fit(problem.floats[:10], np.arange(10), classes=np.arange(10))
    network.coefs_ = [w.copy() for w, _ in problem.start]
    network.intercepts_ = [b.copy() for _, b in problem.start]
    scale = np.float32(1 / 255)
    return lambda rows: network.predict(rows * scale)


def contestants(problem: Problem) -> Iterator[tuple[str, Predict]]:
    for name, kernels in paths("cpu").items():
        if kernels != "captured":  # that is a way to train
            yield {"fastnn fused": "fastnn"}.get(name, name), fastnn(problem, kernels)
    for name, make in {"torch": torch, "JAX": jax, "scikit-learn": sklearn}.items():
        try:
            yield name, make(problem)
        except Skipped as reason:
            print(f"{name}: not measured: {reason}")


def measured(everybody: dict[str, Predict], rows: np.ndarray, rounds: int) -> dict[str, list]:
    """Seconds a call, many calls a round where they are short."""
    times: dict[str, list[float]] = {name: [] for name in everybody}
    for round_number in range(rounds):
        names = list(everybody)
        shift = round_number % len(names)
        for name in names[shift:] + names[:shift]:
            predict = everybody[name]
            time.sleep(PAUSE)
            predict(rows)
            calls = ceil(0.1 / max(timed(predict, rows), 1e-6))
            times[name] += [timed(predict, rows) for _ in range(min(calls, 2000))]
    return times


def timed(predict: Predict, rows: np.ndarray) -> float:
    began = time.perf_counter()
    predict(rows)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    problem = Problem.drawn()
    images = problem.examples.inputs
    everybody = dict(contestants(problem))
    expected = everybody["fastnn NumPy"](images[:1000])
    for name, predict in everybody.items():
        if (same := float(np.mean(predict(images[:1000]) == expected))) < 0.999:
            raise SystemExit(f"{name} agrees on {same:.1%} of the classes only")
    found: dict[str, dict[str, float]] = {name: {} for name in everybody}
    for count in COUNTS:
        times = measured(everybody, images[:count], options.rounds)
        for name, seconds in times.items():
            found[name][f"{count} rows a second"] = count / float(np.median(seconds))
            if count == 1:
                p50, p99 = (float(q) * 1e6 for q in np.quantile(seconds, (0.5, 0.99)))
                found[name] |= {"one row, us, p50": p50, "one row, us, p99": p99}
    for name, figures in found.items():
        print(f"{name:14}", ", ".join(f"{what} {value:,.0f}" for what, value in figures.items()))
    if options.save:
        families = ("torch", "jax", "sklearn")
        write("prediction", {"facts": facts_with_warnings(families), "contestants": found})


if __name__ == "__main__":
    main()
