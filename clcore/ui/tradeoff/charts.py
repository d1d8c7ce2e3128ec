"""The charts of the Trade-off page: the plane, accuracy against memory and compute, what a strength does, all choices."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from clcore.accounting import readable_bytes, readable_count
from clcore.charts.parallel import FEWEST, Scale, parallel_figure, points_word, scales_table, told_apart
from clcore.charts.sweep import Best, sweep_figure
from clcore.charts.theme import method_style
from clcore.charts.tradeoff import compute_figure, memory_figure, plane_figure
from clcore.export.words import condition_name
from clcore.outcomes import differences
from clcore.tradeoff import Chosen, Path, bytes_per_example, chosen, representative, sweep
from clcore.ui.live_plot import live_plot
from clcore.ui.run_words import method_title
from clcore.ui.text import _, n_
from clcore.ui.tradeoff.choice import COMPUTE, Shown
from clcore.ui.tradeoff.fold import Folded, cards_of, path_words
from clcore.ui.tradeoff.tables import as_table, numbers, percent_words, seeds_words


def plane(shown: Shown, fold: Folded) -> None:
    """Stability against plasticity."""
    frame = fold.frame
    st.markdown(f"**{_('Stability against plasticity')}**")
    live_plot(
        fold.once("plane", lambda: plane_figure(frame, revision=shown.revision)), key="plane-figure", on_click=look_at,
        alt=_("Stability against plasticity of {n} configurations. On the front: {front}.").format(
            n=len(frame), front=", ".join(f"{r.title} {r.label}".strip() for r in frame[frame["front"]].itertuples()) or "–"
        ),
    )  # fmt: skip
    st.caption(" ".join(_plane_notes(shown, frame)))
    numbers(
        fold, frame, ("stability", "plasticity", "acc", "retention"), "plane",
        _("Stability, plasticity and average accuracy of every configuration, in percent"), front=True,
    )  # fmt: skip


def _plane_notes(shown: Shown, frame: pd.DataFrame) -> list[str]:
    """What the picture does not say by itself."""
    notes = [_("Arrows and larger markers: growing strength or budget.") + " " + seeds_words(frame)]
    notes.append(_("Grey lines join equal average accuracy, as far as no task gained after it was learned."))
    if (frame["family"] == "reference").any():
        notes.append(_("Joint training and one network per task are measures for the others: the front leaves them out."))
    lost = frame[frame["diverged"] > 0]
    if len(lost):
        names = "; ".join(
            f"{r.title} {r.label}: " + _("{k} of {n} diverged").format(k=r.diverged, n=r.total)
            for r in lost.itertuples()
        )
        notes.append(_("Not drawn, because a mean over the survivors would be too good: {names}.").format(names=names))
    if shown.scenario == "class":
        notes.append(_("In the class scenario plasticity is measured among the classes seen so far: fine-tuning is high "
                       "there by forgetting all others."))  # fmt: skip
    elif shown.scenario == "task-free":
        notes.append(_("In the task-free scenario plasticity is measured at the ends of equally long parts of the stream: "
                       "nobody says when a task has been learned."))  # fmt: skip
    finished = [outcome for outcome in shown.outcomes if outcome.finished]
    if len(finished) > 1 and (named := differences(finished)):
        words = ", ".join(condition_name(name) for name in named)
        notes.append(":orange[:material/warning:] " + _("The points are not under one budget: they differ in {what}. "
                     "The front says what is reached, not what it costs.").format(what=words))  # fmt: skip
    if frame["after"].nunique() > 1 or not frame["finished"].all():
        notes.append(_("Pale points are still training: over the tasks so far, and not on the front."))
    return notes


def look_at(point: str) -> None:
    st.session_state["point"] = point


# ---- cost -----------------------------------------------------------------------------------------------------------


def memory(shown: Shown, fold: Folded) -> None:
    """Accuracy against bytes kept."""
    frame, levels = fold.frame, fold.levels
    st.markdown(f"**{_('Accuracy against memory')}**")
    standing = [path for path in fold.lines if path.outcomes[0].configuration.memory is None and path.method not in levels]
    chosen_ones = fold.once("standing", lambda: [representative(path) for path in standing])
    stand = [outcome.configuration for outcome in chosen_ones if outcome is not None]
    index = frame.index[[key in stand for key in frame["configuration"]]]
    per_example = bytes_per_example(shown.outcomes)
    live_plot(
        fold.once("memory", lambda: memory_figure(
            frame, list(index), levels, per_example=per_example, revision=shown.revision)),
        key="memory-figure", on_click=look_at,
        alt=_("Average accuracy against bytes kept beside the network: memory methods as paths, others as lines."),
    )  # fmt: skip
    notes = [seeds_words(frame)]
    if len(index):
        notes.append(_("Lines: methods without a replay memory, at the strength that validation chose; the marker is at "
                       "what they keep themselves."))  # fmt: skip
    if left_out := [path for path, one in zip(standing, chosen_ones, strict=True) if one is None]:
        names = ", ".join(dict.fromkeys(method_title(path.method) for path in left_out))
        notes.append(_("Without a line: {names}; its strength has not been chosen (still training, or no validation "
                       "data).").format(names=names))  # fmt: skip
    if per_example:
        notes.append(_("One example takes {bytes}.").format(bytes=readable_bytes(per_example)))
    st.caption(" ".join(notes))
    rows = frame[frame["memory"].notna() | frame.index.isin(index) | frame["method"].isin(levels)]
    numbers(fold, rows, ("acc", "kept_bytes", "retention"), "memory", _("Average accuracy and bytes kept"))


def compute(shown: Shown, fold: Folded) -> None:
    """Accuracy against gradient samples or time."""
    frame = fold.frame
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{_('Accuracy against compute')}**", width="content")
        present = st.session_state.setdefault("compute", COMPUTE[0])
        by = st.segmented_control(
            _("Compute"), COMPUTE, default=present, required=True, key="compute", label_visibility="collapsed",
            format_func={"gradient_samples": _("gradient samples"), "relative_time": _("time")}.get,
        )  # fmt: skip
    live_plot(
        fold.once(("compute", by), lambda: compute_figure(frame, fold.levels, by=by, revision=shown.revision)),
        key="compute-figure", on_click=look_at,
        alt=_("Average accuracy against compute."),
    )  # fmt: skip
    notes = [seeds_words(frame)]
    unknown = frame[frame["finished"] & frame[by].isna() & (frame["diverged"] == 0)]
    if by == "relative_time" and len(unknown):
        notes.append(
            n_("{n} configuration has no time: ", "{n} configurations have no time: ", len(unknown))
            + _("time is compared with fine-tuning of as many networks side by side, under the same conditions on the same "
                "device. Many networks at once take less each.")
        )  # fmt: skip
    elif by == "gradient_samples":
        notes.append(_("A gradient sample is one example in one backward pass: replayed ones and a method's own passes "
                       "count."))  # fmt: skip
    st.caption(" ".join(notes))
    numbers(fold, frame, ("acc", by, "retention"), "compute", _("Average accuracy and compute"))


# ---- strength -------------------------------------------------------------------------------------------------------


def strength(shown: Shown, fold: Folded) -> None:
    """Accuracy against a method's strength, and the one that validation data choose."""
    swept = fold.swept
    if st.session_state.get("sweep") not in swept:
        st.session_state["sweep"] = max(swept, key=lambda name: len(swept[name].outcomes))
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.markdown(f"**{_('What the strength does')}**", width="content")
        words = {name: path_words(path) for name, path in swept.items()}
        name = st.selectbox(_("Method"), list(swept), list(swept).index(st.session_state["sweep"]), key="sweep",
                            format_func=words.get, width=260, label_visibility="collapsed")  # fmt: skip
    path = swept[name]
    curve, picked = fold.once(("sweep", name), lambda: (sweep(path), chosen(path)))
    symbol = next(card for card in cards_of(path.method) if card.strength).strength.symbol
    strengths = [outcome.configuration.strength for outcome in path.outcomes]
    live_plot(
        fold.once(("strength", name), lambda: sweep_figure(
            curve, strengths, symbol=symbol, revision=f"{shown.revision}/{name}", best=_best(picked, symbol),
            mark_highest=False)),
        key="strength-figure",
        alt=_("Accuracy on old tasks, on the last task and on average against the strength of {method}.").format(
            method=words[name]
        ),
    )  # fmt: skip
    st.caption(_chosen_words(path, picked, symbol))
    columns = {"mean": _("mean, %"), "low": _("low, %"), "high": _("high, %")}
    percent = curve.assign(**{c: (curve[c].astype(float) * 100).round(2) for c in columns})
    as_table(percent.rename(columns=columns), "strength", _("Accuracy at the end against strength, in percent"))


