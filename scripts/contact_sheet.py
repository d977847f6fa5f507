"""Draw docs/garments.png: ten classes of the garments data set, twelve examples each.

pip install ".[plot]" && python -m scripts.contact_sheet
"""

from __future__ import annotations

from pathlib import Path

from fastnn.analysis.sheets import contact_sheet
from fastnn.analysis.style import rendered
from fastnn.data.garments import CLASS_NAMES, SHAPE, draw


def main() -> None:
    images, labels = draw(1000, split="train")
    sheet = contact_sheet(
        images.reshape(-1, *SHAPE), labels, CLASS_NAMES, title="garments, drawn by fastnn"
    )
    path = Path(__file__).parent.parent / "docs" / "garments.png"
    path.write_bytes(rendered(sheet, ".png"))
    print(path)


if __name__ == "__main__":
    main()
