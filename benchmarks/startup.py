"""How long fastnn and its peers take to start, and how much disk they fill.

    python -m benchmarks.startup [--save]

Every command is a fresh process; rounds alternate between the commands, medians are printed. The
*first step* is a training step of the default network at batch 128, imports and compilation (from
whatever the library keeps on disk) included. Sizes are those of the files that `pip` installed,
with all that the package requires.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

import fastnn
from benchmarks.records import facts_with_warnings, write

FIRST_STEP = """
import numpy as np
x, labels = np.zeros((128, 784), np.uint8), np.zeros(128, np.int64)
"""
FASTNN = (
    FIRST_STEP
    + """
import fastnn
from fastnn.kernels import kernels_for
backend = fastnn.get_backend("cpu")
kernels = kernels_for(backend, {kernels!r})
examples = fastnn.Examples(x, labels)
batches = fastnn.Batches(examples, 128, fastnn.Scaling.fit(x), backend, kernels=kernels)
model = fastnn.MLP((784, 512, 256, 10), backend, rng=np.random.default_rng(0), kernels=kernels)
optimizer = fastnn.Adam(model.params, kernels=kernels)
trainer = fastnn.Trainer(model, optimizer, lambda step: 1e-3, kernels={kernels!r})
trainer.fit(batches, epochs=1)
"""
)
TORCH = (
    FIRST_STEP
    + """
import torch
from torch import nn
network = nn.Sequential(
    nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
)
optimizer = torch.optim.Adam(network.parameters(), fused=True)
z = network(torch.from_numpy(x).float() / 255)
nn.functional.cross_entropy(z, torch.from_numpy(labels)).backward()
optimizer.step()
"""
)
JAX = (
    FIRST_STEP
    + """
import jax
from jax import numpy as jnp

def loss_of(layers, x, labels):
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
    z = x @ layers[-1][0] + layers[-1][1]
    right = jnp.take_along_axis(z, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - right)

@jax.jit
def step(layers, m, v, x, labels):
    g = jax.grad(loss_of)(layers, x / 255.0, labels)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    return jax.tree.map(lambda p, m, v: p - 1e-3 * m / (jnp.sqrt(v) + 1e-8), layers, m, v), m, v

rng, sizes = np.random.default_rng(0), (784, 512, 256, 10)
layers = [
    (rng.standard_normal((i, o), np.float32) * 0.05, np.zeros(o, np.float32))
    for i, o in zip(sizes, sizes[1:])
]
zeros = jax.tree.map(np.zeros_like, layers)
jax.block_until_ready(step(layers, zeros, zeros, x, labels))
"""
)
SKLEARN = (
    FIRST_STEP
    + """
from sklearn.neural_network import MLPClassifier
network = MLPClassifier((512, 256))
network.partial_fit((x / 255).astype(np.float32), labels, classes=np.arange(10))
"""
)

COMMANDS = {
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import fastnn": ["-c", "import fastnn"],
    "import fastnn; fastnn.train": ["-c", "import fastnn; fastnn.train"],
    "import jax": ["-c", "import jax"],
    "import sklearn.neural_network": ["-c", "import sklearn.neural_network"],
    "import torch": ["-c", "import torch"],
    "fastnn --help": ["-m", "fastnn", "--help"],
    "fastnn train --help": ["-m", "fastnn", "train", "--help"],
    "first step, fastnn NumPy": ["-c", FASTNN.format(kernels="reference")],
    "first step, fastnn": ["-c", FASTNN.format(kernels="captured")],
    "first step, torch": ["-c", TORCH],
    "first step, scikit-learn": ["-c", SKLEARN],
    "first step, JAX": ["-c", JAX],
}
SIZES = {
    "fastnn": ["fastnn"],
    "fastnn with the numba extra": ["fastnn", "numba"],
    "scikit-learn": ["scikit-learn"],
    "JAX": ["jax"],
    "torch, CPU build": ["torch"],
}


def installed_bytes(packages: list[str]) -> int | None:
    """Of these packages and all that they require, each counted once; None if one is missing."""
    seen: dict[str, int] = {}
    waiting = list(packages)
    while waiting:
        name = re.split(r"[^A-Za-z0-9._-]", waiting.pop().strip(), maxsplit=1)[0]
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            if name in packages:
                return None
            continue  # required on other systems only
        files = [found.locate_file(file) for file in found.files or ()]
        seen[key] = sum(file.stat().st_size for file in files if file.is_file())
        waiting += [need for need in found.requires or () if "extra ==" not in need]
    return sum(seen.values())


def source_bytes() -> int:
    """The package itself: installed for development, it has no files of its own."""
    folder = Path(fastnn.__file__).parent
    files = (file for file in folder.rglob("*") if "__pycache__" not in file.parts)
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(options.rounds + 1):
        for name, command in list(COMMANDS.items()):
            if name not in times:
                continue
            began = time.perf_counter()
            answer = subprocess.run([sys.executable, *command], capture_output=True, text=True)
            if answer.returncode:
                reason = (answer.stderr.strip().splitlines() or ["no message"])[-1]
                print(f"{name}: not measured: {reason}")
                del times[name]
            elif round_number:  # the first round fills caches, on disk and of kernels
                times[name].append((time.perf_counter() - began) * 1e3)
    medians = {name: float(np.median(found)) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{name:30} {median:6.0f} ms   {median / medians['import numpy']:4.2f} of numpy")
    megabytes = {}
    for name, packages in SIZES.items():
        size = installed_bytes(packages)
        if size is not None:
            megabytes[name] = (size + source_bytes() * ("fastnn" in packages)) / 1e6
            print(f"{name:30} {megabytes[name]:6.0f} MB")
    if options.save:
        record = {"milliseconds": medians, "megabytes": megabytes}
        write("startup", {"facts": facts_with_warnings(("torch", "jax", "sklearn")), **record})


if __name__ == "__main__":
    main()