def _best(picked: Chosen | None, symbol: str) -> Best | None:
    if picked is None:
        return None
    words = _("best on validation: {symbol} = {s}").format(symbol=symbol or _("strength"), s=f"{picked.strength:g}")
    return Best(picked.strength, picked.low, picked.high, words)


def _chosen_words(path: Path, picked: Chosen | None, symbol: str) -> str:
    tried = len(path.outcomes)
    if picked is None:
        why = (
            _("its runs are not finished")
            if not all(o.finished for o in path.outcomes)
            else _("its seeds share no validation data")
        )
        return n_(
            "{n} strength tried; none is chosen: {why}.", "{n} strengths tried; none is chosen: {why}.", tried, why=why
        )
    name = symbol or _("strength")
    words = _("{name} = {s} has the best validation accuracy of {tried} strengths tried, over {n} seeds").format(
        name=name, s=f"{picked.strength:g}", tried=picked.tried, n=picked.n
    )
    if picked.low is None:
        words += " " + _("(too few seeds for an interval).")
    else:
        words += "; " + _("shaded, {low} to {high}: not to be told from it (95 %, seed by seed).").format(
            low=f"{picked.low:g}", high=f"{picked.high:g}"
        )
    return (
        words
        + " "
        + _("Its average accuracy on test data is {value}. Bands: 95 % t-intervals, or the range of two seeds.").format(
            value=percent_words(picked.outcome.spread("acc"))
        )
    )


