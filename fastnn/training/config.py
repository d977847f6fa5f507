"""Every setting of a training run: its default, its allowed range and its one-line description.

Nothing else holds a default: the command line and the library read them here. Standard library
only, so that `fastnn --help` needs no NumPy.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from sys import float_info
from typing import Any

from fastnn.errors import ConfigError, did_you_mean

ACTIVATIONS = ("relu", "leaky-relu", "gelu", "silu", "tanh", "sigmoid", "identity")
NORMS = ("none", "layer", "batch")
INITS = (
    "auto", "he-normal", "he-uniform", "glorot-normal", "glorot-uniform", "lecun-normal",
    "lecun-uniform",
)  # fmt: skip
LOSSES = ("cross-entropy", "mse", "mae", "huber")
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "lion")
SCHEDULES = ("constant", "step", "cosine", "one-cycle", "plateau")
SCALINGS = ("unit", "standard")
KERNELS = ("auto", "reference", "fused", "captured")
PRECISIONS = ("float32", "tf32")
# Settings that mean something only with some values of another one.
_OWNERS = {
    "momentum": ("optimizer", ("sgd",)),
    "nesterov": ("optimizer", ("sgd",)),
    "beta1": ("optimizer", ("adam", "adamw", "lion")),
    "beta2": ("optimizer", ("adam", "adamw", "rmsprop", "lion")),
    "eps": ("optimizer", ("adam", "adamw", "rmsprop")),
    "schedule_every": ("schedule", ("step", "plateau")),
    "schedule_factor": ("schedule", ("step", "plateau")),
    "label_smoothing": ("loss", ("cross-entropy",)),
    "class_weight": ("loss", ("cross-entropy",)),
    "target_accuracy": ("loss", ("cross-entropy",)),
    "huber_delta": ("loss", ("huber",)),
}
_EXPECTED = {
    "tuple[str, ...]": "a name or a list of names",
    "dict[str, float] | str": "balanced, or a table of weights by class",
    "int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "text",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field is for and which values it takes."""

    about: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def allowed(self) -> str:
        """The rule in words, for an error message."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        bounds = [
            f"{words} {bound:g}"
            for words, bound in (
                ("at least", self.at_least),
                ("at most", self.at_most),
                ("above", self.above),
                ("below", self.below),
            )
            if bound is not None
        ]
        return " and ".join(bounds)

    def admits(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        return not (
            (self.at_least is not None and not value >= self.at_least)
            or (self.at_most is not None and not value <= self.at_most)
            or (self.above is not None and not value > self.above)
            or (self.below is not None and not value < self.below)
        )


def setting(default: Any, about: str, **rule: Any) -> Any:
    """A dataclass field with its rule."""
    return field(default=default, metadata={"rule": Rule(about, **rule)})


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A complete, checked description of a run; a bad value is a `ConfigError` naming the field."""

    dataset: str = setting("auto", "named data set or path: see `fastnn data list`")
    data_dir: str | None = setting(None, "folder that holds the named data set")
    test_data: str | None = setting(None, "second file (.csv, .npz, .npy) with the test part")
    label: str | None = setting(
        None,
        "label column of a table, by name or number (0 first, -1 last); else 'label' or the first; "
        "of numbers to predict also several, a,b",
    )
    limit_train: int = setting(0, "use only this many training examples; 0 for all", at_least=0)
    val: float = setting(
        0.1, "share of the training part held out for validation; 0 for none", at_least=0, below=1
    )
    scaling: str = setting("unit", "input scaling, to [0, 1] or to mean 0, std 1", choices=SCALINGS)
    shift: int = setting(
        0, "move training pictures by up to so many pixels each way", at_least=0, below=65536
    )
    flip: bool = setting(False, "mirror half of the training pictures left to right")
    cutout: int = setting(
        0, "blank a square of this side in each training picture", at_least=0, below=65536
    )
    flip_test: bool = setting(
        False, "average the outputs for a picture and its mirror image, in validation and use"
    )
    hidden: tuple[int, ...] = setting((512, 256), "widths of the hidden layers", at_least=1)
    activation: tuple[str, ...] = setting(
        ("relu",), "of the hidden layers, one for all or one each", choices=ACTIVATIONS
    )
    norm: str = setting("none", "of each hidden layer, before its activation", choices=NORMS)
    dropout: float = setting(0.0, "share of hidden outputs dropped", at_least=0, below=1)
    input_dropout: float = setting(0.0, "share of inputs dropped", at_least=0, below=1)
    residual: bool = setting(False, "add each hidden layer's inputs to its outputs, if as wide")
    init: str = setting(
        "auto", "draw of the weights; auto: what suits the activation", choices=INITS
    )
    loss: str = setting(
        "cross-entropy", "of classes; mse, mae and huber: of numbers to predict", choices=LOSSES
    )
    label_smoothing: float = setting(
        0.0, "share of each label spread over all classes", at_least=0, below=1
    )
    huber_delta: float = setting(
        1.0, "error up to which huber is a square, in deviations of the target", above=0
    )
    class_weight: dict[str, float] | str | None = setting(  # noqa: RUF009 - makes a field
        None,
        "how much a class counts: balanced, or NAME=WEIGHT,..., 1 where not named; in "
        "training only, not in validation",
    )
    epochs: int = setting(10, "passes over the training part", at_least=0)
    batch_size: int = setting(128, "examples per step", at_least=1)
    optimizer: str = setting("adam", "update rule", choices=OPTIMIZERS)
    learning_rate: float = setting(1e-3, "step size; the peak where a schedule changes it", above=0)
    momentum: float = setting(0.0, "momentum of sgd", at_least=0, below=1)
    nesterov: bool = setting(False, "Nesterov's form of sgd's momentum")
    beta1: float = setting(
        0.9, "decay of the mean gradient (adam, adamw, lion)", at_least=0, below=1
    )
    beta2: float | None = setting(
        None,
        "decay of the mean square; by default 0.999 in adam and adamw, 0.99 in rmsprop and, where "
        "it is of the mean gradient, in lion",
        at_least=0,
        below=1,
    )
    eps: float = setting(1e-8, "adam's and rmsprop's epsilon, outside the root", at_least=1e-30)
    weight_decay: float = setting(
        0.0,
        "decay of weight matrices: L2 in adam, sgd and rmsprop, decoupled in adamw and lion",
        at_least=0,
    )
    clip_norm: float = setting(0.0, "largest norm of the whole gradient; 0 for any", at_least=0)
    clip_value: float = setting(0.0, "largest element of the gradient; 0 for any", at_least=0)
    ema: float = setting(
        0.0, "decay of the moving average of weights that is then used; 0 for none", at_least=0,
        below=1,
    )  # fmt: skip
    schedule: str = setting("constant", "learning rate over the steps", choices=SCHEDULES)
    warmup: int = setting(0, "epochs of linear warm-up before the schedule", at_least=0)
    schedule_every: int = setting(
        5, "epochs between cuts (step), or waited for progress (plateau)", at_least=1
    )
    schedule_factor: float = setting(
        0.1, "what a cut multiplies the rate with (step, plateau)", above=0, below=1
    )
    patience: int = setting(
        0, "stop after this many epochs without a better validation; 0 never", at_least=0
    )
    max_time: float = setting(
        0.0, "seconds of training after which to end, if epochs do not end before; the schedule "
        "ends with them; 0 for any",
        at_least=0,
    )  # fmt: skip
    target_accuracy: float = setting(
        0.0, "stop at this validation accuracy, 0 to 1; 0 for none", at_least=0, at_most=1
    )
    seed: int = setting(0, "seed of weights, split and order", at_least=0)
    device: str = setting("auto", "auto, cpu, cuda or cuda:INDEX")
    threads: int = setting(
        0, "CPU threads at most; 0 for as many as BLAS has, usually all cores", at_least=0
    )
    kernels: str = setting(
        "auto",
        "reference: plain array operations; fused: one pass each (on a CPU by Numba); captured: "
        "no Python between them (a CUDA graph, a compiled epoch); auto: the fastest that works",
        choices=KERNELS,
    )
    precision: str = setting(
        "float32", "of products on a GPU: true float32, or the faster tf32", choices=PRECISIONS
    )
    save_every: int = setting(
        0, "also save the state every so many steps; 0 only after epochs", at_least=0
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = _typed(item.name, getattr(self, item.name), str(item.type))
            object.__setattr__(self, item.name, value)
            rule: Rule = item.metadata["rule"]
            for one in value if isinstance(value, tuple) else (value,):
                if one is not None and not rule.admits(one):
                    raise ConfigError(f"{item.name}: {one!r} must be {rule.allowed()}")
        self._check_owners()
        if self.nesterov and not self.momentum:
            raise ConfigError("nesterov: needs a momentum above 0, for instance 0.9")
        for name in ("patience", "target_accuracy"):
            if getattr(self, name) and not self.val:
                raise ConfigError(f"{name}: needs a validation part, and val is 0")
        if self.warmup and self.warmup >= self.epochs:
            raise ConfigError(f"warmup: {self.warmup} must be below the {self.epochs} epochs")
        self._check_network()
        self._check_class_weight()

    def _check_owners(self) -> None:
        """A setting that would do nothing, because it belongs to another choice."""
        for item in fields(self):
            if item.name in _OWNERS and getattr(self, item.name) != item.default:
                choice, owners = _OWNERS[item.name]
                if getattr(self, choice) not in owners:
                    raise ConfigError(
                        f"{item.name}: belongs to {' and '.join(owners)}, and {choice} is "
                        f"{getattr(self, choice)}; remove one"
                    )

    def _check_network(self) -> None:
        """What the parts of the network ask of each other."""
        usual = TrainConfig.__dataclass_fields__
        for name in ("activation", "norm", "dropout"):
            if not self.hidden and getattr(self, name) != usual[name].default:
                raise ConfigError(f"{name}: belongs to hidden layers, and there are none")
        if len(self.activation) not in (1, len(self.hidden)):
            raise ConfigError(
                f"activation: found {len(self.activation)} for {len(self.hidden)} hidden layers; "
                "expected one for all or one each"
            )
        if self.residual and (len(self.hidden) < 2 or len(set(self.hidden)) != 1):
            raise ConfigError(
                f"residual: needs two or more hidden layers of one width, found {list(self.hidden)}"
            )
        if self.norm == "batch" and self.batch_size == 1:
            raise ConfigError("batch_size: a batch norm needs at least 2 examples a step, found 1")

    def _check_class_weight(self) -> None:
        """A weight that is no weight, or text that means none."""
        if isinstance(self.class_weight, str):
            if self.class_weight != "balanced":
                raise ConfigError(
                    f"class_weight: {self.class_weight!r} must be balanced, or NAME=WEIGHT,..."
                )
        elif self.class_weight is not None:
            for name, weight in self.class_weight.items():
                if weight < 0:
                    raise ConfigError(f"class_weight: {weight!r} of {name} must be at least 0")

    @property
    def classifies(self) -> bool:
        """Whether classes are told apart, instead of numbers predicted."""
        return self.loss == "cross-entropy"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, in field order."""
        lists = {"hidden": list(self.hidden), "activation": list(self.activation)}
        return asdict(self) | lists

    def to_toml(self) -> str:
        """The settings that are not the defaults, one a line, as `from_file` reads them."""
        usual = TrainConfig().to_dict()
        return "".join(
            f"{key} = {_as_toml(value)}\n"
            for key, value in self.to_dict().items()
            if value != usual[key]
        )

    def updated(self, changes: Mapping[str, Any], source: str) -> TrainConfig:
        """A copy with some fields changed; `source` is named if one is unknown or its value bad."""
        names = [item.name for item in fields(self)]
        for key in changes:
            if key not in names:
                raise ConfigError(f"{source}: unknown setting {key!r}{did_you_mean(key, names)}")
        try:
            return replace(self, **changes)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @classmethod
    def from_file(cls, path: Path, base: TrainConfig | None = None) -> TrainConfig:
        """Read a .toml or .json file of settings over `base` (the defaults)."""
        return (base or cls()).updated(read_table(path), str(path))


def read_table(path: Path) -> dict[str, Any]:
    """The settings in a .toml or .json file, not yet checked."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # ValueError: JSON's, TOML's, Unicode's
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a table of settings, found {type(values).__name__}")
    return values


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    folder = resources.files("fastnn").joinpath("recipes")
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load_recipe(name_or_file: str) -> TrainConfig:
    """A packaged recipe by name, or a TOML file of settings by path."""
    names = recipe_names()
    if name_or_file in names:
        packaged = resources.files("fastnn").joinpath("recipes", f"{name_or_file}.toml")
        with resources.as_file(packaged) as path:
            return TrainConfig.from_file(path)
    path = Path(name_or_file)
    if path.suffix in (".toml", ".json") or path.exists():
        return TrainConfig.from_file(path)
    raise ConfigError(
        f"recipe: {name_or_file!r} is neither a file nor one of {', '.join(names)}"
        f"{did_you_mean(name_or_file, names)}"
    )


def _typed(name: str, value: Any, annotation: str) -> Any:
    """The value as the field's type, where nothing is lost by it; else ConfigError."""
    if value is None and annotation.endswith("| None"):
        return None
    kind = annotation.removesuffix(" | None")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "int" and is_number and abs(value) < 2**63 and int(value) == value:
        return int(value)
    if kind == "float" and is_number and abs(value) <= float_info.max:
        return float(value)
    if kind == "str" and isinstance(value, str):
        return value
    if kind.startswith("tuple[str") and isinstance(value, str | list | tuple):
        items = value.split(",") if isinstance(value, str) else value
        return tuple(_typed(name, item, "str").strip() for item in items)
    if kind.startswith("tuple") and isinstance(value, list | tuple):
        return tuple(_typed(name, width, "int") for width in value)
    if kind.startswith("dict") and isinstance(value, str | Mapping):
        if isinstance(value, str) and "=" in value:
            pairs = [_named_number(name, item) for item in value.split(",")]
            value = dict(pairs)
            if len(value) < len(pairs) or "" in value:
                raise ConfigError(f"{name}: each weight needs a class of its own, found {pairs}")
        if isinstance(value, str):
            return value
        return {str(key): _typed(name, weight, "float") for key, weight in value.items()}
    expected = _EXPECTED.get(kind, "a list of whole numbers")
    raise ConfigError(f"{name}: {value!r} must be {expected}")


def _as_toml(value: Any) -> str:
    """TOML writes as JSON does, but for tables."""
    if isinstance(value, dict):
        inside = ", ".join(f"{_as_toml(key)} = {_as_toml(item)}" for key, item in value.items())
        return f"{{ {inside} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _named_number(name: str, text: str) -> tuple[str, float]:
    """NAME=NUMBER as a pair."""
    key, _, number = text.rpartition("=")
    try:
        return key.strip(), float(number)
    except ValueError:
        raise ConfigError(f"{name}: {text!r} must be NAME=WEIGHT, such as coat=2") from None
