"""Accuracy and size in one table: a method that grows is never shown by one of the two alone."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from clcore.charts.words import KILOBYTES, PERCENT, Unit, spread_words
from clcore.events import Verdict
from clcore.frames import Series, Spread
from clcore.ui.learn.lessons import Option, Question
from clcore.ui.proof import proof_badge
from clcore.ui.text import _


def accuracy_and_size(asked: Question, series: Sequence[Series]) -> None:
    """The table, and the badge of those that promise to leave old outputs alone."""
    table = together(asked, series)
    if table.empty:
        return
    st.markdown("**" + _("Accuracy and size, together") + "**")
    st.dataframe(table, hide_index=True, alt=_("Accuracy, forgetting and size of every method of this step"))
    st.caption(_("Over the tasks trained so far. The fine-tuned network keeps its weights only; 1 kB is 1,000 bytes."))
    proofs = {option.label: _verdicts(option, series) for option in asked.options}
    if names := [name for name, verdicts in proofs.items() if verdicts]:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(", ".join(names), width="content")
            proof_badge([verdict for verdicts in proofs.values() for verdict in verdicts])


def together(asked: Question, series: Sequence[Series]) -> pd.DataFrame:
    """One row an option whose run has finished a task."""
    rows = []
    for option in asked.options:
        one = series[option.run]
        config = option.config(one)
        sizes = one.sizes(config)
        if not sizes:
            continue
        rows.append({
            _("what"): option.label,
            _("average accuracy"): _written(one.metric(config, "acc"), PERCENT, " %"),
            _("forgetting"): _written(one.metric(config, "forgetting"), PERCENT, ""),
            _("after task 1"): _written(sizes[0], KILOBYTES, " kB"),
            _("after task {k}").format(k=len(sizes)): _written(sizes[-1], KILOBYTES, " kB"),
            _("old outputs"): _kept(_verdicts(option, series)),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _verdicts(option: Option, series: Sequence[Series]) -> list[Verdict]:
    one = series[option.run]
    return [v for v in one.verdicts(option.config(one)) if v.identical is not None]


def _kept(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return _("no promise")
    return _("identical") if all(v.identical for v in verdicts) else _("changed")


def _written(value: Spread, unit: Unit, sign: str) -> str:
    """A mean with its interval, or with what stands in its way."""
    if value.mean is None:
        return spread_words(None, None, value.n, value.diverged, value.total) or "–"
    text = unit.text(value.mean).replace("-", "−")
    if value.half is not None and round(value.half * unit.factor, unit.decimals):
        text += f" ± {unit.text(value.half)}"
    return text + sign
