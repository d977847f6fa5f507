"""Steps on a stand-in GPU: the same network as on the CPU, however its steps are run."""

import sys
from dataclasses import replace

import numpy as np
import pytest

import fastnn
from fastnn.backend import get_backend
from fastnn.errors import ConfigError, DeviceError
from fastnn.kernels import kernels_for
from fastnn.kernels.cublas import Epilogue
from fastnn.nn.objective import Objective
from fastnn.training.run import resume, train
from tests.conftest import blobs
from tests.stand_in.fake_cublaslt import Epilogue as Supported
from tests.stand_in.fake_cublaslt import cuBLASLtError
from tests.test_cli import events, invoke

ROWS, BATCH = 240, 32  # of 300 examples a fifth is held out: 7 batches of 32 and one of 16


def settings(**more):
    return fastnn.TrainConfig(
        **{"hidden": (24, 17), "epochs": 3, "batch_size": BATCH, "val": 0.2} | more
    )


def trained(out=None, **more):
    return train(settings(**more), data=blobs(classes=5), out=out)


def vector(result):
    model = result.classifier.model
    return model.backend.to_host(model.params.vector)


def losses(result):
    return [(r.train_loss, r.valid_loss) for r in result.history]


def agree(found, expected, tolerance=1e-4):
    assert np.array(losses(found)) == pytest.approx(np.array(losses(expected)), rel=tolerance)
    np.testing.assert_allclose(vector(found), vector(expected), rtol=0, atol=tolerance)


def same(found, expected):
    assert losses(found) == losses(expected)
    assert np.array_equal(vector(found), vector(expected))


