"""The picture of a learning-rate range test: loss over rate, and the rate that it suggests."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnn.training.lr_find import RangeTest


def render(found: RangeTest, title: str, suffix: str) -> bytes:
    """The picture as a file's bytes, in the format that the suffix names."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    paper = Figure(figsize=(7.2, 4.4), facecolor="white", layout="constrained")
    axes = paper.add_subplot()
    axes.plot(found.rates, found.losses, color="#9aa0a6", linewidth=0.8, label="loss of the batch")
    axes.plot(found.rates, found.smoothed, color="#0072b2", linewidth=2.2, label="smoothed")
    least = min(found.smoothed)
    axes.plot([found.rate_of_least], [least], "o", color="#0072b2", markersize=5)
    axes.axvline(found.suggestion, color="#d55e00", linewidth=1.6)
    axes.annotate(
        f" {found.suggestion:.2g}", (found.suggestion, 1), xycoords=("data", "axes fraction"),
        xytext=(2, -4), textcoords="offset points", va="top", color="#d55e00", weight="bold",
    )  # fmt: skip
    axes.set_xscale("log")
    top = 1.5 * max(found.smoothed[: len(found.smoothed) // 2])  # what explodes leaves the picture
    axes.set_ylim(min(0.9 * least, 0.0) if least < 0 else 0.0, top)
    axes.set_xlim(found.rates[0], found.rates[-1])
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.set_title(title, loc="left", size=11)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    file = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "fastnn"}):
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})
        paper.savefig(file, format=suffix[1:], dpi=150, metadata=metadata)
    return file.getvalue()
