"""The arithmetic of one training step, as one protocol with interchangeable implementations.

Conventions: outputs come first and are written in place, then inputs, then scratch arrays whose
contents mean nothing afterwards, then keyword-only scalars. Kernels check no shapes (the workspace
fixes them), allocate nothing that grows with the batch, and never read a value back to the host.

What changes from step to step, the learning rate above all, arrives in a small array (`rates`)
instead of a scalar: a step that was captured as a CUDA graph has its scalars frozen.
"""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

from fastnn.backend import Array, Backend
from fastnn.errors import ConfigError
from fastnn.kernels.reference import Reference


class XentScratch(NamedTuple):
    """What `softmax_xent` may write on, besides the constant one-hot rows."""

    identity: Array  # (C, C)
    onehot: Array  # (B, C)
    row: Array  # (B, 1)
    guess: Array  # (B,) int64


class Kernels(Protocol):
    """What a device must be able to do to train an MLP. Shape letters: see `fastnn`."""

    def new_mask(self, batch: int, width: int) -> Array:
        """A buffer in which `affine` notes for `affine_backward` what its ReLU let through.

        Its contents are the implementation's own; its first B rows serve a batch of B.
        """

    def gather(
        self,
        x: Array,  # (B, D) out, scaled inputs
        labels_out: Array,  # (B,) out
        inputs: Array,  # (N, D) uint8 or float
        labels: Array,  # (N,)
        rows: Array,  # (B,) which examples
        raw: Array,  # (B, D) scratch in the dtype of `inputs`
        offset: Array | None,  # (1,) or (D,)
        factor: Array,  # (1,) or (D,)
    ) -> None:
        """x = (inputs[rows] - offset) * factor; labels_out = labels[rows]."""

    def affine(self, y: Array, mask: Array | None, x: Array, w: Array, b: Array) -> None:
        """y = x @ w + b, (B, O) from (B, I), (I, O), (O,); with a mask, y = max(y, 0) after it."""

    def affine_backward(
        self,
        dx: Array | None,  # (B, I) out; None for the first layer: nobody asks
        dw: Array,  # (I, O) out
        db: Array,  # (O,) out
        dy: Array,  # (B, O)
        x: Array,  # (B, I)
        w: Array,  # (I, O)
        mask: Array | None,  # of the ReLU that made x
    ) -> None:
        """dw = x.T @ dy, db = dy summed over B, dx = dy @ w.T; with a mask, dx = 0 where x = 0."""

    def softmax_xent(
        self,
        dz: Array,  # (B, C) out
        losses: Array,  # (B,) out
        hits: Array,  # (B,) bool out
        z: Array,  # (B, C) logits, used as scratch
        labels: Array,  # (B,)
        scratch: XentScratch,
        *,
        scale: float,
    ) -> None:
        """losses = logsumexp(z) - z[label]; dz = scale * (softmax(z) - onehot(label)).

        hits = argmax(z) == label, the first of equal logits winning. Finite for logits whose
        differences are (float32: up to 3e38 apart).
        """

    def sgd(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        momentum: float, nesterov: bool, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        """m = momentum * m + g; p -= lr * (g + momentum * m if nesterov else m), all (P,).

        Before that g += decay * p on the first n_decay elements (L2, the weight matrices).
        `rates` is (1,): lr.
        """

    def adam(
        self, p: Array, g: Array, m: Array, v: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int, decoupled: bool,
    ) -> None:  # fmt: skip
        """m = beta1 m + (1-beta1) g; v = beta2 v + (1-beta2) g^2; p -= size m / (sqrt v + eps').

        `rates` is (3,): size, eps' and shrink, into which `Adam.rates` has worked learning rate and
        bias corrections. Decay acts on the first n_decay elements: g += decay * p (L2), or, if
        `decoupled`, p *= shrink first (AdamW, Loshchilov & Hutter, arXiv:1711.05101).
        """


_log = logging.getLogger("fastnn")

CHOICES = ("auto", "reference", "fused", "captured")
PRECISIONS = ("float32", "tf32")


def kernels_for(backend: Backend, choice: str = "auto", precision: str = "float32") -> Kernels:
    """The kernels that serve a backend: the fused ones where they are to be had.

    On a CPU that needs Numba. "captured" are the fused ones too, but only where a training step can
    do without Python: as a CUDA graph, or on a CPU as part of a compiled epoch.
    """
    if choice not in CHOICES:
        raise ConfigError(f"kernels: {choice!r} is not one of {', '.join(CHOICES)}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: {precision!r} is not one of {', '.join(PRECISIONS)}")
    if backend.name == "cpu" and precision != "float32":
        why = f" ({backend.reason})" if backend.reason.startswith("auto") else ""
        raise ConfigError(
            f"precision {precision!r} needs an NVIDIA GPU, and this is the CPU{why}; "
            "on a CPU use --precision float32"
        )
    if choice == "reference":
        if precision != "float32":
            raise ConfigError(
                f"precision: the reference kernels compute in float32, not {precision!r}; "
                "use --kernels fused or captured"
            )
        return Reference(backend.xp)
    if backend.name == "cpu":
        from fastnn.kernels.cpu import Compiled, compiled

        kernels = compiled()
        if isinstance(kernels, Compiled):
            return kernels
        if choice == "auto":
            if "not installed" not in kernels:  # somebody meant it to be used
                _log.warning("%s: plain NumPy kernels are used instead", kernels)
            return Reference(backend.xp)
        raise ConfigError(f"kernels {choice!r}: {kernels}; without it use --kernels auto")
    from fastnn.kernels.cuda import fused_for

    return fused_for(backend, must_capture=choice == "captured", precision=precision)
