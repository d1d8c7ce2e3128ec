"""Two pictures to play with: GEM's cone of allowed steps, and EWC's springs between two valleys."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from clcore.charts.cone import cone_figure
from clcore.charts.valleys import price_figure, valleys_figure
from clcore.demonstrations.cone import Vector, agem, allowed, at_angle, gem, harmed, inner
from clcore.demonstrations.valleys import STEPS, Valleys
from clcore.ui.learn.link import RANGES, key, value
from clcore.ui.live_plot import live_plot
from clcore.ui.text import _

STRENGTHS = [0.0, *(m * 10.0**e for e in range(-2, 2) for m in (1, 2, 5)), 100.0]


def pictures() -> None:
    """The chosen picture."""
    titles = {"cone": _("Which steps hurt nobody? GEM and A-GEM"), "valleys": _("Springs between two valleys: EWC")}
    value("picture")
    chosen = st.segmented_control(_("Picture"), list(titles), default=value("picture"), key=key("picture"),
                                  required=True, format_func=titles.get, label_visibility="collapsed")  # fmt: skip
    (_cone if chosen == "cone" else _valleys)()


# ---- the cone -------------------------------------------------------------------------------------------------------


def _cone() -> None:
    chart, controls = st.columns([6, 5], gap="large")
    with controls:
        st.markdown(
            _("A step subtracts a vector **z** from the weights. It lowers a past task's loss while **z** points less than 90° "
              "away from that task's own gradient, and raises it beyond. Turn the gradients and see what is left.")
        )  # fmt: skip
        value("past")
        n = st.segmented_control(_("Past tasks"), [2, 3], default=value("past"), key=key("past"), required=True)
        g = at_angle(_angle("g", _("g: the step that the new task asks for, degrees")))
        past = [at_angle(_angle(f"g{k}", _("gradient of past task {k}, degrees").format(k=k))) for k in range(1, n + 1)]
    with chart:
        by_gem, by_agem = gem(g, past), agem(g, past)
        live_plot(cone_figure(g, past), key="cone-figure", alt=_cone_sentence(g, past, by_gem, by_agem))
    with controls:
        st.markdown(_cone_sentence(g, past, by_gem, by_agem))
        if allowed(past) is None:
            st.markdown(_("The past tasks contradict each other: no step at all is harmless, and GEM stands still."))
        with st.expander(_("Show as table"), icon=":material/table:"):
            st.dataframe(cone_table(g, past), hide_index=True, alt=_("Each step's direction, length and effects"))
        st.caption(
            _("All gradients have length 1; γ = 0. A-GEM's reference is the mean of the past gradients, as if its random batch "
              "were the whole memory. Exact, no seeds.")
        )  # fmt: skip


def _angle(name: str, label: str) -> int:
    low, high = RANGES[name]
    return st.slider(label, low, high, value(name), key=key(name), format="%d°")


def cone_table(g: Vector, past: list[Vector]) -> pd.DataFrame:
    """One row a step: where it points, how long it is, and its inner product with every past gradient."""
    steps = {_("g as it is"): g, "A-GEM": agem(g, past), "GEM": gem(g, past)}
    rows = []
    for name, z in steps.items():
        row = {_("step"): name, _("direction, °"): None if z.angle is None else round(z.angle, 1),
               _("length"): round(z.length, 3)}  # fmt: skip
        row |= {_("with task {k}").format(k=k): round(inner(z, p), 3) + 0.0 for k, p in enumerate(past, start=1)}
        rows.append(row)
    return pd.DataFrame(rows)


def _cone_sentence(g: Vector, past: list[Vector], by_gem: Vector, by_agem: Vector) -> str:
    hurt = harmed(g, past)
    if not hurt:
        return _("The step g hurts no past task: GEM and A-GEM leave it as it is.")
    parts = [_("The step g raises the loss of {tasks}.").format(tasks=_tasks(hurt))]
    if by_gem.length < 1e-9:
        parts.append(_("GEM finds no step that hurts nobody but standing still: nothing is learned now."))
    else:
        parts.append(
            _("GEM turns it by {turn:.0f}° and keeps {share:.0f} % of its length: nobody is hurt.").format(
                turn=_between(g, by_gem), share=100 * by_gem.length
            )
        )
    left = harmed(by_agem, past)
    if by_agem == g:
        parts.append(_("The average of the past does not object, so A-GEM leaves it alone, and it hurts {tasks}.").format(
            tasks=_tasks(left)))  # fmt: skip
    elif left:
        parts.append(_("A-GEM, which asks only the average, still hurts {tasks}.").format(tasks=_tasks(left)))
    else:
        parts.append(_("A-GEM, which asks only the average, hurts nobody either."))
    return " ".join(parts)


def _tasks(positions: list[int]) -> str:
    return _(" and ").join(_("past task {k}").format(k=k + 1) for k in positions)


def _between(a: Vector, b: Vector) -> float:
    return abs(((a.angle or 0) - (b.angle or 0) + 180) % 360 - 180)


# ---- the valleys ----------------------------------------------------------------------------------------------------


def _valleys() -> None:
    chart, controls = st.columns([6, 5], gap="large")
    kinds = {
        "diagonal": _("EWC: the Fisher information's diagonal"),
        "equal": _("L2 anchor: equal springs"),
        "full": _("full Fisher information"),
    }
    with controls:
        st.markdown(
            _("Two weights, two tasks. Training on A has ended in its valley (blue). Now B is trained (orange-red): without "
              "springs the network walks into B's minimum. EWC hooks springs to both weights, stiff where A's valley is steep.")
        )  # fmt: skip
        if value("lambda") not in STRENGTHS:  # from a link
            st.session_state[key("lambda")] = min(STRENGTHS, key=lambda s: abs(s - value("lambda")))
        strength = st.select_slider(_("λ: how stiff the springs are"), STRENGTHS, value("lambda"), key=key("lambda"),
                                    format_func=lambda s: f"{s:g}")  # fmt: skip
        turn = st.slider(_("How far A's valley is turned, degrees"), -90, 90, value("turn"), key=key("turn"), format="%d°")
        kind = st.radio(_("Springs"), list(kinds), list(kinds).index(value("springs")), key=key("springs"),
                        format_func=kinds.get)
    v = Valleys(turn_a=turn)
    with controls:
        said = valleys_sentence(v, strength, kind)
        st.markdown(said)
        live_plot(price_figure(v, strength, kind), key="price-figure",
                  alt=_("Loss of task A, of task B and of both at the end of training, against λ."))  # fmt: skip
    with chart:
        live_plot(valleys_figure(v, strength, kind), key="valleys-figure", alt=said)
        _path, lr = v.path(strength, kind)
        st.caption(
            _("Gradient descent from A's minimum: {steps} steps of size {lr:.3g}. The diamond is the exact minimum. Springs "
              "act along the axes: when A's valley is turned, the diagonal no longer fits it. Exact, no seeds.").format(
                steps=STEPS, lr=lr)
        )  # fmt: skip
        with st.expander(_("Show as table"), icon=":material/table:"):
            st.dataframe(
                valleys_table(v, strength, kind), hide_index=True, alt=_("Where training ends, and both losses")
            )


def valleys_table(v: Valleys, strength: float, kind: str) -> pd.DataFrame:
    """The marked points: weights and both losses there."""
    points = {
        _("minimum of A: start"): v.a,
        _("minimum of B: fine-tuning"): v.b,
        _("ends here with this λ"): v.minimiser(strength, kind),
        _("minimum of A + B"): v.joint(),
    }
    rows = [
        {_("point"): name, _("first weight"): round(float(z[0]), 3), _("second weight"): round(float(z[1]), 3),
         _("loss of A"): round(float(v.loss("a", z)), 3), _("loss of B"): round(float(v.loss("b", z)), 3)}
        for name, z in points.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def valleys_sentence(v: Valleys, strength: float, kind: str) -> str:
    end, joint = v.minimiser(strength, kind), v.joint()
    a, b = float(v.loss("a", end)), float(v.loss("b", end))
    least = float(v.loss("a", joint) + v.loss("b", joint))
    if strength == 0:
        return _(
            "Without springs B is learned perfectly and the loss of A rises from 0 to {a:.2f}: forgetting."
        ).format(a=a)
    return _(
        "With λ = {strength:g} the loss of A ends at {a:.2f} instead of {forgot:.2f}, and that of B at {b:.2f} instead of 0: "
        "together {total:.2f}, where {least:.2f} is the least possible."
    ).format(strength=strength, a=a, forgot=float(v.loss("a", v.b)), b=b, total=a + b, least=least)
