"""Fixtures that the benchmarks share: devices, and the problem that everybody solves."""

from __future__ import annotations

import pytest

from fastnn.backend import get_backend
from fastnn.bench.competitors import Problem
from fastnn.errors import DeviceError


@pytest.fixture(scope="session", params=["cpu", "cuda"])
def backend(request):
    """Each device in turn; without a GPU that row is skipped and says what was missing."""
    try:
        return get_backend(request.param)
    except DeviceError as error:
        pytest.skip(f"not measured on {request.param}: {error.problem}")


@pytest.fixture(scope="session")
def problem():
    return Problem.drawn()
