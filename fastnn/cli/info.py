"""`fastnn info`: what a saved run holds."""

from __future__ import annotations

from typing import Any

from fastnn.cli import output
from fastnn.cli.network import print_parts, print_settings
from fastnn.cli.options import Json, Run


def info(run: Run, json: Json = False) -> None:
    """Show the network, the settings and the data of RUN."""
    with output.exit_codes(as_json=json):
        from fastnn.analysis.opened import open_run
        from fastnn.nn.description import parts_of

        opened = open_run(run, "cpu")
        meta, predictor = opened.meta, opened.predictor
        model = predictor.model
        parts = parts_of(
            model.sizes, model.blocks, classifies=model.objective.classifies,
            input_dropout=meta.get("config", {}).get("input_dropout", 0.0),
        )  # fmt: skip
        values: dict[str, Any] = {
            "file": str(opened.file),
            "fastnn": meta.get("fastnn"),
            "epoch": meta.get("epoch", meta.get("state", {}).get("epoch")),
            "sizes": list(model.sizes),
            "parameters": model.parameters,
            "layers": [part._asdict() for part in parts],
            "classes": list(predictor.schema.class_names),
            "targets": list(predictor.schema.targets),
            "config": meta.get("config", {}),
            "fingerprint": meta.get("fingerprint"),
        }
        if json:
            output.emit("done", values)
        else:
            print(
                f"{opened.file}: written by fastnn {meta.get('fastnn')} after epoch "
                f"{values['epoch']}\n"
            )
            print_parts(parts)
            _print(values)


def _print(values: dict[str, Any]) -> None:
    kind = "targets" if values["targets"] else "classes"
    print(f"\n{kind:16} {', '.join(values[kind])}")
    print_settings(values["config"])
    print(f"fingerprint      {values['fingerprint']}")