@pytest.mark.parametrize("kernels", ["reference", "fused", "captured"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_path_learns_what_the_cpu_learns(gpu, kernels, optimizer):
    more = {"weight_decay": 0.01, "optimizer": optimizer, "scaling": "standard"}
    more |= {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    found = trained(device="cuda", kernels=kernels, **more)
    assert (found.kernels, found.device) == (kernels, "cuda:0")
    agree(found, trained(device="cpu", **more))


def test_a_step_is_captured_once_for_each_size_of_batch_and_then_replayed(gpu):
    trained(device="cuda", epochs=5, schedule="cosine")  # the rate changes with every step
    assert gpu.counts["captures"] == 2
    assert gpu.counts["replays"] == 5 * 8 - 2  # the first of each size is launched
    assert gpu.counts["fastnn_adam"] == 4  # launched once and noted once, for each size


def test_algorithms_are_looked_up_once(gpu):
    searches = []

    class Count(fastnn.Callback):
        def on_epoch_end(self, trainer, report):
            searches.append(gpu.lt.searches)

    train(settings(device="cuda", epochs=4), data=blobs(classes=5), callbacks=[Count()])
    assert searches[0] > 0
    assert searches == searches[:1] * 4


def test_a_captured_step_is_few_launches(gpu):
    """For two hidden layers: page, gather, 8 products, loss, tally, Adam."""
    trained(device="cuda", epochs=1)
    gpu.counts.clear()
    trained(device="cuda", epochs=1, val=0, batch_size=300, limit_train=300)
    launched = {k: n for k, n in gpu.counts.items() if k.startswith(("matmul", "fastnn_"))}
    launched |= {k: gpu.counts[k] for k in ("turn_page", "tally")}
    assert launched == {
        "turn_page": 1,
        "fastnn_gather": 3,
        "tally": 1,
        "fastnn_adam": 1,
        "matmul RELU_AUX_BIAS": 6,
        "matmul BIAS": 3,
        "matmul BGRADA": 3,
        "matmul DRELU": 2,
    }  # fmt: skip (with two evaluations of 300 examples, forward only)
    assert gpu.counts["dot"] == 0


def test_captured_and_launched_steps_agree_to_the_bit(gpu):
    same(trained(device="cuda", kernels="captured"), trained(device="cuda", kernels="fused"))


def test_two_runs_with_one_seed_agree_to_the_bit(gpu):
    same(trained(device="cuda"), trained(device="cuda"))


EVERYTHING = {
    "hidden": (24, 24), "dropout": 0.2, "input_dropout": 0.1, "residual": True,
    "label_smoothing": 0.1, "class_weight": {"class 1": 2.0}, "clip_norm": 0.5, "clip_value": 0.1,
    "ema": 0.9, "scaling": "standard", "shift": 1, "flip": True, "cutout": 2,
}  # fmt: skip


def pictures(classes=5):
    """The blobs as pictures of 3 x 4 pixels."""
    return replace(blobs(classes=classes), shape=(3, 4))


# Before a batch norm a bias has no effect and its gradient is nothing but rounding, of which Adam,
# RMSProp and Lion make steps of full size; so only SGD learns the same biases everywhere.
@pytest.mark.parametrize(
    ("norm", "activation", "optimizer", "rate"),
    [("layer", "gelu", "adam", 1e-3), ("batch", ("gelu", "silu"), "sgd", 0.1),
     ("layer", "tanh", "lion", 1e-3), ("none", "leaky-relu", "rmsprop", 1e-3)],
)  # fmt: skip
def test_with_everything_on_all_paths_learn_the_same(
    gpu, without_numba, norm, activation, optimizer, rate
):
    more = EVERYTHING | {"norm": norm, "activation": activation}
    more |= {"optimizer": optimizer, "learning_rate": rate}

    def run(device, kernels):
        return train(settings(device=device, kernels=kernels, **more), data=pictures())

    expected = run("cpu", "reference")
    fused, captured = run("cuda", "fused"), run("cuda", "captured")
    assert (fused.kernels, captured.kernels) == ("fused", "captured")
    agree(captured, expected)
    same(captured, fused)
    assert captured.history[-1].train_loss < captured.history[0].train_loss


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_a_regression_is_captured(gpu, without_numba, loss):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 6)).astype(np.float32)
    targets = (inputs @ rng.normal(size=(6, 2))).astype(np.float32)
    found = []
    for device, choice in (("cpu", "reference"), ("cuda", "fused"), ("cuda", "captured")):
        backend = get_backend(device)
        kernels = kernels_for(backend, choice)
        examples = fastnn.Examples(inputs, targets)
        scaling = fastnn.Scaling.fit(inputs, "standard")
        batches = fastnn.Batches(examples, BATCH, scaling, backend, seed=0, kernels=kernels)
        model = fastnn.MLP(
            (6, 16, 2), backend, rng=np.random.default_rng(1), objective=Objective(loss),
            kernels=kernels,
        )  # fmt: skip
        optimizer = fastnn.Adam(model.params, kernels=kernels)
        trainer = fastnn.Trainer(model, optimizer, lambda step: 1e-2, kernels=choice)
        trainer.fit(batches, epochs=4)
        assert trainer.path == choice
        found.append([report.train_loss for report in trainer.history])
    reference, fused, captured = found
    assert captured == fused
    assert captured == pytest.approx(reference, rel=1e-4)
    assert captured[-1] < 0.7 * captured[0]


@pytest.mark.parametrize(
    "missing",
    [
        {"RELU_AUX_BIAS", "DRELU"}, {"BGRADA"}, {"RELU_AUX_BIAS", "RELU_BIAS", "BGRADA"},
        {"DRELU"}, {"RELU_AUX_BIAS", "RELU_BIAS", "BIAS", "BGRADA", "DRELU"},
    ],
)  # fmt: skip
def test_without_an_epilogue_other_kernels_do_its_work(gpu, missing):
    gpu.lt.supported -= {Supported[name] for name in missing}
    found = trained(device="cuda")
    assert found.kernels == "captured"
    assert (gpu.counts["column_sums"] > 0) is ("BGRADA" in missing)
    assert (gpu.counts["fastnn_relu_backward"] > 0) is bool({"RELU_AUX_BIAS", "DRELU"} & missing)
    assert not any(gpu.counts[f"matmul {name}"] for name in missing)
    agree(found, trained(device="cpu"))


def test_products_that_cublaslt_does_not_have_are_cupys(gpu):
    """And then a step cannot be captured, because CuPy refuses that."""
    gpu.lt.supported.clear()
    with pytest.warns(RuntimeWarning, match="NotImplementedError: calling cuBLAS"):
        found = trained(device="cuda")
    assert found.kernels == "fused"
    agree(found, trained(device="cpu"))


def test_a_product_that_is_refused_at_the_call_is_done_otherwise(gpu):
    """As cuBLAS 13.3 refuses some with one row although its heuristics proposed them."""
    gpu.lt.refuses = lambda m, n, k, epilogue: epilogue.name in ("BGRADA", "RELU_AUX_BIAS")
    for gpu.lt.refusal in (15, 7):  # not supported, invalid value
        gpu.lt.refused = 0
        found = trained(device="cuda")
        assert found.kernels == "captured"
        assert gpu.counts["column_sums"] > 0
        # 3 weight gradients and 2 ReLUs, each once for its shape, in training and in evaluation.
        assert gpu.lt.refused == 2 * 3 + 2 * 2 + 3 * 2
        agree(found, trained(device="cpu"))
    gpu.lt.refusal = 13  # an execution that failed is no reason to try another way
    with pytest.raises(DeviceError, match="refused a call"):
        trained(device="cuda")


def test_bits_of_an_earlier_pass_are_not_taken_for_those_of_this(gpu):
    backend = get_backend("cuda")
    kernels, xp = kernels_for(backend), backend.xp
    x, dx, mask = xp.zeros((1, 2), np.float32), xp.zeros((1, 2), np.float32), None
    mask = kernels.new_mask(1, 2)
    one, bias = xp.ones((1, 1), np.float32), xp.zeros(2, np.float32)
    w, dw, db = xp.ones((2, 1), np.float32), xp.zeros((2, 1), np.float32), xp.zeros(1, np.float32)
    kernels.affine(x, mask, one, backend.asarray([[1.0, -1.0]], np.float32), bias)
    gpu.lt.refuses = lambda m, n, k, epilogue: epilogue.name == "RELU_AUX_BIAS"
    kernels.affine(x, mask, one, backend.asarray([[-1.0, 1.0]], np.float32), bias)
    kernels.affine_backward(dx, dw, db, one, x, w, mask)
    assert backend.to_host(dx).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    "error", [OSError("libcublasLt.so.13: cannot open"), RuntimeError("no"), cuBLASLtError(1)]
)
def test_a_library_that_does_not_start_is_a_reason_to_launch(gpu, error):
    def create():
        raise error

    gpu.lt.create = create
    why = kernels_for(get_backend("cuda")).why_not_captured
    assert f"cuBLASLt does not start: {type(error).__name__}: {error}" in why
    assert "reinstall nvmath-python" in why
    with pytest.raises(DeviceError, match="does not start"):
        kernels_for(get_backend("cuda"), "captured")


