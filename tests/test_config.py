"""Settings: every bad value names its field, layers override in order, recipes are complete."""

import json
import subprocess
import sys

import pytest

from fastnn.errors import ConfigError
from fastnn.training.config import TrainConfig, load_recipe, recipe_names


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1), ("epochs", 1.5), ("epochs", "ten"), ("epochs", True), ("epochs", None),
        ("batch_size", 0), ("learning_rate", 0), ("learning_rate", float("nan")),
        ("learning_rate", float("inf")), ("val", 1.0), ("val", -0.1), ("optimizer", "adma"),
        ("schedule", "linear"), ("scaling", "none"), ("hidden", (512, 0)), ("hidden", "512"),
        ("hidden", (2.5,)), ("beta1", 1.0), ("eps", 0), ("seed", -1), ("seed", 2.5),
        ("schedule_factor", 1.0), ("nesterov", 1), ("limit_train", -5), ("dataset", None),
        ("shift", -1), ("cutout", 1.5), ("flip", "yes"), ("flip_test", 1),
        ("activation", ("relu6",)), ("activation", 3), ("activation", ("",)), ("norm", "group"),
        ("dropout", 1.0), ("dropout", -0.1), ("input_dropout", 1), ("residual", 0), ("init", "he"),
        ("loss", "hinge"), ("label_smoothing", 1.0), ("huber_delta", 0), ("clip_norm", -1),
        ("clip_value", float("inf")), ("ema", 1.0), ("max_time", -1), ("max_time", "5m"),
        ("target_accuracy", 1.5), ("target_accuracy", 97), ("beta2", 1.0),
        ("class_weight", "even"), ("class_weight", ""), ("class_weight", "coat"),
        ("class_weight", "coat=2="), ("class_weight", "coat=heavy"), ("class_weight", 2),
        ("class_weight", {"coat": -1}), ("class_weight", {"coat": float("nan")}),
        ("class_weight", {"coat": "2"}),
    ],
)  # fmt: skip
def test_bad_values_name_their_field_and_value(field, value):
    with pytest.raises(ConfigError, match=f"^{field}: ") as caught:
        TrainConfig(**{field: value})
    shown = value[-1] if isinstance(value, tuple) else value
    shown = value["coat"] if isinstance(value, dict) else shown
    assert str(shown) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"optimizer": "sgd", "nesterov": True}, "nesterov"),
        ({"momentum": 0.9}, "momentum"),
        ({"patience": 3, "val": 0}, "patience"),
        ({"warmup": 10}, "warmup"),
        ({"momentum": 0.9, "optimizer": "lion"}, "momentum"),
        ({"activation": ("relu", "tanh", "relu")}, "activation"),
        ({"activation": ("relu", "tanh"), "hidden": ()}, "activation"),
        ({"activation": ()}, "activation"),
        ({"residual": True}, "residual"),
        ({"residual": True, "hidden": ()}, "residual"),
        ({"norm": "batch", "hidden": ()}, "norm"),
        ({"dropout": 0.5, "hidden": ()}, "dropout"),
        ({"label_smoothing": 0.1, "loss": "mse"}, "label_smoothing"),
        ({"class_weight": "balanced", "loss": "mae"}, "class_weight"),
        ({"class_weight": {"a": 2}, "loss": "huber"}, "class_weight"),
        ({"target_accuracy": 0.9, "loss": "mse"}, "target_accuracy"),
        ({"target_accuracy": 0.9, "val": 0}, "target_accuracy"),
        ({"huber_delta": 2.0}, "huber_delta"),
        ({"huber_delta": 2.0, "loss": "mse"}, "huber_delta"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, named):
    with pytest.raises(ConfigError, match=f"^{named}: "):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": (64, 64), "residual": True}, {"hidden": (9, 8), "activation": ("relu", "tanh")},
        {"hidden": (), "input_dropout": 0.2}, {"loss": "huber", "huber_delta": 2.0},
        {"target_accuracy": 1}, {"class_weight": {}}, {"warmup": 9}, {"dropout": 0.999},
        {"patience": 1, "max_time": 60, "ema": 0.99, "clip_norm": 1, "label_smoothing": 0.1},
    ],
)  # fmt: skip
def test_settings_that_go_together_are_taken(settings):
    config = TrainConfig(**settings)
    assert {name: getattr(config, name) for name in settings} == settings


def test_texts_stand_for_lists_and_tables():
    assert TrainConfig(activation="tanh,gelu").activation == ("tanh", "gelu")
    weights = TrainConfig(class_weight="coat=2, t-shirt / top = .5,a=b=1e1").class_weight
    assert weights == {"coat": 2, "t-shirt / top": 0.5, "a=b": 10}
    assert TrainConfig(class_weight="balanced").class_weight == "balanced"


