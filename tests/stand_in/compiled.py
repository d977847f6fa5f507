"""CUDA kernels of the package compiled for the host with g++ and called on NumPy arrays."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

CTYPES = {
    "float32": "float", "float64": "double", "int64": "long long", "int32": "int",
    "uint8": "unsigned char", "uint64": "unsigned long long", "bool": "bool",
}  # fmt: skip
_FOLDER = tempfile.TemporaryDirectory(prefix="fastnn-host-cuda-")


def needs_compiler() -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here: kernels are not run on the host")


@cache
def library(source: str, options: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The source compiled and loaded."""
    needs_compiler()
    name = hashlib.sha256("\0".join([source, *options]).encode()).hexdigest()[:16]
    path = Path(_FOLDER.name) / f"{name}.cpp"
    path.write_text(source, encoding="utf-8")
    built = path.with_suffix(".so")
    command = ["g++", "-O1", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unused-function"]
    include = f"-I{Path(__file__).parent}"
    subprocess.run(
        [*command, include, "-std=c++17", *options, str(path), "-o", str(built)], check=True
    )
    return ctypes.CDLL(str(built))


@cache
def parameters(text: str) -> list[tuple[bool, str, str]]:
    """(raw, type, name) of each of ElementwiseKernel's parameters."""
    found = []
    for item in text.split(","):
        words = item.split()
        found.append((words[0] == "raw", words[-2], words[-1]))
    return found


def elementwise_types(kernel, arguments) -> dict[str, str]:
    """What each type letter stands for in this call, as CuPy would infer it; they must agree."""
    types: dict[str, str] = {}
    declared = parameters(kernel.inputs) + parameters(kernel.outputs)
    assert len(declared) == len(arguments), f"{kernel.name}: number of arguments"
    for (_, kind, name), value in zip(declared, arguments, strict=True):
        if len(kind) > 1 or not isinstance(value, np.ndarray):
            continue  # CuPy looks at arrays alone: a letter that only scalars have is a KeyError
        assert types.setdefault(kind, value.dtype.name) == value.dtype.name, (
            f"{kernel.name}: {name} is {value.dtype}, another {kind} is {types[kind]}"
        )
    for _, kind, name in declared:
        assert len(kind) > 1 or kind in types, f"{kernel.name}: nothing tells the type of {name}"
    return types


@cache
def elementwise_source(kernel, types: tuple[tuple[str, str], ...]) -> str:
    """The kernel's body in a loop over plain pointers."""
    lines = [f"using {letter} = {CTYPES[name]};" for letter, name in types]
    lines += ['extern "C" void run(long long count, void** a) {']
    inputs, outputs = parameters(kernel.inputs), parameters(kernel.outputs)
    per_element = []
    for n, (raw, kind, name) in enumerate(inputs + outputs):
        kind = CTYPES.get(kind, kind)
        const = "const " if n < len(inputs) else ""
        if raw:
            lines.append(f"{const}{kind}* {name} = ({const}{kind}*)a[{n}];")
        elif n < len(inputs):  # an array is walked, a scalar stays: stride 1 or 0
            lines.append(f"const {kind}* _{name} = (const {kind}*)a[2 * {n} + 100];")
            lines.append(f"const long long _s{name} = *(long long*)a[2 * {n} + 101];")
            per_element.append(f"const {kind} {name} = _{name}[i * _s{name}];")
        else:
            per_element.append(f"{kind}& {name} = (({kind}*)a[{n}])[i];")
    lines += ["for (long long i = 0; i < count; i++) {", *per_element, kernel.body, "}", "}"]
    return '#include "host_cuda.h"\n' + "\n".join(lines)


def run_elementwise(kernel, *arguments) -> None:
    """Call the kernel as CuPy would: scalars converted to the declared type, arrays in place."""
    types = elementwise_types(kernel, arguments)
    declared = parameters(kernel.inputs) + parameters(kernel.outputs)
    slots: list[int] = [0] * (100 + 2 * len(declared))
    kept = []
    sizes = set()
    for n, ((raw, kind, name), value) in enumerate(zip(declared, arguments, strict=True)):
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous, f"{kernel.name}: {name} is not contiguous"
            assert value.dtype.name == types.get(kind, kind), f"{kernel.name}: dtype of {name}"
            array, stride = value, 1
            if not raw:
                sizes.add(value.size)
        else:
            array, stride = np.array([value], types.get(kind, kind)), 0
        box = np.array([stride], np.int64)
        kept += [array, box]
        slots[n] = array.ctypes.data
        slots[100 + 2 * n], slots[101 + 2 * n] = array.ctypes.data, box.ctypes.data
    assert len(sizes) == 1, f"{kernel.name}: arrays of sizes {sizes}"
    function = library(elementwise_source(kernel, tuple(types.items()))).run
    pointers = (ctypes.c_void_p * len(slots))(*slots)
    function(ctypes.c_longlong(sizes.pop()), pointers)


def refuse_copies(name: str, inputs, outputs) -> None:
    """CuPy copies an input that shares memory with an output, unless both are the same object.

    That allocates, and a captured graph would go on reading the copy.
    """
    for given in inputs:
        for written in outputs:
            if isinstance(given, np.ndarray) and given is not written:
                assert not np.may_share_memory(given, written), f"{name}: an input would be copied"


@cache
def kernel_parameters(source: str) -> dict[str, list[str]]:
    """The types of each `extern "C" __global__` function's parameters."""
    bare = re.sub(r"//[^\n]*", "", source)
    found = {}
    for name, text in re.findall(r'extern "C" __global__ void (\w+)\((.*?)\)\s*\{', bare, re.S):
        found[name] = [re.sub(r"\w+$", "", item.strip()).strip() for item in text.split(",")]
    return found


@cache
def rows_library_source(source: str) -> str:
    """rows.cu with, for each kernel, a function that launches it on the host."""
    parts = ['#include "host_cuda.h"', source]
    for name, types in kernel_parameters(source).items():
        unpacked = ", ".join(f"*({kind}*)a[{n}]" for n, kind in enumerate(types))
        parts.append(
            f'extern "C" void launch_{name}(int blocks, int width, int height, void** a) {{'
            f" host::launch(blocks, width, height, [&] {{ {name}({unpacked}); }}); }}"
        )
    return "\n".join(parts)


def run_rows(source: str, options: tuple[str, ...], name: str, blocks: int, threads, arguments):
    """Launch one kernel of rows.cu on the host; argument types must be exactly the declared."""
    real = "float" if "-DReal=float" in options else "double"
    boxes = []
    declared = kernel_parameters(source)[name]
    assert len(declared) == len(arguments), f"{name}: number of arguments"
    for kind, value in zip(declared, arguments, strict=True):
        wanted = kind.replace("const ", "").replace("Real", real)
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            assert wanted == CTYPES[value.dtype.name] + "*", f"{name}: {value.dtype} for {kind}"
            boxes.append(np.array([value.ctypes.data], np.uint64))
        elif wanted.endswith("*"):
            assert isinstance(value, np.uint64) and value == 0, f"{name}: {value!r} for {kind}"
            boxes.append(np.array([value]))
        else:  # a launch passes scalars as they are: the host must give them the right type
            assert wanted == CTYPES[value.dtype.name], f"{name}: {value.dtype} for {kind}"
            boxes.append(np.array([value]))
    macros = tuple(option for option in options if option.startswith("-D"))
    function = getattr(library(rows_library_source(source), macros), f"launch_{name}")
    width, height = (*threads, 1)[:2]
    pointers = (ctypes.c_void_p * len(boxes))(*(box.ctypes.data for box in boxes))
    function(blocks, width, height, pointers)
