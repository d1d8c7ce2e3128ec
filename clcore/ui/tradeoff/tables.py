"""The tables of the Trade-off page, and its numbers in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from clcore.charts.words import spread_words
from clcore.frames import Spread
from clcore.ui.text import _
from clcore.ui.tradeoff.fold import Folded


def numbers(fold: Folded, frame: pd.DataFrame, measures: Sequence[str], name: str, alt: str, front: bool = False) -> None:
    """The numbers of a chart, rounded as it draws them. `name`: under which the table is remembered, with its measures."""
    as_table(fold.once(("table", name, *measures), lambda: _rounded(frame, measures, front)), name, alt)


def _rounded(frame: pd.DataFrame, measures: Sequence[str], front: bool) -> pd.DataFrame:
    shares = ("stability", "plasticity", "acc")
    titles = {
        "stability": _("stability, %"), "plasticity": _("plasticity, %"), "acc": _("average accuracy, %"),
        "retention": _("retention"), "kept_bytes": _("bytes kept"), "gradient_samples": _("gradient samples"),
        "relative_time": _("time, fine-tuning = 1"),
    }  # fmt: skip
    columns: dict[str, Any] = {
        _("method"): frame["title"], _("setting"): frame["label"], _("seeds"): frame["total"],
        _("diverged"): frame["diverged"], _("tasks trained"): frame["after"],
    }  # fmt: skip
    for measure in measures:
        scale, digits = (100, 2) if measure in shares else (1, 3)
        columns[titles[measure]] = (frame[measure] * scale).round(digits)
        if measure != "kept_bytes":
            columns[f"{titles[measure]} ({_('low')})"] = (frame[f"{measure}_low"] * scale).round(digits)
            columns[f"{titles[measure]} ({_('high')})"] = (frame[f"{measure}_high"] * scale).round(digits)
    if front:
        columns[_("non-dominated (means)")] = frame["front"]
    return pd.DataFrame(columns)


def as_table(frame: pd.DataFrame, name: str, alt: str) -> None:
    """A table folded away under its chart, and the same as a file."""
    with st.expander(_("Show as table"), icon=":material/table:", key=f"table-{name}"):
        st.dataframe(frame, hide_index=True, alt=alt, key=f"frame-{name}")
        st.download_button(
            _("Download as CSV"), lambda: frame.to_csv(index=False), file_name=f"tradeoff-{name}.csv", mime="text/csv",
            on_click="ignore", icon=":material/download:", key=f"csv-{name}",
        )  # fmt: skip


def spread_of(row: Any, name: str) -> Spread:
    return Spread(
        getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high"), row.n, row.diverged, row.total
    )


def percent_words(value: Spread) -> str:
    if value.mean is None or value.mean != value.mean:
        return "–"
    return f"{100 * value.mean:.1f} % {spread_words(value.low, value.high, value.n)}"


def seeds_words(frame: pd.DataFrame) -> str:
    """How many seeds stand behind the points, and what the bars are."""
    seeds = sorted({int(n) for n in frame["n"] if n})
    if not seeds:
        return ""
    if seeds == [1]:
        return _("1 seed each: no interval.")
    span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]}"
    return _("Error bars: 95 % t-interval over {n} seeds (two seeds: their range, one: none).").format(n=span)
