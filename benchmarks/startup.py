"""How long fastnn takes to start: `import fastnn`, `fastnn --help`, and Python and NumPy beside it.

    python -m benchmarks.startup [--save]

Every command is a fresh process; rounds alternate between the commands, medians are printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np

from benchmarks.records import facts_with_warnings, write

COMMANDS = {
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import fastnn": ["-c", "import fastnn"],
    "import fastnn; fastnn.train": ["-c", "import fastnn; fastnn.train"],
    "fastnn --help": ["-m", "fastnn", "--help"],
    "fastnn train --help": ["-m", "fastnn", "train", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(options.rounds + 1):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            if round_number:  # the first round fills the disk cache
                times[name].append((time.perf_counter() - began) * 1e3)
    medians = {name: float(np.median(times[name])) for name in times}
    for name, median in medians.items():
        print(f"{name:30} {median:6.0f} ms   {median / medians['import numpy']:4.2f} of numpy")
    if options.save:
        write("startup", {"facts": facts_with_warnings(), "milliseconds": medians})


if __name__ == "__main__":
    main()
