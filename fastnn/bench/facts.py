"""What every recorded figure depends on: date, commit, machine, libraries, overrides."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastnn import __version__
from fastnn.backend import get_backend

_PACKAGES = {
    "torch": ("torch",), "jax": ("jax", "jaxlib"), "sklearn": ("scikit-learn", "scipy"),
}  # fmt: skip

# Environment variables by which somebody made a library on the way slower, faster or less exact.
_OVERRIDES = ("OPENBLAS", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "NPY_", "XLA_", "JAX_",
              "TORCH", "CUPY_", "NVIDIA_TF32", "CUDA_VISIBLE")  # fmt: skip
# Set by threadpoolctl, torch and this package while peers are imported: nobody's choice.
_SET_BY_LIBRARIES = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "XLA_PYTHON_CLIENT_PREALLOCATE")


def machine_facts(
    devices: Iterable[str] = ("cpu",), precision: str = "float32", families: Iterable[str] = ()
) -> dict[str, Any]:
    """What a reader needs to judge or repeat a measurement on these devices, of these families."""
    packages = [name for family in families for name in _PACKAGES.get(family, ())]
    found: dict[str, Any] = {
        "date": date.today().isoformat(),
        "fastnn": __version__,
        "commit": commit(),
        "processor": processor(),
        "precision": precision,
        "overrides": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_OVERRIDES) and name not in _SET_BY_LIBRARIES
        },
        "peers": {name: number for name in packages if (number := _version(name))},
    }
    if hasattr(os, "getloadavg"):
        found["load_before"] = round(os.getloadavg()[0], 2)
    for device in devices:
        found |= get_backend(device).describe()
        if device != "cpu":
            found["nvidia_driver"] = nvidia_driver()
    return found


def caveats(facts: Mapping[str, Any]) -> list[str]:
    """What may spoil the figures, for whoever has forgotten it or does not know."""
    found = []
    if facts["overrides"]:
        settings = " ".join(f"{name}={value}" for name, value in facts["overrides"].items())
        found.append(f"set in the environment, and recorded with the figures: {settings}")
    busy = facts.get("load_before", 0) > 0.5 * float(facts["cores"])
    if busy and facts.get("blas_threads") != "1":
        found.append(
            f"this machine was busy during the last minute (load {facts['load_before']} on "
            f"{facts['cores']} cores); if other processes go on, thread pools wait for each other "
            "and may take a hundred times as long: wait, or set OPENBLAS_NUM_THREADS=1"
        )
    return found


def caption(facts: Mapping[str, Any]) -> str:
    """Machine and versions in a sentence, for under a table or a picture."""
    parts = [f"{facts['processor']}, {facts['cores']} cores"]
    if "gpu" in facts:
        parts.append(f"{facts['gpu']}, CuPy {facts['cupy']} with CUDA {facts['cuda_runtime']}")
    parts += [
        f"fastnn {facts['fastnn']}",
        f"NumPy {facts['numpy']} with {facts['blas']} ({facts['blas_architecture']} kernels, "
        f"{facts['blas_threads']} threads)",
    ]
    names = {"torch": "PyTorch", "jax": "JAX", "scikit-learn": "scikit-learn"}
    parts += [
        f"{name} {facts['peers'][package]}"
        for package, name in names.items()
        if package in facts["peers"]
    ]
    parts.append(f"Python {facts['python']}")
    parts.append(f"products in {facts['precision']}")
    return f"Measured on {facts['date']}: {', '.join(parts)}."


def commit() -> str:
    """The commit of this source, "-dirty" if changed since; "" where it is no checkout."""
    here = Path(__file__).parent
    tracked = _answer(["git", "-C", str(here), "ls-files", "--error-unmatch", "__init__.py"])
    if not tracked:  # installed, or in a virtual environment inside somebody else's checkout
        return ""
    return _answer(["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude", "*"])


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")


def nvidia_driver() -> str:
    """The driver's version as nvidia-smi tells it, or ""."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return _answer(query).partition("\n")[0]


def _answer(command: list[str]) -> str:
    """What a command prints, or "" if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