def test_sources_are_compiled_once_a_process(gpu):
    trained(device="cuda")
    trained(device="cuda")
    assert gpu.counts["modules"] == 1


@pytest.mark.parametrize(
    ("identity", "splits", "k", "wrong"),
    [(66, 24, 784, True), (66, 16, 784, False), (66, 1, 784, False), (65, 24, 784, False),
     (66, 3, 128, True), (66, 128, 64, True)],
)  # fmt: skip
def test_the_algorithm_that_sums_wrongly_is_known(identity, splits, k, wrong):
    """CUDA's release notes: number 66, where its split does not divide K."""
    import ctypes
    from types import SimpleNamespace

    from fastnn.kernels.cublas import _splits_wrongly

    def get(algorithm, attribute, pointer, size, written):
        ctypes.c_int32.from_address(pointer).value = {"id": identity, "splits": splits}[attribute]

    attributes = {"ID": "id", "SPLITK_NUM": "splits"}
    lt = SimpleNamespace(MatmulAlgoConfigAttribute=attributes, matmul_algo_config_get_attribute=get)
    assert _splits_wrongly(lt, 0, k) is wrong


def test_an_algorithm_that_is_known_to_be_wrong_or_failed_is_passed_over(gpu):
    """66 with a split that does not divide K (12 inputs in 7 parts); a state of failure."""
    gpu.lt.algorithms = [(0, 66, 7), (15, 1, 1), (0, 5, 7)]
    trained(device="cuda", epochs=1, hidden=(24, 17), val=0, batch_size=33)
    assert set(gpu.lt.used) == {2}
    gpu.lt.algorithms = [(0, 66, 1)]  # without a split it is right
    gpu.lt.used.clear()
    trained(device="cuda", epochs=1)
    assert set(gpu.lt.used) == {0}


