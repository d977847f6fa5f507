"""The floors of the package hold: no module imports from above."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_import_contracts_hold():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as m; m()"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert " kept, 0 broken" in answer.stdout


def test_cupy_is_imported_in_one_place_only():
    """Elsewhere it arrives as a backend's `xp`."""
    guilty = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fastnn").rglob("*.py")
        if "import cupy" in path.read_text(encoding="utf-8")
        or 'import_module("cupy")' in path.read_text(encoding="utf-8")
    ]
    assert guilty == ["fastnn/gpu.py"]