def test_names_are_those_that_the_rest_of_the_package_knows():
    """They are repeated here because this module can do without NumPy."""
    from fastnn import kernels
    from fastnn.kernels import formulas
    from fastnn.nn import blocks, initial, objective, optim
    from fastnn.training import config

    assert tuple(formulas.ACTIVATIONS) == config.ACTIVATIONS
    assert blocks.NORMS == config.NORMS
    assert initial.INITS == config.INITS
    assert objective.LOSSES == config.LOSSES
    assert tuple(optim.OPTIMIZERS) == config.OPTIMIZERS
    assert (kernels.CHOICES, kernels.PRECISIONS) == (config.KERNELS, config.PRECISIONS)


def test_whole_floats_and_lists_are_taken_where_nothing_is_lost():
    config = TrainConfig(epochs=3.0, hidden=[64, 32.0], learning_rate=1)
    assert config.epochs == 3
    assert isinstance(config.epochs, int)
    assert config.hidden == (64, 32)
    assert isinstance(config.learning_rate, float)


def test_unknown_settings_get_a_suggestion():
    with pytest.raises(ConfigError, match=r"mine: unknown setting 'batchsize'.*'batch_size'"):
        TrainConfig().updated({"batchsize": 3}, "mine")


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_files_layer_over_a_base(tmp_path, suffix):
    path = tmp_path / f"settings{suffix}"
    path.write_text('{"epochs": 7}' if suffix == ".json" else "epochs = 7\nhidden = [8]\n")
    config = TrainConfig.from_file(path, TrainConfig(batch_size=9))
    assert (config.epochs, config.batch_size) == (7, 9)


def test_a_configuration_survives_its_own_json(tmp_path):
    config = TrainConfig(
        hidden=(3, 4), label="class", epochs=2, optimizer="sgd", momentum=0.5,
        activation=("gelu", "tanh"), class_weight={"a, b": 2.0}, max_time=60,
    )  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert TrainConfig.from_file(path) == config


@pytest.mark.parametrize("content", ["{", "[1]", "\xff", '{"epochs": "x"}', '{"nonsense": 1}'])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match="broken.json"):
        TrainConfig.from_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="absent.toml"):
        load_recipe(str(tmp_path / "absent.toml"))


def test_packaged_recipes_load_and_differ_from_the_defaults():
    assert {"adam-50", "sgd-25", "mnist-2", "fashion-2"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name) != TrainConfig()


def test_an_unknown_recipe_gets_a_suggestion():
    with pytest.raises(ConfigError, match=r"adam-5o.*'adam-50'"):
        load_recipe("adam-5o")


def test_the_module_needs_no_numpy():
    code = (
        "import sys; sys.modules['numpy'] = None; import fastnn.training.config as c;"
        "print(c.TrainConfig().epochs)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "10", answer.stderr


def test_toml_is_read_back_as_the_same_settings(tmp_path):
    config = TrainConfig(
        dataset='a "quoted" C:\\path \u00e5\x7f\U0001f45f', hidden=(7,), activation=("tanh",),
        optimizer="sgd", momentum=0.1 + 0.2, nesterov=True, learning_rate=1e-30, max_time=1e22,
        class_weight={"T-shirt/top": 2.0, 'x"=': 0.5},
    )  # fmt: skip
    path = tmp_path / "settings.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert TrainConfig.from_file(path) == config
    assert TrainConfig().to_toml() == ""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"optimizer": "sgd", "beta1": 0.5}, "beta1: belongs to adam and adamw and lion, and"),
        ({"optimizer": "sgd", "beta2": 0.5}, "beta2: belongs"),
        ({"optimizer": "lion", "eps": 1e-3}, "eps: belongs"),
        ({"optimizer": "rmsprop", "momentum": 0.9}, "momentum: belongs to sgd"),
        ({"schedule": "cosine", "schedule_every": 3}, "schedule_every: belongs to step and plat"),
        ({"schedule_factor": 0.5}, "schedule_factor: belongs"),
        ({"hidden": (), "activation": ("gelu",)}, "activation: belongs to hidden layers"),
        ({"hidden": (8,), "residual": True}, "residual: needs two or more hidden layers"),
        ({"norm": "batch", "batch_size": 1}, "batch_size: a batch norm needs at least 2"),
        ({"class_weight": "a=1,a=2"}, "class_weight: each weight needs a class of its own"),
        ({"class_weight": "=2"}, "class_weight: each weight needs a class of its own"),
    ],
)
def test_a_setting_that_would_do_nothing_is_named(settings, told):
    with pytest.raises(ConfigError, match=told):
        TrainConfig().updated(settings, "test")


def test_names_in_a_list_may_stand_apart():
    config = TrainConfig().updated({"activation": "relu, gelu"}, "test")
    assert config.activation == ("relu", "gelu")
