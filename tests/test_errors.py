"""The exception tree: exit codes are the documented ones, and built-in types still catch."""

import pickle
import signal

import pytest

from fastnn import errors


@pytest.mark.parametrize(
    ("kind", "code", "builtin"),
    [
        (errors.ConfigError, 2, ValueError),
        (errors.DataError, 3, ValueError),
        (errors.CheckpointError, 3, Exception),
        (errors.DeviceError, 4, RuntimeError),
        (errors.TrainingDiverged, 5, FloatingPointError),
        (errors.CheckFailed, 6, Exception),
        (errors.OutputError, 1, OSError),
    ],
)
def test_exit_codes_and_builtin_parents(kind, code, builtin):
    assert kind.exit_code == code
    assert issubclass(kind, errors.FastNNError)
    assert issubclass(kind, builtin)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_carries_the_shell_convention(number, code):
    error = errors.Interrupted(number, "saved")
    assert error.exit_code == code
    assert signal.Signals(number).name in str(error)


def test_device_error_keeps_problem_and_remedy():
    error = errors.DeviceError("no driver", "Install it")
    assert (error.problem, error.remedy, str(error)) == (
        "no driver",
        "Install it",
        "no driver. Install it",
    )


def test_did_you_mean_only_when_near():
    assert "'adam'" in errors.did_you_mean("adma", ["adam", "sgd"])
    assert errors.did_you_mean("zzz", ["adam", "sgd"]) == ""


@pytest.mark.parametrize(
    "error", [errors.DeviceError("no driver", "Install it"), errors.Interrupted(2, "saved")]
)
def test_errors_travel_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code) == (type(error), str(error), error.exit_code)
