"""Fixtures that the benchmarks share: devices, and the problem that everybody solves."""

from __future__ import annotations

import pytest

from fastnn.backend import get_backend
from fastnn.bench.competitors import Problem
from fastnn.errors import DeviceError
from fastnn.kernels import kernels_for
from fastnn.kernels.cpu import compiled
from fastnn.kernels.reference import Reference


@pytest.fixture(
    scope="session", params=["cpu-reference", "cpu-auto", "cuda-reference", "cuda-auto"]
)
def device(request):
    """(backend, kernels) of each device; what cannot be had here is skipped and says why."""
    name, _, choice = request.param.partition("-")
    try:
        backend = get_backend(name)
    except DeviceError as error:
        pytest.skip(f"not measured on {name}: {error.problem}")
    kernels = kernels_for(backend, choice)
    if request.param == "cpu-auto" and isinstance(kernels, Reference):
        pytest.skip(f"not measured with compiled kernels: {compiled()}")
    return backend, kernels


@pytest.fixture(scope="session")
def backend(device):
    return device[0]


@pytest.fixture(scope="session")
def kernels(device):
    return device[1]


@pytest.fixture(scope="session")
def problem():
    return Problem.drawn()
