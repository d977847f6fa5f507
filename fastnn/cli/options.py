"""Command-line options made from the configuration's fields, and the command line's layers.

Defaults and descriptions stay in `TrainConfig`; an option that was not given is None here, so that
a recipe or a configuration file below it can speak.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

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


Recipe = Annotated[
    str | None,
    typer.Option("--recipe", metavar="NAME_OR_FILE", help="settings with published figures"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="settings as .toml or a run's config.json"),
]

# Under which title the help shows options: each goes on until the field that begins the next.
_SECTIONS = {
    "dataset": "Data",
    "hidden": "Network",
    "loss": "Loss",
    "epochs": "Training",
    "optimizer": "Optimizer",
    "schedule": "Learning rate over time",
    "patience": "When to end",
    "seed": "Machine",
}
_FLAGS = {"learning_rate": ("--lr", "--learning-rate")}
_METAVARS = {
    "dataset": "NAME_OR_PATH", "data_dir": "DIR", "test_data": "FILE", "label": "COLUMN",
    "hidden": "WIDTHS", "activation": "NAME,...", "class_weight": "WEIGHTS", "max_time": "90|5m|1h",
}  # fmt: skip
_KINDS: Mapping[str, type] = {"bool": bool, "int": int, "float": float}


def with_settings(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A verb with an option for each setting but these, before its own options.

    The verb's first parameter gets the settings that were given, by field, as they were read.
    """
    names = [name for name in _FIELDS if name not in left_out]

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        def command(**values: Any) -> None:
            asked = {name: values.pop(name) for name in names}
            verb({name: value for name, value in asked.items() if value is not None}, **values)

        _, *own = inspect.signature(verb, eval_str=True).parameters.values()
        options = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name)
            )
            for name in names
        ]
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        command.__doc__ = verb.__doc__
        command.__signature__ = inspect.Signature([*options, *own])  # type: ignore[attr-defined]
        return command

    return decorate


class Sectioned(TyperCommand):
    """A command whose help shows the settings under titles, and then its own options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one list of options a title."""
        title, titles = "", {}
        for name in _FIELDS:
            title = titles[name] = _SECTIONS.get(name, title)
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = titles.get(str(parameter.name), "Command")
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=26)


def _option(name: str) -> Any:
    """The option for a configuration field, its help and default read from there."""
    field = _FIELDS[name]
    rule: Rule = field.metadata["rule"]
    kind = _KINDS.get(str(field.type).removesuffix(" | None"), str)
    flag = "--" + name.replace("_", "-")
    flags = (f"{flag}/--no-{flag[2:]}",) if kind is bool else _FLAGS.get(name, (flag,))
    about = rule.about + (f" ({', '.join(rule.choices)})" if rule.choices else "")
    option = typer.Option(
        *flags,
        help=about + _default_text(field.default),
        show_default=False,
        envvar="FASTNN_DEVICE" if name == "device" else None,
        metavar=_METAVARS.get(name),
        autocompletion=(lambda: list(rule.choices)) if rule.choices else None,
    )
    return Annotated[(str if name in _READERS else kind) | None, option]


def _default_text(default: Any) -> str:
    """What counts where nothing is given, if that is something."""
    if default is None or default is False:
        return ""
    if isinstance(default, float):
        return f" [default: {default:g}]"
    text = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f" [default: {text}]"


def layered(recipe: str | None, config_file: Path | None, given: Mapping[str, Any]) -> TrainConfig:
    """Defaults, then the recipe, then the file, then what was given on the command line."""
    config = TrainConfig() if recipe is None else load_recipe(recipe)
    if config_file is not None:
        config = TrainConfig.from_file(config_file, config)
    return config.updated(as_settings(given), "command line")


def as_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options as those of settings: texts that mean widths or a time are read."""
    return {
        name: _READERS[name](value) if name in _READERS else value for name, value in given.items()
    }


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


def seconds(text: str) -> float:
    """A time in seconds from text: "90", "60s", "5m" or "1h"."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([smh]?)\s*", text)
    if found is None:
        raise ConfigError(f"max_time: {text!r} must be a time such as 90, 60s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


_READERS: Mapping[str, Callable[[str], Any]] = {"hidden": widths, "max_time": seconds}