# ---- all configurations ---------------------------------------------------------------------------------------------


def configurations(shown: Shown, fold: Folded) -> None:
    """All configurations as lines over what was chosen and what came of it, where there are many."""
    frame = fold.frame[fold.frame["acc"].notna() & fold.frame["finished"]]
    if len(frame) < FEWEST:
        return
    scales = fold.once("scales", lambda: _scales(frame))
    names = [f"{row.title} {row.label}".strip() for row in frame.itertuples()]
    symbols = [method_style(method).marker for method in frame["method"]]
    with st.container(border=True, key="configurations"):
        st.markdown(f"**{_('Configurations')}**")
        live_plot(
            fold.once("parallel", lambda: parallel_figure(names, symbols, scales, revision=shown.revision)),
            key="parallel-figure",
            alt=_("Parallel coordinates of {n} configurations: what was chosen, and what came of it.").format(n=len(frame)),
        )  # fmt: skip
        said = [_("A line is a configuration, means over its seeds; the stronger, the higher its average accuracy. Markers "
                  "are those of the methods.")]  # fmt: skip
        if lost := int((fold.frame["diverged"] > 0).sum()):
            said.append(n_("{n} configuration is not drawn, because a seed diverged.",
                           "{n} configurations are not drawn, because a seed diverged.", lost))  # fmt: skip
        st.caption(" ".join(said))
        as_table(scales_table(scales), "configurations", _("What was chosen, and what came of it"))


def _scales(frame: pd.DataFrame) -> list[Scale]:
    def chosen_values(name: str) -> list:
        return [None if pd.isna(value) else value for value in frame[name]]

    measured = {
        _("Bytes kept"): ("kept_bytes", 1, 0, readable_bytes),
        _("Gradient samples"): ("gradient_samples", 1, 0, readable_count),
        _("Stability, %"): ("stability", 100, 2, points_word), _("Plasticity, %"): ("plasticity", 100, 2, points_word),
        _("Average accuracy, %"): ("acc", 100, 2, points_word),
    }  # fmt: skip
    return told_apart([
        Scale(_("Method"), list(frame["title"]), choice=True),
        Scale(_("Strength"), chosen_values("strength"), choice=True),
        Scale(_("Memory"), chosen_values("memory"), choice=True),
        *(Scale(title, [round(value * scale, digits) for value in frame[name]], word=word)
          for title, (name, scale, digits, word) in measured.items() if frame[name].notna().all()),
    ])  # fmt: skip
