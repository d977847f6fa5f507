"""PyTorch as a competitor: tensor slices, its DataLoader, torch.compile, and a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.bench.competitors import (
    BETA1,
    BETA2,
    EPS,
    LEARNING_RATE,
    Entrant,
    Problem,
    Skipped,
    imported,
)


def entrants(device: str) -> list[Entrant]:
    """Four ways to write the same training; the graph only where there is a GPU."""
    torch = imported("torch", "torch")
    kinds = {"torch": Eager, "torch DataLoader": Loader, "torch.compile": Compiled}
    if device != "cpu":
        if not torch.cuda.is_available():
            raise Skipped(f"torch {torch.__version__} sees no GPU (install its CUDA build)")
        kinds["torch CUDA graph"] = Graph
    return [Entrant(name, "torch", device, make) for name, make in kinds.items()]


class Eager:
    """Slices of one resident tensor, and Adam as one fused kernel: the plain way, written well."""

    def __init__(self, problem: Problem, batch: int, device: str) -> None:
        import torch

        torch.set_float32_matmul_precision("high" if problem.precision == "tf32" else "highest")
        self._device = torch.device(device)
        self._network = network(problem, self._device)
        self._optimizer = torch.optim.Adam(
            self._network.parameters(), lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPS, fused=True,
            capturable=device != "cpu",
        )  # fmt: skip
        self._batches = self._serve(problem, batch)
        self._last = torch.tensor(float("nan"))

    def run(self, steps: int) -> None:
        import torch

        for _ in range(steps):
            self._step(*next(self._batches))
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def loss(self) -> float:
        return float(self._last)

    def _serve(self, problem: Problem, batch: int) -> Iterator[tuple[Any, Any]]:
        inputs, labels = (tensor.to(self._device) for tensor in tensors(problem))
        return ((inputs[rows], labels[rows]) for rows in problem.rows(batch))

    def _step(self, x: Any, labels: Any) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss_of(x, labels)
        loss.backward()
        self._optimizer.step()
        self._last = loss.detach()

    def _loss_of(self, x: Any, labels: Any) -> Any:
        return cross_entropy(self._network, x, labels)


class Loader(Eager):
    """torch's DataLoader over a TensorDataset, in this process: what people really write."""

    def _serve(self, problem: Problem, batch: int) -> Iterator[tuple[Any, Any]]:
        from torch.utils.data import DataLoader, TensorDataset

        loader = DataLoader(TensorDataset(*tensors(problem)), batch_size=batch, drop_last=True)
        while True:
            for x, labels in loader:
                yield x.to(self._device), labels.to(self._device)


class Compiled(Eager):
    """Forward, loss and backward through torch.compile; Adam is one fused kernel already."""

    def __init__(self, problem: Problem, batch: int, device: str) -> None:
        import torch

        super().__init__(problem, batch, device)
        # A batch size of its own each time: with dynamic=True one compilation would serve all, but
        # a step at batch 32 takes 1.5 times as long. Without the reset the ninth would not compile.
        torch.compiler.reset()
        self._compiled = torch.compile(cross_entropy, dynamic=False)
        inputs, labels = (tensor[:batch].to(self._device) for tensor in tensors(problem))
        try:
            self._loss_of(inputs, labels).backward()
        except Exception as error:  # whatever the compiler chain raises
            first_line = str(error).strip().partition("\n")[0]
            raise Skipped(f"does not compile here ({first_line}); is there a compiler?") from error

    def _loss_of(self, x: Any, labels: Any) -> Any:
        return self._compiled(self._network, x, labels)


class Graph(Eager):
    """The whole step recorded once as a CUDA graph, then replayed on a batch copied into place."""

    def __init__(self, problem: Problem, batch: int, device: str) -> None:
        import torch

        super().__init__(problem, batch, device)
        self._x = torch.zeros((batch, problem.sizes[0]), device=self._device)
        self._labels = torch.zeros(batch, dtype=torch.int64, device=self._device)
        aside = torch.cuda.Stream(self._device)
        aside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(aside):  # torch asks for warm-up on a stream of its own
            for _ in range(3):
                super()._step(self._x, self._labels)
        torch.cuda.current_stream(self._device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self._graph):
            self._static = cross_entropy(self._network, self._x, self._labels)
            self._static.backward()
            self._optimizer.step()
        _start_over(self._network, self._optimizer, problem)

    def _step(self, x: Any, labels: Any) -> None:
        self._x.copy_(x)
        self._labels.copy_(labels)
        self._graph.replay()
        self._last = self._static.detach()


def network(problem: Problem, device: Any) -> Any:
    """Linear layers with ReLU between them, at the common start."""
    from torch import nn

    layers: list[Any] = []
    for fan_in, fan_out in pairwise(problem.sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    network = nn.Sequential(*layers[:-1]).to(device)
    _load_start(network, problem)
    return network


def _load_start(network: Any, problem: Problem) -> None:
    import torch

    with torch.no_grad():
        for layer, (w, b) in zip(network[::2], problem.start, strict=True):
            layer.weight.copy_(torch.from_numpy(w.T.copy()))  # torch keeps (O, I)
            layer.bias.copy_(torch.from_numpy(b.copy()))


def _start_over(network: Any, optimizer: Any, problem: Problem) -> None:
    """Undo the warm-up steps in place, where a recorded graph will look for the tensors."""
    _load_start(network, problem)
    for state in optimizer.state.values():
        for tensor in state.values():
            tensor.zero_()


def tensors(problem: Problem) -> tuple[Any, Any]:
    """Inputs scaled before, and labels; both share the problem's memory where they can."""
    import torch

    labels = torch.from_numpy(problem.examples.labels.astype(np.int64))
    return torch.from_numpy(problem.floats), labels


def cross_entropy(network: Any, x: Any, labels: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(network(x), labels)
