"""Draw docs/garments.png: ten classes of the garments data set, twelve examples each.

pip install "fastnn[plot]" && python -m scripts.contact_sheet
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from fastnn.data.garments import CLASS_NAMES, SHAPE, draw

PER_CLASS, ENLARGED, GAP = 12, 3, 2


def main() -> None:
    images, labels = draw(1000, split="train")
    rows = []
    for label in range(len(CLASS_NAMES)):
        pictures = images[labels == label][:PER_CLASS].reshape(-1, *SHAPE)
        enlarged = pictures.repeat(ENLARGED, axis=1).repeat(ENLARGED, axis=2)
        framed = np.pad(enlarged, ((0, 0), (GAP, GAP), (GAP, GAP)), constant_values=60)
        rows.append(np.concatenate(list(framed), axis=1))
    path = Path(__file__).parent.parent / "docs" / "garments.png"
    imsave(path, np.concatenate(rows), cmap="gray", vmin=0, vmax=255)
    print(path)


if __name__ == "__main__":
    main()
