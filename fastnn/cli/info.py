"""`fastnn info`: what a saved run holds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from fastnn.cli import output
from fastnn.cli.options import Json, Run
from fastnn.cli.saved import open_saved


def info(run: Run, json: Json = False) -> None:
    """Show the network, the settings and the data of RUN."""
    with output.exit_codes(as_json=json):
        file, meta, predictor = open_saved(run, "cpu")
        model = predictor.model
        values: dict[str, Any] = {
            "file": str(file),
            "fastnn": meta.get("fastnn"),
            "epoch": meta.get("epoch", meta.get("state", {}).get("epoch")),
            "sizes": list(model.sizes),
            "parameters": model.params.count,
            "classes": list(predictor.schema.class_names),
            "targets": list(predictor.schema.targets),
            "config": meta.get("config", {}),
            "fingerprint": meta.get("fingerprint"),
        }
        if json:
            output.emit("done", values)
        else:
            _print(values)


def _print(values: dict[str, Any]) -> None:
    print(f"{values['file']}: written by fastnn {values['fastnn']} after epoch {values['epoch']}")
    print(f"\n{'layer':>5}  {'inputs':>7}  {'outputs':>7}  {'parameters':>11}  activation")
    sizes = values["sizes"]
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        output_activation = "identity" if values["targets"] else "softmax"
        activation = output_activation if layer == len(sizes) - 2 else "relu"
        count = (fan_in + 1) * fan_out
        print(f"{layer:>5}  {fan_in:>7,}  {fan_out:>7,}  {count:>11,}  {activation}")
    print(f"total  {'':>16}  {values['parameters']:>11,}\n")
    kind = "targets" if values["targets"] else "classes"
    print(f"{kind:16} {', '.join(values[kind])}")
    for key, value in values["config"].items():
        if value is not None:
            print(f"{key:16} {value}")
    print(f"fingerprint      {values['fingerprint']}")
