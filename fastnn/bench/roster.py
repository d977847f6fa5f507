"""Who takes part on which device, and why others do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fastnn.backend import get_backend
from fastnn.bench import from_scratch, jax_peer, ours, products, sklearn_peer, torch_peers
from fastnn.bench.competitors import Entrant, Skipped
from fastnn.errors import ConfigError, DeviceError, did_you_mean
from fastnn.kernels import cpu

PEERS: dict[str, Callable[[str], list[Entrant]]] = {
    "numpy": from_scratch.entrants,
    "torch": torch_peers.entrants,
    "jax": jax_peer.entrants,
    "sklearn": sklearn_peer.entrants,
}


def chosen_peers(text: str) -> tuple[str, ...]:
    """Families from text: "all", "none", or names such as "torch,jax"."""
    if text.strip() in ("all", "none"):
        return tuple(PEERS) if text.strip() == "all" else ()
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PEERS:
            raise ConfigError(
                f"--peers: {name!r} is not one of {', '.join(PEERS)}, or all, or none"
                f"{did_you_mean(name, PEERS)}"
            )
    return tuple(name for name in PEERS if name in names)


def devices(text: str, precision: str = "float32") -> tuple[list[str], dict[str, str]]:
    """Devices to measure, and why the others are left out: "auto" is all that there are."""
    if text != "auto":
        return [str(get_backend(text))], {}
    if precision != "float32":
        return [str(get_backend("cuda"))], {"cpu": f"a CPU has no {precision}"}
    try:
        return ["cpu", str(get_backend("cuda"))], {}
    except DeviceError as error:
        return ["cpu"], {"cuda": error.problem}


def roster(
    devices: Iterable[str], peers: Iterable[str], precision: str = "float32"
) -> tuple[list[Entrant], dict[str, str]]:
    """fastnn and the floor first, then the peers, each on every device; and who was skipped."""
    found: list[Entrant] = []
    skipped: dict[str, str] = {}
    for device in devices:
        found += ours.entrants(device, precision) + products.entrants(device)
        if device == "cpu" and isinstance(why := cpu.compiled(), str):
            skipped["fastnn with compiled kernels"] = why
        for family in peers:
            try:
                found += PEERS[family](device)
            except Skipped as reason:
                name = family if device == "cpu" else f"{family} on {device}"
                skipped[name] = str(reason)
    return found, skipped
