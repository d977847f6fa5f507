"""README's examples run, and the commands and files that it names exist."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number, capsys):
    exec(compile(EXAMPLES[number], f"README example {number + 1}", "exec"), {})
    assert capsys.readouterr().out


def test_there_are_examples():
    assert len(EXAMPLES) == 4


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", README, re.M):
        assert re.search(rf"^{''.join(target)}:", makefile, re.M), target


def test_every_module_stands_in_the_tree():
    for path in (ROOT / "fastnn").rglob("*.py"):
        if path.name.startswith("__") or path.parent.name == "cli":
            continue
        assert path.name in README, f"{path.relative_to(ROOT)} is missing from README's tree"


def test_flags_in_the_readme_exist():
    from typer.testing import CliRunner

    from fastnn.cli.app import app

    known = ""
    verbs = ("train", "tune", "evaluate", "predict", "plot", "report", "bench", "info", "doctor")
    for verb in verbs:
        known += CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).stdout
    for verb in ("list", "prune"):
        known += CliRunner().invoke(app, ["runs", verb, "--help"], env={"COLUMNS": "200"}).stdout
    for flag in set(re.findall(r"fastnn [a-z]+ .*?(--[a-z-]+)", README)):
        assert flag in known, flag


def test_the_version_is_in_the_changelog_or_unreleased():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_tables_agree_with_the_recorded_results():
    from scripts.fill_readme import filled

    assert filled(README) == README


def test_the_evaluation_shown_is_the_recorded_one():
    from fastnn.analysis.wording import percent_text

    found = json.loads((ROOT / "benchmarks/results/evaluation.json").read_text(encoding="utf-8"))
    trouser = next(row for row in found["per_class"] if row["name"] == "Trouser")
    for text in (
        f"accuracy {percent_text(found['accuracy'])} (95 % interval ",
        f"loss {found['loss']:.4f} on {found['count']:,} test examples",
        ", ".join(f"top {k} {percent_text(share)}" for k, share in found["top_k"].items()),
        f"error {percent_text(found['ece'])}; at temperature {found['temperature']:.3g}, ",
        f"{found['valid_count']:,} validation examples, "
        f"{percent_text(found['ece_at_temperature'])} and loss {found['loss_at_temperature']:.4f}",
        "  ".join(percent_text(trouser[name]) for name in ("precision", "recall", "f1")),
    ):
        assert text in README, text


def test_every_target_can_be_read_off_the_records():
    from scripts.targets import lines

    assert all(ratio > 0 and target > 0 for _, ratio, target in lines())
    assert len(list(lines())) == 28


def test_no_placeholder_is_left():
    assert not re.search(r"@[A-Z]+@", README)
