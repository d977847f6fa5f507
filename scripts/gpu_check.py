"""Everything that only a GPU can tell, in one command, for anyone who has one.

    python -m scripts.gpu_check --out DIR [--only environment,parity,...]

Needs CuPy, nvmath-python and the dev group; real data where FASTNN_DATA names them, else the drawn
garments; no network. Each part writes DIR/PART.json; a table is printed. The exit status is 1 when
a part fails. All parts together are meant to take under nine minutes; CONTRIBUTING.md says where
results are committed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastnn.backend import Backend, get_backend
from fastnn.cli.doctor import findings
from fastnn.data.examples import Dataset
from fastnn.data.source import load_dataset
from fastnn.errors import FastNNError
from fastnn.kernels.sources import rows_source
from scripts.gpu.breakdown import breakdown
from scripts.gpu.parity import EVERYTHING, VARIED, parity
from scripts.gpu.probe import probe

FIRST_STEP = """
import sys, time
began = float(sys.argv[1])
import fastnn
data = fastnn.load_dataset("garments", limit=1000)
drawn = time.time()
config = fastnn.TrainConfig(device=sys.argv[2], epochs=1, val=0)
fastnn.train(config, data=data)
print(time.time() - began, drawn - began)
"""


class Check:
    """The parts, sharing one backend and one data set. Each returns values for its JSON file."""

    def __init__(self, backend: Backend, out: Path) -> None:
        self.backend, self.out = backend, out
        self._data: Dataset | None = None

    @property
    def data(self) -> Dataset:
        """Fashion-MNIST, or what is there in its place."""
        if self._data is None:
            self._data = load_dataset("auto", warn=print)
        return self._data

    def environment(self) -> dict[str, Any]:
        """Device, driver, versions, and what `fastnn doctor` finds."""
        facts: dict[str, Any] = dict(self.backend.describe())
        facts["doctor"] = [f"{f.topic}: {f.state}: {f.text}" for f in findings()]
        if shutil.which("nvidia-smi"):
            query = "name,driver_version,memory.total,clocks.max.sm,mig.mode.current"
            answer = _run(["nvidia-smi", f"--query-gpu={query}", "--format=csv"])
            facts["nvidia-smi"] = answer.stdout.strip().splitlines()
        return facts

    def probe(self) -> dict[str, Any]:
        """Epilogues, products, launches and ceilings."""
        return probe(self.backend)

    def tests(self) -> dict[str, Any]:
        """The tests that need a GPU; that all were skipped is a failure."""
        found = _verdict(_run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]))
        found["ok"] = found["ok"] and " passed" in found["said"][-1]
        return found

    def sanitizer(self) -> dict[str, Any]:
        """Short trainings under compute-sanitizer: no access out of bounds.

        Its reports on cuBLAS's own kernels can be false (CUDA release notes, 13.4), so only
        fastnn's count; and calls that CuPy makes to see what the driver has are no errors.
        """
        tool = shutil.which("compute-sanitizer")
        if tool is None:
            return {"skipped": "compute-sanitizer is not installed"}
        command = [tool, "--error-exitcode", "9", "--report-api-errors", "no"]
        for name in ("fastnn_", *re.findall(r"__global__ void (\w+)", rows_source())):
            command += ["--kernel-name", f"kernel_substring={name}"]
        command += [sys.executable, "-m", "fastnn", "train", "--device", str(self.backend)]
        command += ["--dataset", "garments", "--limit-train", "700", "--epochs", "3", "--quiet"]
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            command += ["--out", folder]
            found["plain"] = _verdict(_run(command))
            settings = Path(folder) / "everything.json"
            for norm in ("layer", "batch"):
                settings.write_text(json.dumps(EVERYTHING | VARIED | {"norm": norm}))
                found[norm] = _verdict(_run([*command, "--config", str(settings)]))
        return {"ok": all(part["ok"] for part in found.values()), **found}

    def parity(self) -> dict[str, Any]:
        """Plain, fused and captured steps against the CPU, in float32 and tf32."""
        return parity(self.backend, self.data.limited(12_800, 0))

    def bench(self) -> dict[str, Any]:
        """Throughput per batch size beside torch and JAX, in both precisions, and the CPU's."""
        found = {}
        for precision, sizes in (("float32", "32,128,512,2048,8192"), ("tf32", "128,2048,8192")):
            record = self.out / f"throughput-{precision}.json"
            command = [sys.executable, "-m", "fastnn", "bench", "--rounds", "5", "--peers"]
            command += ["torch,jax", "--batch-sizes", sizes, "--precision", precision]
            command += ["--save", str(record)]
            found[precision] = _verdict(_run(command))
        return {"ok": all(part["ok"] for part in found.values()), **found}

    def breakdown(self) -> dict[str, Any]:
        """Microseconds of each launch of a step."""
        return breakdown(self.backend, self.data)

    def start(self) -> dict[str, Any]:
        """Seconds from the start of a process to the end of its first eight steps."""
        seconds = []
        for _ in range(3):  # the first fills CuPy's kernel cache
            answer = _run([sys.executable, "-c", FIRST_STEP, str(time.time()), str(self.backend)])
            if answer.returncode:
                return _verdict(answer)
            seconds.append([float(word) for word in answer.stdout.split()])
        return {"seconds, of which imports and data": seconds}

    def accuracy(self) -> dict[str, Any]:
        """Seconds of training to 88, 89 and 90 % test accuracy on Fashion-MNIST."""
        from scripts.time_to_accuracy import measure

        if "FASTNN_DATA" not in os.environ:
            return {"skipped": "FASTNN_DATA does not name the real data"}
        return {p: measure(str(self.backend), 5, p) for p in ("float32", "tf32")}


