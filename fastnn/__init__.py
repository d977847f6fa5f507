"""fastnn: multilayer perceptrons trained on a CPU or an NVIDIA GPU by hand-written kernels.

Shape letters used throughout: B batch rows, I layer inputs, O layer outputs, C classes,
T numbers to predict, N examples, D values of one example (its pixels), P length of the flat
parameter vector. `d<name>` is the gradient of the loss with respect to `<name>`.

Names are loaded when first used, so `import fastnn` and `fastnn --help` stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.backend import Backend as Backend
    from fastnn.backend import get_backend as get_backend
    from fastnn.data.assembly import dataset_from_arrays as dataset_from_arrays
    from fastnn.data.batches import Batches as Batches
    from fastnn.data.examples import Dataset as Dataset
    from fastnn.data.examples import Examples as Examples
    from fastnn.data.scaling import Scaling as Scaling
    from fastnn.data.source import load_dataset as load_dataset
    from fastnn.errors import CheckFailed as CheckFailed
    from fastnn.errors import CheckpointError as CheckpointError
    from fastnn.errors import ConfigError as ConfigError
    from fastnn.errors import DataError as DataError
    from fastnn.errors import DeviceError as DeviceError
    from fastnn.errors import FastNNError as FastNNError
    from fastnn.errors import Interrupted as Interrupted
    from fastnn.errors import OutputError as OutputError
    from fastnn.errors import TrainingDiverged as TrainingDiverged
    from fastnn.kernels import Augmentation as Augmentation
    from fastnn.nn.blocks import Block as Block
    from fastnn.nn.gradcheck import GradientCheck as GradientCheck
    from fastnn.nn.gradcheck import check_gradients as check_gradients
    from fastnn.nn.model import MLP as MLP
    from fastnn.nn.objective import Objective as Objective
    from fastnn.nn.optim import SGD as SGD
    from fastnn.nn.optim import Adam as Adam
    from fastnn.nn.optim import Lion as Lion
    from fastnn.nn.optim import RMSProp as RMSProp
    from fastnn.training.callbacks import Callback as Callback
    from fastnn.training.callbacks import EpochReport as EpochReport
    from fastnn.training.classifier import Classifier as Classifier
    from fastnn.training.config import TrainConfig as TrainConfig
    from fastnn.training.config import load_recipe as load_recipe
    from fastnn.training.lr_find import RangeTest as RangeTest
    from fastnn.training.lr_find import lr_find as lr_find
    from fastnn.training.regressor import Regressor as Regressor
    from fastnn.training.run import Result as Result
    from fastnn.training.run import resume as resume
    from fastnn.training.run import train as train
    from fastnn.training.saved import load_predictor as load_predictor
    from fastnn.training.scoring import RegressionScore as RegressionScore
    from fastnn.training.scoring import Score as Score
    from fastnn.training.trainer import Trainer as Trainer
    from fastnn.training.tune import Tuned as Tuned
    from fastnn.training.tune import tune as tune

__version__ = "0.1.0"

_HOMES = {
    "backend": ("Backend", "get_backend"),
    "data.assembly": ("dataset_from_arrays",),
    "data.batches": ("Batches",),
    "data.examples": ("Dataset", "Examples"),
    "data.scaling": ("Scaling",),
    "data.source": ("load_dataset",),
    "errors": (
        "CheckFailed", "CheckpointError", "ConfigError", "DataError", "DeviceError",
        "FastNNError", "Interrupted", "OutputError", "TrainingDiverged",
    ),
    "kernels": ("Augmentation",),
    "nn.blocks": ("Block",),
    "nn.gradcheck": ("GradientCheck", "check_gradients"),
    "nn.model": ("MLP",),
    "nn.objective": ("Objective",),
    "nn.optim": ("SGD", "Adam", "Lion", "RMSProp"),
    "training.callbacks": ("Callback", "EpochReport"),
    "training.classifier": ("Classifier",),
    "training.config": ("TrainConfig", "load_recipe"),
    "training.lr_find": ("RangeTest", "lr_find"),
    "training.regressor": ("Regressor",),
    "training.run": ("Result", "resume", "train"),
    "training.saved": ("load_predictor",),
    "training.scoring": ("RegressionScore", "Score"),
    "training.trainer": ("Trainer",),
    "training.tune": ("Tuned", "tune"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    value = getattr(import_module(f"fastnn.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
