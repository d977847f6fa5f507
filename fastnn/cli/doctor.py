"""`fastnn doctor`: what this machine can do, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import typer

from fastnn.cli import output
from fastnn.cli.options import Json

_COLOURS = {"ok": "green", "missing": "dim", "warning": "bold yellow", "broken": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `missing` is optional and absent; `broken` makes the exit code 1."""

    topic: str
    state: Literal["ok", "missing", "warning", "broken"]
    text: str


def doctor(json: Json = False) -> None:
    """Check Python, BLAS, GPU, data and gradients."""
    with output.exit_codes(as_json=json):
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False)
        broken = False
        for finding in findings():
            broken = broken or finding.state == "broken"
            if json:
                output.emit("finding", asdict(finding))
            else:
                state = (f"{finding.state:8}", _COLOURS[finding.state])
                line = Text.assemble(f"{finding.topic:14} ", state, " ", finding.text)
                console.print(line, soft_wrap=True)
        if json:
            output.emit("done", {"broken": broken})
        if broken:
            raise typer.Exit(1)


def findings() -> Iterator[Finding]:
    from fastnn import __version__

    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("fastnn", "ok", f"{__version__} on Python {version} ({sys.executable})")
    yield from _blas()
    yield _compiled()
    yield from _gpu()
    yield from _data()
    yield _gradients()


def _blas() -> Iterator[Finding]:
    import numpy as np

    from fastnn import blas

    facts, cores = blas.facts(), blas.usable_cores()
    yield Finding("numpy", "ok", np.__version__)
    yield Finding(
        "blas",
        "ok",
        f"{facts['blas']}, {facts['blas_architecture']} kernels, {facts['blas_threads']} threads "
        f"on {cores} cores",
    )
    if hasattr(os, "getloadavg"):
        load, threads = os.getloadavg()[0], facts["blas_threads"]
        if threads.isdigit() and int(threads) > 1 and load > 0.5 * cores:
            yield Finding(
                "blas",
                "warning",
                f"other processes are busy here (load {load:.1f} on {cores} cores), and "
                f"{threads} BLAS threads would wait for each other: OPENBLAS_NUM_THREADS=1 may be "
                "many times as fast",
            )
    forced = os.environ.get("OPENBLAS_CORETYPE")
    if forced:
        natural = _architecture_without_override()
        if natural not in (None, facts["blas_architecture"]):
            yield Finding(
                "blas",
                "warning",
                f"OPENBLAS_CORETYPE={forced} holds OpenBLAS at {facts['blas_architecture']} "
                f"although this CPU can run {natural}: unset it, products may be nearly twice as "
                "fast",
            )


def _architecture_without_override() -> str | None:
    """What OpenBLAS picks by itself, asked of a fresh process: it looks only once, at loading."""
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    code = "from fastnn import blas; print(blas.facts()['blas_architecture'])"
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def _compiled() -> Finding:
    """Whether the CPU has fused kernels: Numba must work, not only be there."""
    from importlib.util import find_spec

    from fastnn.kernels.cpu import Compiled, compiled

    kernels = compiled()
    if isinstance(kernels, Compiled):
        import numba

        text = f"Numba {numba.__version__}: an epoch is one compiled function"
        return Finding("fused kernels", "ok", text)
    state: Literal["missing", "broken"] = "broken" if find_spec("numba") else "missing"
    return Finding("fused kernels", state, f"{kernels}: training is slower without")


def _gpu() -> Iterator[Finding]:
    from fastnn.backend import get_backend
    from fastnn.errors import DeviceError
    from fastnn.kernels import kernels_for
    from fastnn.kernels.cuda import Fused

    try:
        backend = get_backend("cuda")
        facts, kernels = backend.describe(), kernels_for(backend)
    except DeviceError as error:
        # What is there but does not work is somebody's plan that failed.
        yield Finding("gpu", "missing" if error.absent else "broken", str(error))
        return
    yield Finding(
        "gpu",
        "ok",
        f"{facts['gpu']}, CuPy {facts['cupy']} with CUDA {facts['cuda_runtime']}, "
        f"driver for CUDA {facts['cuda_driver']}",
    )
    why = kernels.why_not_captured if isinstance(kernels, Fused) else None
    if why is None:
        yield Finding("cuda graphs", "ok", "a training step is captured once and replayed")
    else:
        yield Finding("cuda graphs", "missing", f"steps are launched kernel by kernel: {why}")


def _data() -> Iterator[Finding]:
    from fastnn.data.catalog import NAMED_SETS, cache_folder, find_folder

    yield Finding("cache", "ok", str(cache_folder()))
    for name, known in NAMED_SETS.items():
        found = find_folder(known)
        if found is None:
            yield Finding("data", "missing", f"{name}: get it with: fastnn data fetch {name}")
        else:
            yield Finding("data", "ok", f"{name} in {found}")


def _gradients() -> Finding:
    """Backpropagation against finite differences on a small network, under a second."""
    import numpy as np

    from fastnn.backend import get_backend
    from fastnn.nn.gradcheck import check_gradients
    from fastnn.nn.model import MLP

    began = time.perf_counter()
    rng = np.random.default_rng(0)
    model = MLP((8, 7, 6, 4), get_backend("cpu"), rng=rng, dtype=np.float64)
    model.params.vector[...] = rng.standard_normal(model.params.layout.size)
    x, labels = rng.standard_normal((9, 8)), rng.integers(0, 4, 9, dtype=np.int32)
    worst = check_gradients(model, x, labels).worst
    seconds = time.perf_counter() - began
    state: Literal["ok", "broken"] = "ok" if worst < 1e-6 else "broken"
    return Finding("gradients", state, f"largest relative error {worst:.1e} ({seconds:.2f} s)")
