"""Importing is free and safe: nothing heavy, nothing printed, nothing needed that is optional."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

BLOCK = "import sys\nfor name in {names!r}: sys.modules[name] = None\n"
EVERY_MODULE = """
import pkgutil, importlib, fastnn
for module in pkgutil.walk_packages(fastnn.__path__, "fastnn."):
    if not module.name.startswith(({skipped})):
        importlib.import_module(module.name)
"""


COMPILED = "'fastnn.kernels.loops', 'fastnn.kernels.block_loops', 'fastnn.kernels.epoch', " + (
    "'fastnn.kernels.elementary', 'fastnn.kernels.native'"  # what Numba compiles
)


def run(code):
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer


def test_the_library_imports_without_terminal_plot_and_gpu_packages():
    blocked = ["cupy", "numba", "typer", "rich", "matplotlib", "click"]
    code = BLOCK.format(names=blocked) + EVERY_MODULE.format(
        skipped=f"'fastnn.cli', 'fastnn.__main__', {COMPILED}"
    )
    answer = run(code)
    assert (answer.stdout, answer.stderr) == ("", "")


def test_every_module_imports_without_side_effects():
    absent = "" if find_spec("numba") else COMPILED
    answer = run(EVERY_MODULE.format(skipped=f"'fastnn.__main__', {absent}"))
    assert (answer.stdout, answer.stderr) == ("", "")


def test_a_broken_cupy_does_no_harm(tmp_path):
    (tmp_path / "cupy.py").write_text("raise RuntimeError('half an installation')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + (
        "import fastnn\nb = fastnn.get_backend('auto')\nprint(b.name, '|', b.reason)"
    )
    assert "cpu | auto: CuPy is installed but cannot be imported" in run(code).stdout


@pytest.mark.parametrize(
    "code",
    [
        "import fastnn",
        "import fastnn; fastnn.MLP; fastnn.train; fastnn.Classifier; fastnn.load_dataset",
    ],
)
def test_import_loads_numpy_at_most(code):
    heavy = (
        "cupy",
        "numba",
        "typer",
        "rich",
        "matplotlib",
        "pydantic",
        "sklearn",
        "urllib.request",
    )
    answer = run(f"{code}\nimport sys\nprint([m for m in {heavy!r} if m in sys.modules])")
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", ["['--help']", "['train', '--help']", "['--version']"])
def test_help_needs_neither_numpy_nor_cupy(arguments):
    code = BLOCK.format(names=["numpy", "cupy"]) + (
        f"sys.argv = ['fastnn', *{arguments}]\nfrom fastnn.cli.app import main\nmain()"
    )
    assert "fastnn" in run(code).stdout
