"""The colours of every picture that fastnn draws; colour-blind people can tell them apart.

Hues are Okabe and Ito's (Color Universal Design, 2008). Where there are more classes than hues they
repeat, so whoever draws classes adds a shape or a name to each.
"""

from __future__ import annotations

INK, FAINT, GRID, PAPER = "#1b1f24", "#656d76", "#e4e6e9", "#ffffff"
BLUE, ORANGE, GREEN, VERMILION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, GREY = "#cc79a7", "#56b4e9", "#8a8a8a"
WINE = "#882255"  # Tol's; purple that is dark enough for letters

RIGHT, WRONG = BLUE, VERMILION
DIVERGING = ("#003a5c", BLUE, "#f6f6f6", VERMILION, "#7f2f00")  # below zero, zero, above
PARTS = {"train": GREY, "valid": BLUE, "test": INK}

CLASSES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, "#7d6b00", WINE, GREY, "#332288")
CLASSES_ON_DARK = (
    "#3d9fe0", ORANGE, "#1fbf92", "#ff7a2e", PURPLE, "#9fd6f7", "#c9b63c", "#d9669a", "#b9bec4",
    "#9d8cff",
)  # fmt: skip
MARKERS = "os^DvPX<>*h"  # as matplotlib calls them; eleven, so that hue and shape repeat after 110


def class_colour(code: int) -> str:
    """The hue of a class; those of classes ten apart are the same."""
    return CLASSES[code % len(CLASSES)]


def class_marker(code: int) -> str:
    """The shape of a class."""
    return MARKERS[code % len(MARKERS)]
