"""Command-line options made from the configuration's fields, and the command line's layers.

Defaults and descriptions stay in `TrainConfig`; an option that was not given is None here, so that
a recipe or a configuration file below it can speak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from fastnn.errors import ConfigError
from fastnn.training.config import Rule, TrainConfig, load_recipe

_FIELDS = {item.name: item for item in fields(TrainConfig)}

Json = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout and nothing else there")]
Device = Annotated[
    str | None,
    typer.Option("--device", envvar="FASTNN_DEVICE", help="auto, cpu, cuda or cuda:INDEX"),
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads at most; 0 for as many as BLAS has")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="run folder or .safetensors file")]


def setting(field: str, *flags: str, envvar: str | None = None, metavar: str | None = None) -> Any:
    """The option for a configuration field, its help and default read from there."""
    rule: Rule = _FIELDS[field].metadata["rule"]
    default = _FIELDS[field].default
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    about = rule.about + (f" ({', '.join(rule.choices)})" if rule.choices else "")
    return typer.Option(
        *flags,
        help=about if shown is None else f"{about} [default: {shown}]",
        show_default=False,
        envvar=envvar,
        metavar=metavar,
        autocompletion=(lambda: list(rule.choices)) if rule.choices else None,
    )


def layered(recipe: str | None, config_file: Path | None, given: Mapping[str, Any]) -> TrainConfig:
    """Defaults, then the recipe, then the file, then what was given on the command line."""
    config = TrainConfig() if recipe is None else load_recipe(recipe)
    if config_file is not None:
        config = TrainConfig.from_file(config_file, config)
    return config.updated(given, "command line")


def widths(text: str) -> tuple[int, ...]:
    """Widths from text, "512,256" as (512, 256); "none" as (), a linear model."""
    if text.strip() == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"hidden: {text!r} must be widths separated by commas, such as 512,256, or none"
        ) from None
