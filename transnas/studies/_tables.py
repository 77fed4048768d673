"""Optuna's relational tables, as far as a finished trial needs them, and its rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from transnas.studies._trial import Codec, Entry

__all__ = ["OPTUNA_VERSIONS", "SCHEMAS", "children"]

OPTUNA_VERSIONS = ("5",)
"""Major versions that keep times as naive UTC (earlier ones: local time)."""
SCHEMAS = ("v3.2.0.a",)
"""Schema revisions that these tables describe."""

_metadata = sa.MetaData()
_Float = sa.Float(precision=53)

studies = sa.Table(
    "studies",
    _metadata,
    sa.Column("study_id", sa.Integer, primary_key=True),
    sa.Column("study_name", sa.String),
)


def _attributes(name: str, owner: str) -> sa.Table:
    return sa.Table(
        name,
        _metadata,
        sa.Column(f"{name.removesuffix('s')}_id", sa.Integer, primary_key=True),
        sa.Column(owner, sa.Integer),
        sa.Column("key", sa.String),
        sa.Column("value_json", sa.Text),
    )


study_user_attributes = _attributes("study_user_attributes", "study_id")
study_system_attributes = _attributes("study_system_attributes", "study_id")
trial_user_attributes = _attributes("trial_user_attributes", "trial_id")

trials = sa.Table(
    "trials",
    _metadata,
    sa.Column("trial_id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer),
    sa.Column("study_id", sa.Integer),
    sa.Column("state", sa.Enum("COMPLETE", "PRUNED", "FAIL", name="trialstate")),
    sa.Column("datetime_start", sa.DateTime),
    sa.Column("datetime_complete", sa.DateTime),
)
trial_params = sa.Table(
    "trial_params",
    _metadata,
    sa.Column("param_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer),
    sa.Column("param_name", sa.String),
    sa.Column("param_value", _Float),
    sa.Column("distribution_json", sa.Text),
)
trial_values = sa.Table(
    "trial_values",
    _metadata,
    sa.Column("trial_value_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer),
    sa.Column("objective", sa.Integer),
    sa.Column("value", _Float),
    sa.Column("value_type", sa.Enum("FINITE", name="trialvaluetype")),
)
trial_intermediate_values = sa.Table(
    "trial_intermediate_values",
    _metadata,
    sa.Column("trial_intermediate_value_id", sa.Integer, primary_key=True),
    sa.Column("trial_id", sa.Integer),
    sa.Column("step", sa.Integer),
    sa.Column("intermediate_value", _Float),
    sa.Column(
        "intermediate_value_type",
        sa.Enum("FINITE", "INF_POS", "INF_NEG", "NAN", name="trialintermediatevaluetype"),
    ),
)

_Rows = list[dict[str, Any]]


def children(
    codec: Codec, entries: Sequence[tuple[int, Entry]]
) -> Iterator[tuple[sa.Table, _Rows]]:
    """Yield each table below `trials` with its rows, for entries by their trial's number there."""
    yield (
        trial_params,
        [
            {"trial_id": trial, "param_name": name, "param_value": value, "distribution_json": text}
            for trial, entry in entries
            for name, text, value in codec.columns(entry.trial.architecture)
        ],
    )
    yield (
        trial_user_attributes,
        [
            {"trial_id": trial, "key": key, "value_json": json.dumps(value)}
            for trial, entry in entries
            for key, value in codec.attributes(entry).items()
        ],
    )
    yield (
        trial_values,
        [
            {"trial_id": trial, "objective": i, "value": value, "value_type": "FINITE"}
            for trial, entry in entries
            for i, value in enumerate(codec.values(entry))
        ],
    )
    yield (
        trial_intermediate_values,
        [
            {"trial_id": trial, "step": epoch, **_stored(value)}
            for trial, entry in entries
            for epoch, value in codec.curve(entry)
        ],
    )


def _stored(value: float) -> dict[str, Any]:
    """Return a value of a learning curve in Optuna's columns."""
    kinds = {float("inf"): "INF_POS", float("-inf"): "INF_NEG"}
    kind = "NAN" if value != value else kinds.get(value, "FINITE")
    number = value if kind == "FINITE" else None
    return {"intermediate_value": number, "intermediate_value_type": kind}
