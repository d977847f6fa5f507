"""One whole training step by every path that fastnn has on every device."""

from __future__ import annotations

import pytest

from fastnn.backend import get_backend
from fastnn.bench import ours
from fastnn.bench.study import BATCHES
from fastnn.errors import DeviceError


def paths():
    """(device, kernels); a device that is not there keeps one row, to say so."""
    for device in ("cpu", "cuda"):
        try:
            get_backend(device)
        except DeviceError as error:
            reason = f"not measured on {device}: {error.problem}"
            yield pytest.param(device, None, marks=pytest.mark.skip(reason=reason), id=device)
        else:
            for path, kernels in ours.paths(device).items():
                yield pytest.param(device, kernels, id=f"{device}-{path}")


@pytest.mark.benchmark(max_time=0.5, min_rounds=5, warmup=True, warmup_iterations=3)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("device", "kernels"), list(paths()))
def test_step(benchmark, problem, device, kernels, batch):
    benchmark.group = "step"
    benchmark.extra_info |= get_backend(device).describe()
    competitor = ours.Fastnn(problem, batch, device, kernels=kernels)
    competitor.run(3)
    benchmark(competitor.run, 1)  # returns when the device is done
