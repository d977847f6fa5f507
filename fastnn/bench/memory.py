"""Peak memory of one competitor, measured in a process of its own.

    python -m fastnn.bench.memory NAME FAMILY BATCH DEVICE PRECISION WIDTHS   prints mebibytes

On a CPU it is the peak of resident memory while the competitor is made and takes its steps, minus
what the process held before that, with libraries imported and the bytes of the examples in memory:
what training by it adds. On a GPU it is what the process takes there, context and pools included.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from fastnn.bench import ours
from fastnn.bench.competitors import Entrant, Problem, Skipped
from fastnn.bench.roster import PEERS

_STEPS = 5


def peak_memory(
    entrants: Iterable[Entrant], batch: int, problem: Problem, *, say: Callable[[str], None] = print
) -> dict[str, float]:
    """Mebibytes by competitor; of those whose process fails `say` tells the reason."""
    found = {}
    for entrant in entrants:
        if entrant.family == "floor":
            continue
        widths = "-".join(map(str, problem.sizes))
        arguments = [
            entrant.key, entrant.family, str(batch), entrant.device, problem.precision, widths,
        ]  # fmt: skip
        command = [sys.executable, "-m", __name__, *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            found[entrant.key] = float(answer.stdout.split()[-1])
        else:
            last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
            say(f"{entrant.key}: memory not measured: {last}")
    return found


def main(key: str, family: str, batch: int, device: str, precision: str, widths: str) -> None:
    """Print the peak of this process."""
    occupied = 0.0 if device == "cpu" else _occupied(device)
    problem = Problem.drawn(tuple(map(int, widths.split("-"))), precision)
    _ = problem.start
    # Nobody else's library may start on the device: its context would be counted, too.
    makers = ours.entrants(device, precision) if family == "fastnn" else PEERS[family](device)
    entrant = next(entrant for entrant in makers if entrant.key == key)
    before = _forget_peak()
    try:
        competitor = entrant.make(problem, batch, device)
    except Skipped as reason:
        raise SystemExit(str(reason)) from None
    competitor.run(_STEPS)
    print((_peak() - before) / 2**20 if device == "cpu" else _occupied(device) - occupied)


def _forget_peak() -> int:
    """Start a new peak where the system can (Linux), and return it, in bytes."""
    with suppress(OSError):  # elsewhere too little may be reported, never too much
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> int:
    """Peak of resident memory in bytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _occupied(device: str) -> float:
    """Mebibytes in use on a GPU, by whomever: process ids mean nothing inside a container."""
    index = device.partition(":")[2] or "0"
    query = ["nvidia-smi", f"--id={index}", "--query-gpu=memory.used"]
    command = [*query, "--format=csv,noheader,nounits"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
