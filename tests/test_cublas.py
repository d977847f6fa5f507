"""cuBLASLt itself accepts the descriptors: the library is there, only a GPU and a driver are not.

NVIDIA's binding refuses to load without a driver library, so an empty one is compiled for a child
process. Needs nvmath-python, cuBLAS and g++; `make test-cuda` installs them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn.gpu import _installed

CHILD = """
import itertools
import numpy as np
import nvmath.bindings.cublas as blas
import nvmath.bindings.cublasLt as lt
from fastnn.kernels.cublas import Epilogue, _Key, _Plan

for name in ("COMPUTE_32F", "COMPUTE_32F_FAST_TF32"):
    shapes = [(128, 512, 784), (1, 1, 1), (7, 10, 3)]
    for (m, n, k), epilogue in itertools.product(shapes, Epilogue):
        for a_transposed, b_transposed in ((False, False), (True, False), (False, True)):
            key = _Key(m, n, k, a_transposed, b_transposed, epilogue, (256, 4, 16))
            plan = _Plan(lt, blas.ComputeType[name], key)
            plan.set("BIAS_POINTER", 256, np.uint64)
            box, size = np.zeros(1, np.uint32), np.zeros(1, np.uint64)
            attribute = lt.MatmulDescAttribute.EPILOGUE
            lt.matmul_desc_get_attribute(
                plan.operation, attribute, box.ctypes.data, box.nbytes, size.ctypes.data
            )
            assert box[0] == lt.Epilogue[epilogue.value], (box, epilogue)
try:  # only now, where the library asks for the device
    _Plan.find(lt, 0, blas.ComputeType.COMPUTE_32F, key)
except lt.cuBLASLtError as error:
    assert error.status == 1, error  # CUBLAS_STATUS_NOT_INITIALIZED
print("accepted")
"""


def test_cublaslt_accepts_every_descriptor(tmp_path: Path) -> None:
    for module in ("nvmath", "cuda.pathfinder"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip("nvmath-python is not installed")
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here to make a stand-in for the driver library")
    if not any(_installed(f"nvidia-cublas{suffix}") for suffix in ("", "-cu12", "-cu13")):
        pytest.skip("cuBLAS is not installed")
    source = tmp_path / "driver.c"
    source.write_text("int cuDriverGetVersion(int *v) { *v = 13000; return 0; }")
    driver = tmp_path / "libcuda.so.1"
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-Wl,-soname,libcuda.so.1",
        str(source),
        "-o",
        str(driver),
    ]
    subprocess.run(command, check=True)
    answer = subprocess.run(
        [sys.executable, "-c", CHILD],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.stdout.strip() == "accepted", answer.stderr
