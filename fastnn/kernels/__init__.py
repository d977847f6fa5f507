"""The arithmetic of one training step, as one protocol with interchangeable implementations.

Conventions: outputs come first and are written in place, then inputs, then scratch arrays whose
contents mean nothing afterwards, then keyword-only scalars. Kernels check no shapes (the workspace
fixes them), allocate nothing that grows with the batch, and never read a value back to the host.
"""

from __future__ import annotations

from typing import Protocol

from fastnn.backend import Array, Backend
from fastnn.kernels.reference import Reference


class Kernels(Protocol):
    """What a device must be able to do to train an MLP. Shape letters: see `fastnn`."""

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

    def affine(self, y: Array, x: Array, w: Array, b: Array, *, relu: bool) -> None:
        """y = x @ w + b, then max(y, 0) if `relu`: (B, O) from (B, I), (I, O), (O,)."""

    def affine_backward(
        self, dx: Array | None, dw: Array, db: Array, dy: Array, x: Array, w: Array
    ) -> None:
        """dw = x.T @ dy, db = dy summed over B, dx = dy @ w.T unless None (the first layer)."""

    def relu_backward(self, dy: Array, y: Array, mask: Array) -> None:
        """dy = dy where y > 0, else 0; y is the ReLU's output and mask (B, O) bool is scratch."""

    def softmax_xent(
        self,
        dz: Array,  # (B, C) out
        losses: Array,  # (B,) out
        z: Array,  # (B, C) logits; on return each row is shifted by its maximum
        labels: Array,  # (B,)
        identity: Array,  # (C, C) the one-hot rows
        onehot: Array,  # (B, C) scratch
        row: Array,  # (B, 1) scratch
        *,
        scale: float,
    ) -> None:
        """losses = logsumexp(z) - z[label]; dz = scale * (softmax(z) - onehot(label)).

        Finite for logits whose differences are (float32: up to 3e38 apart).
        """

    def count_correct(self, hits: Array, z: Array, labels: Array, guess: Array) -> None:
        """hits = argmax(z) == label, (B,) bool; of equal logits the first wins."""

    def sgd(
        self, p: Array, g: Array, m: Array, scratch: Array, *,
        lr: float, momentum: float, nesterov: bool, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        """m = momentum * m + g; p -= lr * (g + momentum * m if nesterov else m), all (P,).

        Before that g += decay * p on the first n_decay elements (L2, the weight matrices).
        """

    def adam(
        self, p: Array, g: Array, m: Array, v: Array, scratch: Array, *,
        lr: float, beta1: float, beta2: float, eps: float,
        decay: float, n_decay: int, decoupled: bool, step: int,
    ) -> None:  # fmt: skip
        """Adam, Algorithm 1 of Kingma & Ba (arXiv:1412.6980): p -= lr * m^ / (sqrt(v^) + eps).

        eps stands outside the root and is not scaled by the bias correction; `step` counts from 1.
        Decay acts on the first n_decay elements: added to g (L2), or, if `decoupled`, p is shrunk
        by lr * decay first (AdamW, Loshchilov & Hutter, arXiv:1711.05101).
        """


def kernels_for(backend: Backend) -> Kernels:
    """The kernels that serve a backend: today the reference, in NumPy or in CuPy operations."""
    return Reference(backend.xp)
