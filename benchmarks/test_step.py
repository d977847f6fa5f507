"""One whole training step: fastnn, and the usual from-scratch NumPy beside it."""

from __future__ import annotations

import pytest

from benchmarks.steps import COMPETITORS, examples, fastnn_step
from fastnn.backend import get_backend
from fastnn.errors import DeviceError

BATCHES = (32, 128, 512, 2048)


@pytest.fixture(scope="module")
def data():
    return examples()


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", COMPETITORS)
def test_step_cpu(benchmark, data, name, batch):
    benchmark.group = f"step, batch {batch}"
    benchmark.extra_info |= get_backend("cpu").describe()
    step = COMPETITORS[name](data, batch)
    benchmark.pedantic(step, warmup_rounds=10, rounds=30, iterations=3)


@pytest.mark.parametrize("batch", BATCHES)
def test_step_cuda(benchmark, data, batch):
    try:
        backend = get_backend("cuda")
    except DeviceError as error:
        pytest.skip(f"not measured on cuda: {error.problem}")
    benchmark.group = f"step, batch {batch}"
    benchmark.extra_info |= backend.describe()
    step = fastnn_step(data, batch, backend)

    def synchronised():
        step()
        backend.synchronize()

    benchmark.pedantic(synchronised, warmup_rounds=20, rounds=50, iterations=3)
