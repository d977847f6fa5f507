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
    ],
)  # fmt: skip
def test_bad_values_name_their_field_and_value(field, value):
    with pytest.raises(ConfigError, match=f"^{field}: ") as caught:
        TrainConfig(**{field: value})
    shown = value[-1] if isinstance(value, tuple) else value
    assert str(shown) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"optimizer": "sgd", "nesterov": True}, "nesterov"),
        ({"momentum": 0.9}, "momentum"),
        ({"patience": 3, "val": 0}, "patience"),
        ({"warmup": 2}, "warmup"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, named):
    with pytest.raises(ConfigError, match=f"^{named}: "):
        TrainConfig(**settings)


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
    config = TrainConfig(hidden=(3, 4), label="class", epochs=2, optimizer="sgd", momentum=0.5)
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