PARTS = (
    "environment", "probe", "parity", "breakdown", "tests", "sanitizer", "start", "accuracy",
    "bench",
)  # fmt: skip


def main() -> None:
    """Run the parts, keep going after a failure, and say at the end what failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parts = ",".join(PARTS)
    parser.add_argument("--only", default=parts, help=f"parts to run [default: {parts}]")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    try:
        backend = get_backend("cuda")
    except FastNNError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.exit(1, f"error: --out {options.out}: {error.strerror}\n")
    check = Check(backend, options.out)
    failed = [name for name in wanted if not _part(name, getattr(check, name), check)]
    print(f"failed: {', '.join(failed)}" if failed else "all parts passed")
    sys.exit(1 if failed else 0)


def _part(name: str, run: Callable[[], dict[str, Any]], check: Check) -> bool:
    """Run one part, write and print what it found; whether it passed."""
    print(f"== {name}", flush=True)
    began = time.perf_counter()
    try:
        with check.backend.activate():
            found = run()
    except Exception as error:  # one part's failure must not cost the others
        found = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    found["seconds"] = time.perf_counter() - began
    path = check.out / f"{name}.json"
    path.write_text(json.dumps(found, indent=2, default=float) + "\n", encoding="utf-8")
    for line in _lines(found):
        print(line)
    return bool(found.get("ok", True))


def _lines(value: Any, indent: str = "  ") -> list[str]:
    """Nested values as an indented table."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    lines = []
    for key, item in value.items():
        if isinstance(item, dict | list):
            lines += [f"{indent}{key}", *_lines(item, indent + "  ")]
        else:
            text = f"{item:.4g}" if isinstance(item, float) else str(item)
            lines.append(f"{indent}{key!s:<44} {text}")
    return lines


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _verdict(answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Whether a command succeeded, and the end of what it said."""
    said = (answer.stdout + answer.stderr).strip().splitlines()[-25:]
    return {"ok": answer.returncode == 0, "status": answer.returncode, "said": said}


if __name__ == "__main__":
    main()
