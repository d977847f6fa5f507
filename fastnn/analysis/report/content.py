"""What a report shows: everything that its template names, worked out from a run and its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import __version__
from fastnn.analysis import palette
from fastnn.analysis.evaluation import Evaluation, NumbersEvaluation, temperature_of, validation_of
from fastnn.analysis.metrics import macro
from fastnn.analysis.opened import OpenedRun, RunData
from fastnn.analysis.report.cards import Cards
from fastnn.analysis.report.charts import (
    LineChart,
    agreement_chart,
    line_chart,
    reliability_chart,
)
from fastnn.analysis.report.findings import findings, regression_findings
from fastnn.analysis.report.maps import embeddings
from fastnn.analysis.report.thumbnails import weights_uri
from fastnn.analysis.sheets import full_colour
from fastnn.analysis.wording import short_names
from fastnn.nn.description import parts_of
from fastnn.rng import Stream, generator
from fastnn.training.callbacks import EpochReport
from fastnn.training.classifier import Classifier
from fastnn.training.config import TrainConfig
from fastnn.training.regressor import Regressor

FIRST, MISTAKES, PER_CLASS, UNITS, PAIRS = 5, 24, 7, 32, 8
CELLS = 40  # classes at most that a confusion matrix on a page can show
ROWS = 20  # classes at most whose right and wrong answers are shown
CHARTS = 12  # targets at most whose predictions are drawn
LETTERS = 20  # of a class's name where there is little room
SCATTERED = 6000  # marks in all charts of predictions


def content(opened: OpenedRun, data: RunData) -> dict[str, Any]:
    """Everything that the template names."""
    predictor, history = opened.predictor, opened.history()
    schema, model = predictor.schema, predictor.model
    result, environment = opened.result(), opened.environment()
    common = {
        "name": opened.name,
        "version": __version__,
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "data": data,
        "kind": "images" if schema.picture else "examples",
        "pictures": schema.picture is not None,
        "history": history,
        "asked": opened.config.epochs,
        "unfinished": bool(history) and opened.folder is not None and not result,
        "untrained": opened.meta.get("epoch") == 0,
        "curves_of": _curves(opened, history),
        "valid_losses": any(report.valid_loss is not None for report in history),
        "network": "-".join(map(str, model.sizes)),
        "parameters": model.parameters,
        "parts": parts_of(
            model.sizes, model.blocks, classifies=model.objective.classifies,
            input_dropout=opened.config.input_dropout,
        ),
        "settings": _settings(opened.config),
        "environment": environment,
        "fingerprint": opened.meta.get("fingerprint", "unknown"),
        "seconds": _number(result, "seconds"),
        "train_accuracy": _number(result, "train_accuracy"),
        "train_r2": _number(result, "train_r2"),
        "device": result.get("device", "an unknown device"),
        "first_layer": _first_layer(opened),
        "class_colours": list(zip(palette.CLASSES, palette.CLASSES_ON_DARK, strict=True)),
    }  # fmt: skip
    if isinstance(predictor, Regressor):
        return common | _about_numbers(predictor, data, history)
    # Of another file, the gap to training says more about that file than about the training.
    learned = _number(result, "train_accuracy") if data.test_part == "test" else None
    return common | _about_classes(opened, predictor, data, history, learned)


def _about_classes(
    opened: OpenedRun,
    classifier: Classifier,
    data: RunData,
    history: list[EpochReport],
    learned: float | None,
) -> dict[str, Any]:
    """What there is to show of classes; `learned` is the accuracy on what was learned from."""
    evaluation, valid = Evaluation.of(classifier, data.test), validation_of(classifier, data)
    temperature, why = temperature_of(valid, data.unvalidated)
    cards = Cards(evaluation, data.test.inputs, classifier)
    before = evaluation.calibration()
    after = None if temperature is None else evaluation.calibration(temperature)
    codes = range(len(classifier.class_names))
    return {
        "classifies": True,
        "class_names": classifier.class_names,
        "short_names": short_names(classifier.class_names, LETTERS),
        "splits": _splits(
            data, "accuracy", chose="" if temperature is None else ", and the temperature"
        ),
        "evaluation": evaluation,
        "valid": valid,
        "findings": findings(
            evaluation, temperature=temperature, train_accuracy=learned, history=history
        ),
        "macro": macro(evaluation.per_class),
        "confused": evaluation.most_confused(PAIRS),
        "cells": len(codes) <= CELLS,
        "rates": _rates(evaluation.confusion),
        "temperature": temperature,
        "no_temperature": why,
        "before": before,
        "after": after,
        "reliability_of": reliability_chart(before, after),
        "first": [cards.card(row) for row in range(min(FIRST, evaluation.count))],
        "mistakes": [cards.card(row) for row in evaluation.mistakes(MISTAKES).tolist()],
        "by_class": [
            {
                truth: [
                    cards.card(row)
                    for row in evaluation.of_class(code, right=right, most=PER_CLASS)
                ]
                for truth, right in (("right", True), ("wrong", False))
            }
            for code in codes[:ROWS]
        ],
        "embeddings": embeddings(opened, evaluation, data.test.inputs),
    }  # fmt: skip


def _about_numbers(
    regressor: Regressor, data: RunData, history: list[EpochReport]
) -> dict[str, Any]:
    """What there is to show of numbers that are predicted."""
    found = NumbersEvaluation.of(regressor, data.test)
    valid = None if data.valid is None else NumbersEvaluation.of(regressor, data.valid)
    true, predicted = found.targets, found.predicted
    names = found.names
    shown = generator(0, Stream.SAMPLE).permutation(len(true))
    shown = shown[: SCATTERED // min(len(found.names), CHARTS)]
    surprise = np.abs((predicted - true) / np.maximum(true.std(axis=0), 1e-12)).max(axis=1)
    return {
        "classifies": False,
        "splits": _splits(data, "R²"),
        "numbers": found,
        "valid": valid,
        "targets": list(zip(names, found.per_target, found.r2_texts, strict=True)),
        "findings": regression_findings(found, history),
        "agreements": [
            agreement_chart(name, true[shown, n], predicted[shown, n])
            for n, name in enumerate(names[:CHARTS])
        ],
        "agreement_count": len(shown),
        "rows": [
            (row, list(zip(names, true[row].tolist(), predicted[row].tolist(), strict=True)))
            for row in [*range(min(FIRST, len(true))), *np.argsort(-surprise)[:10].tolist()]
        ],
        "first_rows": min(FIRST, len(true)),
    }


def _curves(opened: OpenedRun, history: list[EpochReport]) -> list[LineChart]:
    if not history:
        return []
    epochs = [report.epoch for report in history]
    kept = opened.meta.get("epoch")
    best = kept if kept in epochs and len(epochs) > 1 else None
    charts = [
        line_chart(
            "Loss", epochs,
            {
                ("training", "train"): [report.train_loss for report in history],
                ("validation", "valid"): [report.valid_loss for report in history],
            },
            write=lambda value: f"{value:.4g}", best=best,
        )
    ]  # fmt: skip
    if history[-1].train_accuracy is not None:
        charts.append(
            line_chart(
                "Accuracy", epochs,
                {
                    ("training", "train"): [report.train_accuracy for report in history],
                    ("validation", "valid"): [report.valid_accuracy for report in history],
                },
                write=lambda value: f"{100 * value:.4g} %", best=best,
            )
        )  # fmt: skip
    rates = {("learning rate", "rate"): [report.learning_rate for report in history]}
    charts.append(line_chart("Learning rate", epochs, rates, write=lambda v: f"{v:.3g}", best=best))
    return charts


def _first_layer(opened: OpenedRun) -> dict[str, Any]:
    """Weights of the units of greatest norm as pictures; of a table the norms of its columns."""
    predictor = opened.predictor
    schema, model = predictor.schema, predictor.model
    weights = model.backend.to_host(model.params["layers.0.weight"])  # (I, O)
    if schema.picture is not None:
        order = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[:UNITS]
        shown = weights[:, order].T.reshape(len(order), *schema.picture)
        if shown.ndim == 4:
            shown = shown.mean(axis=3)  # of the channels
        most = full_colour(shown)
        units = [
            (unit, weights_uri(image, most))
            for unit, image in zip(order.tolist(), shown, strict=True)
        ]
        return {
            "units": units, "columns": [], "count": weights.shape[1], "most": most,
            "coloured": len(schema.picture) == 3,
        }  # fmt: skip
    norms = np.linalg.norm(weights, axis=1)
    order = np.argsort(-norms, kind="stable")[:UNITS]
    names, top = schema.features, float(norms.max()) or 1.0
    columns = [(names[n], float(norms[n]), float(norms[n]) / top) for n in order]
    return {"units": [], "columns": columns, "count": len(norms)}


def _settings(config: TrainConfig) -> list[tuple[str, str, bool]]:
    """Name, value and whether it differs from the default, those that differ first."""
    rows = []
    for item in fields(TrainConfig):
        value = getattr(config, item.name)
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        rows.append((item.name, "-" if value is None else text, value != item.default))
    return sorted(rows, key=lambda row: not row[2])


def _splits(data: RunData, score: str, *, chose: str = "") -> list[tuple[str, int | None, str]]:
    """Each part, how many examples, and what it was for: what else validation `chose`, too."""
    validated = f"its curves and {score}; it chose the epoch that is kept{chose}"
    shown = "everything else on this page"
    if data.test_part == "validation":  # there is no test part
        shown = f"{validated}, so it flatters the network a little; {shown}"
    parts = [
        ("training", data.learned, f"learned from; its curves and {score}"),
        ("validation", None if data.valid is None else len(data.valid.labels), validated),
        (data.test_part, len(data.test.labels), shown),
    ]
    return [part for part in parts if part[1]]


def _number(values: Mapping[str, Any], name: str) -> float | None:
    """A number from a file that anybody may have edited."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else None


def _rates(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each count as a share of its true class, (C, C); 0 for a class without examples."""
    shares: NDArray[np.float64] = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return shares
