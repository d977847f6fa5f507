"""`fastnn data`: which data sets there are, where they lie, and what they look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastnn.cli import output
from fastnn.cli.options import Json
from fastnn.errors import DataError, did_you_mean

app = typer.Typer(no_args_is_help=True, help="List, fetch and show data sets.")


@app.command("list")
def list_sets(json: Json = False) -> None:
    """The named data sets and where they were found."""
    with output.exit_codes(as_json=json):
        from fastnn.data.catalog import NAMED_SETS, find_folder

        places = {name: find_folder(known) for name, known in NAMED_SETS.items()}
        for name, place in places.items():
            if json:
                found = None if place is None else str(place)
                output.emit("dataset", {"name": name, "found": found, "drawn": False})
            else:
                print(f"{name:14} {place or f'not here; get it with: fastnn data fetch {name}'}")
        if json:
            output.emit("dataset", {"name": "garments", "found": None, "drawn": True})
        else:
            print(f"{'garments':14} drawn by fastnn itself, always there")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="fashion-mnist or mnist")],
    json: Json = False,
) -> None:
    """Download a named data set into the cache folder, checked, unless it is there already."""
    with output.exit_codes(as_json=json):
        from fastnn.cli.progress import download_bar
        from fastnn.data.catalog import NAMED_SETS, find_folder, load_named

        if name not in NAMED_SETS:
            raise DataError(
                f"{name!r} is no data set to download; those are {', '.join(NAMED_SETS)}"
                f"{did_you_mean(name, NAMED_SETS)}"
            )
        with download_bar(quiet=json) as progress:
            data = load_named(NAMED_SETS[name], progress=progress)
        folder = find_folder(NAMED_SETS[name])
        if json:
            output.emit("done", {"name": name, "folder": str(folder)})
        else:
            test = 0 if data.test is None else len(data.test.labels)
            print(f"{name}: {len(data.train.labels):,} + {test:,} examples in {folder}")


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME_OR_PATH", help="as in fastnn train --dataset")
    ] = "auto",
    count: Annotated[int, typer.Option("--count", min=1, help="how many images")] = 10,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="folder of a named data set")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="label column of a table")
    ] = None,
) -> None:
    """Draw the first training images with their labels in the terminal."""
    with output.exit_codes():
        from rich.console import Console

        from fastnn.cli.pictures import print_images
        from fastnn.cli.progress import download_bar
        from fastnn.data.source import load_dataset

        with download_bar(quiet=False) as progress:
            data = load_dataset(
                name, data_dir=data_dir, label=label, warn=output.warn, progress=progress
            )
        inputs, labels = data.train.inputs[:count], data.train.labels[:count]
        if len(data.shape) != 2 or inputs.dtype != "uint8":
            raise DataError(
                f"{data.name} holds examples of shape {data.shape} in {inputs.dtype}; expected "
                "pictures (height, width) in bytes"
            )
        console = Console(highlight=False)
        names = [data.class_names[code] for code in labels.tolist()]
        print_images(console, inputs, (data.shape[0], data.shape[1]), names)