def test_tf32_is_asked_for_and_recorded(gpu):
    found, exact = trained(device="cuda", precision="tf32"), trained(device="cuda")
    assert (found.precision, exact.precision) == ("tf32", "float32")
    assert not np.array_equal(vector(found), vector(exact))
    agree(found, exact, 0.05)


def test_tf32_needs_a_gpu_that_has_it(gpu):
    for capability in ("80", "89", "120"):
        gpu.capability = capability
        kernels_for(get_backend("cuda"), "auto", "tf32")
    gpu.capability = "75"
    with pytest.raises(DeviceError, match=r"8\.0, cuda:0 has 7\.5"):
        kernels_for(get_backend("cuda"), "auto", "tf32")


def test_the_reference_has_no_tf32(gpu):
    with pytest.raises(ConfigError, match="reference kernels compute in float32"):
        kernels_for(get_backend("cuda"), "reference", "tf32")


@pytest.fixture
def without_nvmath(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", None)


def test_without_cublaslt_the_steps_are_launched_and_it_is_said_once(gpu, without_nvmath):
    with pytest.warns(RuntimeWarning, match="nvmath-python is not installed") as caught:
        found = trained(device="cuda")
    assert len(caught) == 1
    assert found.kernels == "fused"
    assert gpu.counts["captures"] == 0
    agree(found, trained(device="cpu"))


@pytest.mark.parametrize("asked", [{"kernels": "captured"}, {"precision": "tf32"}])
def test_what_was_asked_for_and_cannot_be_had_is_an_error(gpu, without_nvmath, asked):
    with pytest.raises(DeviceError, match="needs cuBLASLt") as caught:
        trained(device="cuda", **asked)
    assert "pip install nvmath-python" in caught.value.remedy


def test_where_capturing_fails_the_steps_are_launched_and_it_is_said_once(gpu):
    gpu.fail_capture = "cudaErrorStreamCaptureUnsupported"
    with pytest.warns(RuntimeWarning, match="cudaErrorStreamCaptureUnsupported") as caught:
        found = trained(device="cuda")
    assert len(caught) == 1
    assert gpu.counts["captures"] == 1
    gpu.fail_capture = None
    assert found.kernels == "fused"
    same(found, trained(device="cuda"))


def test_a_capture_that_was_insisted_on_and_fails_is_an_error(gpu):
    gpu.fail_capture = "cudaErrorStreamCaptureUnsupported"
    with pytest.raises(DeviceError, match="cannot be captured"):
        trained(device="cuda", kernels="captured")


def test_a_failure_inside_a_capture_ends_it(gpu, monkeypatch):
    """The stream would stay unusable."""
    from fastnn.kernels.cuda import Fused

    def refuse(*_args, **_options):
        if gpu.current.recording is not None:
            raise RuntimeError("not while capturing")
        return right(*_args, **_options)

    right = Fused.sgd
    monkeypatch.setattr(Fused, "sgd", refuse)
    with pytest.warns(RuntimeWarning, match="not while capturing"):
        found = trained(device="cuda", optimizer="sgd")
    monkeypatch.undo()
    agree(found, trained(device="cpu", optimizer="sgd"))


def test_the_first_failure_is_told_not_what_follows_from_it(gpu, monkeypatch):
    from fastnn.kernels.cuda import Fused

    right = Fused.adam

    def refuse(*arguments, **options):
        if gpu.current.recording is not None:
            gpu.fail_capture = "cudaErrorStreamCaptureInvalidated"
            raise RuntimeError("the cause")
        right(*arguments, **options)

    monkeypatch.setattr(Fused, "adam", refuse)
    with pytest.warns(RuntimeWarning, match="RuntimeError: the cause"):
        trained(device="cuda")


def test_a_size_that_cannot_be_captured_leaves_the_other_its_graph(gpu):
    class Break(fastnn.Callback):
        def on_epoch_end(self, trainer, report):
            gpu.fail_capture = "cudaErrorUnknown"  # the last, smaller batch is captured next

    with pytest.warns(RuntimeWarning, match="cudaErrorUnknown"):
        found = train(settings(device="cuda"), data=blobs(classes=5), callbacks=[Break()])
    assert found.kernels == "captured"
    assert gpu.counts["replays"] == 3 * 7 - 1
    gpu.fail_capture = None
    same(found, trained(device="cuda"))


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(gpu, enabled):
    import gc

    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        trained(device="cuda", epochs=1)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_who_asks_for_launches_is_not_warned_of_them(gpu, without_nvmath):
    assert trained(device="cuda", kernels="fused").kernels == "fused"


def test_float64_is_trained_but_not_captured(gpu):
    backend = get_backend("cuda")
    data = blobs()
    scaling = fastnn.Scaling.fit(data.train.inputs)
    batches = fastnn.Batches(data.train, 50, scaling, backend, seed=0, dtype=np.float64)
    model = fastnn.MLP((12, 9, 3), backend, rng=np.random.default_rng(0), dtype=np.float64)
    trainer = fastnn.Trainer(model, fastnn.Adam(model.params), lambda step: 1e-3)
    with pytest.warns(RuntimeWarning, match="float32"):
        trainer.fit(batches, epochs=2)
    assert trainer.path == "fused"


@pytest.mark.parametrize("resident", [True, False])
def test_data_that_do_not_fit_stream_to_the_same_result(gpu, monkeypatch, resident):
    monkeypatch.setattr("fastnn.data.ring.HALF_BYTES", 3 * BATCH * 12)  # 3 batches in a half
    expected = trained(device="cuda")
    if not resident:
        gpu.free = 3000  # the 240 examples are 2880 bytes: more than half of it
        monkeypatch.setattr(
            gpu, "fresh", lambda array, fresh=gpu.fresh: _unlimited(gpu, fresh, array)
        )
    gpu.counts.clear()
    same(trained(device="cuda"), expected)
    assert bool(gpu.counts["pinned"]) is not resident


def _unlimited(gpu, fresh, array):
    """Only the question of how much is free is to be answered with little."""
    free, gpu.free = gpu.free, 1 << 40
    try:
        return fresh(array)
    finally:
        gpu.free = free


@pytest.mark.parametrize(("spare", "streams"), [(0, False), (-1, True)])
def test_more_than_half_of_free_memory_is_too_much(gpu, spare, streams):
    inputs = np.zeros((30, 10), np.float32)
    examples = fastnn.Examples(inputs, np.zeros(30, np.int32))
    backend = get_backend("cuda")
    gpu.free = 2 * inputs.nbytes + spare
    with pytest.MonkeyPatch.context() as patched:
        fresh = gpu.fresh
        patched.setattr(gpu, "fresh", lambda array: _unlimited(gpu, fresh, array))
        batches = fastnn.Batches(examples, 100, fastnn.Scaling.fit(inputs), backend)
        assert bool(gpu.counts["pinned"]) is streams
        gpu.history.clear()
        assert [len(batch.labels) for batch in batches] == [30]
    assert any(entry[0] == "wait" for entry in gpu.history) is streams


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_moves_between_devices(gpu, tmp_path, first, second):
    expected = trained(device=second, epochs=4)
    half = trained(tmp_path, device=first, epochs=2)
    found = resume(half.folder, data=blobs(classes=5), epochs=4, device=second)
    assert found.device.startswith(second)
    agree(found, expected)


def test_a_resumed_run_may_change_what_computes_it(gpu, tmp_path):
    half = trained(tmp_path, device="cuda", epochs=2)
    data = blobs(classes=5)
    found = resume(half.folder, data=data, epochs=3, kernels="fused", precision="tf32")
    assert (found.kernels, found.precision) == ("fused", "tf32")
    assert found.summary()["precision"] == "tf32"
    again = resume(half.folder, data=data, epochs=4)  # and that is what the run is from then on
    assert (again.kernels, again.precision) == ("fused", "tf32")
    with pytest.raises(ConfigError, match="use --precision float32"):
        resume(half.folder, data=data, epochs=5, device="cpu")


def test_a_run_stopped_within_an_epoch_goes_on_to_the_bit(gpu, tmp_path):
    class Stop(fastnn.Callback):
        saves = 0

        def on_save(self, trainer):
            self.saves += 1
            if self.saves == 4:
                trainer.interrupt(15)

    config = settings(device="cuda", save_every=3)
    with pytest.raises(fastnn.errors.Interrupted):
        train(config, data=blobs(classes=5), out=tmp_path, callbacks=[Stop()])
    (folder,) = tmp_path.iterdir()
    found = resume(folder, data=blobs(classes=5))
    same(found, trained(device="cuda"))


def test_a_lost_device_keeps_the_last_checkpoint(gpu, tmp_path):
    class Break(fastnn.Callback):
        def on_epoch_end(self, trainer, report):
            gpu.fail_at = "turn_page"  # the next epoch's first kernel

    config = settings(device="cuda", kernels="fused")
    with pytest.raises(DeviceError, match="stopped working") as caught:
        train(config, data=blobs(classes=5), out=tmp_path, callbacks=[Break()])
    (folder,) = tmp_path.iterdir()
    assert f"fastnn train --resume {folder}" in "".join(caught.value.__notes__)
    gpu.fail_at = None
    same(resume(folder, data=blobs(classes=5)), trained(device="cuda"))


def test_the_command_line_trains_on_a_gpu_and_records_how(gpu, blob_file, tmp_path):
    arguments = ["--dataset", str(blob_file), "--device", "cuda", "--epochs", "2", "--json"]
    done = events(invoke("train", *arguments, "--out", str(tmp_path / "runs")).stdout)[-1]
    assert (done["device"], done["kernels"], done["precision"]) == ("cuda:0", "captured", "float32")
    refused = invoke("train", *arguments, "--kernels", "quick", code=2).stderr
    assert "kernels: 'quick' must be one of auto, reference, fused, captured" in refused


def test_a_run_is_evaluated_and_predicted_with_on_either_device(gpu, blob_file, tmp_path):
    arguments = ["--dataset", str(blob_file), "--epochs", "2", "--json", "--device", "cuda"]
    done = events(invoke("train", *arguments, "--out", str(tmp_path / "runs")).stdout)[-1]
    images = tmp_path / "images.npy"
    np.save(images, blobs().train.inputs[:20])
    scores, answers = [], []
    for device in ("cpu", "cuda"):
        found = invoke("evaluate", done["run"], "--json", "--device", device).stdout
        scores.append(events(found)[-1]["accuracy"])
        answers.append(invoke("predict", done["run"], str(images), "--device", device).stdout)
    assert scores[0] == scores[1] == done["test_accuracy"]
    assert [line.split(",")[:2] for line in answers[0].splitlines()] == [
        line.split(",")[:2] for line in answers[1].splitlines()
    ]


def test_the_command_line_says_why_steps_are_not_captured(gpu, without_nvmath, blob_file, tmp_path):
    arguments = ["--dataset", str(blob_file), "--device", "cuda", "--epochs", "1"]
    with pytest.warns(RuntimeWarning, match="kernel by kernel"):
        invoke("train", *arguments, "--out", str(tmp_path / "runs"))


def test_choices_are_the_same_everywhere():
    from fastnn import kernels
    from fastnn.training import config

    assert config.KERNELS == kernels.CHOICES
    assert config.PRECISIONS == kernels.PRECISIONS


def test_every_epilogue_is_one_of_cublaslts():
    assert {e.value for e in Epilogue} == {e.name for e in Supported}
