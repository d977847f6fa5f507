"""The arithmetic of one training step, as one protocol with interchangeable implementations.

Conventions: outputs come first and are written in place, then inputs, then scratch arrays whose
contents mean nothing afterwards, then keyword-only scalars. Kernels check no shapes (the workspace
fixes them), allocate nothing that grows with the batch, and never read a value back to the host.

What changes from step to step arrives in small arrays instead of scalars, the learning rate in
`rates` and the place of a batch among all random numbers in `noise`: a step that was captured as a
CUDA graph has its scalars frozen.

Random numbers are counted, not drawn (as in Salmon et al., SC 2011): `noise` (2,) uint64 holds the
key of the epoch and the number of examples of this epoch before the batch. Word i of stream s is
mix(mix(key + G (s + 1)) + G (i + 1)) modulo 2^64, where mix and G are those of SplitMix64 (Steele,
Lea & Flood, OOPSLA 2014). So every device, thread and resumed run meets the same ones.
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


class Augmentation(NamedTuple):
    """How pictures are varied while they are gathered; anew in each epoch.

    In this order: mirrored left to right with probability 1/2 if `flip`; moved by up to `shift`
    whole pixels each way; a square of side `cutout` around any pixel blanked (DeVries & Taylor,
    arXiv:1708.04552). What comes into view or is blanked has the raw value 0.
    """

    height: int
    width: int
    channels: int
    shift: int
    flip: bool
    cutout: int


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
        noise: Array,  # (2,) uint64
        *,
        augmentation: Augmentation | None,
    ) -> None:
        """x = (inputs[rows] - offset) * factor; labels_out = labels[rows].

        With an augmentation, inputs are varied first: word i of its stream is that of the epoch's
        i-th example. Of its bits, counted from the lowest, 16 choose the move down, 16 that to the
        right, 1 the mirror, 15 the row and 15 the column of the cut.
        """

    def take(self, out: Array, table: Array, rows: Array) -> None:
        """out = table[rows], (B, ...) from (N, ...)."""

    def affine(self, y: Array, mask: Array | None, x: Array, w: Array, b: Array | None) -> None:
        """y = x @ w + b, (B, O) from (B, I), (I, O), (O,); with a mask, y = max(y, 0) after it.

        `b` may be missing where there is no mask.
        """

    def affine_backward(
        self,
        dx: Array | None,  # (B, I) out; None for the first layer: nobody asks
        dw: Array,  # (I, O) out
        db: Array | None,  # (O,) out; None where there is no bias
        dy: Array,  # (B, O)
        x: Array,  # (B, I)
        w: Array,  # (I, O)
        mask: Array | None,  # of the ReLU that made x
    ) -> None:
        """dw = x.T @ dy, db = dy summed over B, dx = dy @ w.T; with a mask, dx = 0 where x = 0."""

    def normalize(
        self,
        y: Array,  # (B, O) out
        x_hat: Array,  # (B, O) out, may be x
        factor: Array,  # (B, 1) or (1, O) out
        x: Array,  # (B, O)
        gain: Array,  # (O,)
        shift: Array,  # (O,)
        running: tuple[Array, Array] | None,  # mean and variance, (O,) each
        *,
        axis: int,
        track: bool,
    ) -> None:
        """x_hat = (x - mean) * factor, factor = 1 / sqrt(var + 1e-5); y = gain * x_hat + shift.

        Mean and biased variance along `axis`: 1 is layer norm (Ba et al., arXiv:1607.06450), 0 is
        batch norm (Ioffe & Szegedy, arXiv:1502.03167). With `running` they are those instead,
        unless `track`: then the batch's are used, and the running ones move a tenth of the way
        towards them, the variance made unbiased by B / (B - 1).
        """

    def normalize_backward(
        self,
        dx: Array,  # (B, O) out, may be dy
        dgain: Array,  # (O,) out
        dshift: Array,  # (O,) out
        dy: Array,  # (B, O)
        x_hat: Array,
        factor: Array,
        gain: Array,
        *,
        axis: int | None,
    ) -> None:
        """The gradient through `normalize`; `axis` None where mean and variance were given.

        dx = factor * (d - mean(d) - x_hat * mean(d * x_hat)) with d = gain * dy, means along
        `axis`; dx = factor * d without. dgain = sum of dy * x_hat over B, dshift = sum of dy.
        """

    def activate(
        self,
        y: Array,  # (B, O) out, may be x
        x: Array,  # (B, O)
        skip: Array | None,  # (B, O)
        noise: Array,  # (2,) uint64
        *,
        activation: str,
        dropout: float,
        stream: int,
    ) -> None:
        """y = skip + f(x) * kept / (1 - dropout), f one of formulas.ACTIVATIONS.

        kept is 1 where a word of the stream, read as a fraction of 2^64, is at least `dropout`, and
        else 0 (Srivastava et al., JMLR 2014; inverted). Column o of the epoch's n-th example has
        word n O + o.
        """

    def activate_backward(
        self,
        dx: Array,  # (B, O) out, may be dy
        dy: Array,  # (B, O)
        x: Array,  # (B, O), as it went into `activate`
        noise: Array,
        *,
        activation: str,
        dropout: float,
        stream: int,
    ) -> None:
        """dx = dy * f'(x) * kept / (1 - dropout), with the words that `activate` met."""

    def softmax_xent(
        self,
        dz: Array,  # (B, C) out
        losses: Array,  # (B,) out
        hits: Array,  # (B,) bool out
        z: Array,  # (B, C) logits, used as scratch
        labels: Array,  # (B,)
        weights: Array | None,  # (B,)
        scratch: XentScratch,
        *,
        scale: float,
        smoothing: float,
    ) -> None:
        """losses = logsumexp(z) - t . z; dz = scale * (softmax(z) - t); t = onehot(label).

        With `smoothing` e, t = (1 - e) onehot(label) + e / C (Szegedy et al., arXiv:1512.00567);
        with weights, each row's loss and gradient are multiplied by its own. hits = argmax(z) ==
        label, the first of equal logits winning. Finite for logits whose differences are (float32:
        up to 3e38 apart).
        """

    def residual_loss(
        self,
        dz: Array,  # (B, T) out
        losses: Array,  # (B,) out
        z: Array,  # (B, T) outputs
        targets: Array,  # (B, T)
        weights: Array | None,  # (B,)
        *,
        loss: str,
        c: float,
        scale: float,
    ) -> None:
        """losses = mean of f(z - targets) over T; dz = scale / T * f'(z - targets).

        f is one of formulas.LOSSES with the constant c; weights as in `softmax_xent`.
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

    def rmsprop(
        self, p: Array, g: Array, v: Array, scratch: Array, rates: Array, *,
        beta2: float, eps: float, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        """v = beta2 v + (1-beta2) g^2; p -= lr g / (sqrt v + eps), all (P,); `rates` is (1,): lr.

        Tieleman & Hinton, Coursera 2012, lecture 6e; eps outside the root. L2 decay as in `sgd`.
        """

    def lion(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        """p = shrink p - lr sign(beta1 m + (1-beta1) g); then m = beta2 m + (1-beta2) g.

        Chen et al., arXiv:2302.06675. `rates` is (2,): lr and shrink, which acts on the first
        n_decay elements if `decay`.
        """

    def clip(self, g: Array, scratch: Array, *, value: float, norm: float) -> None:
        """g = g cut to [-value, value], if that is not 0; then g *= min(1, norm / |g|), the same.

        |g| is the norm of the whole vector (Pascanu et al., arXiv:1211.5063).
        """

    def average(self, mean: Array, p: Array, scratch: Array, rates: Array) -> None:
        """mean += rate * (p - mean), (P,); `rates` is (1,): rate."""


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
