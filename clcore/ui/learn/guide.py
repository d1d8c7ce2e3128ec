"""Leads through a lesson: a text, a prediction that is locked, the run, and the prediction laid over the truth."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from clcore.charts.prediction import Line, curve_figure, options_figure
from clcore.charts.theme import Style, method_style
from clcore.frames import Series, Spread
from clcore.spec import RunSpec
from clcore.store import LIVE, Classroom, Prediction, RunRow, Store
from clcore.ui import states
from clcore.ui.classroom import queue_runs, refusals
from clcore.ui.frame import series_of, the_store, wake_runner
from clcore.ui.learn.lessons import Lesson, Option, Question, Step, lessons, truth
from clcore.ui.learn.link import LONGEST_NAME, key, publish_link, value
from clcore.ui.learn.together import accuracy_and_size
from clcore.ui.learn.verdict import verdict
from clcore.ui.links import link_of
from clcore.ui.live_plot import Drawing, live_plot
from clcore.ui.text import _, n_

LAB = "pages/lab/lab.py"
POLL_SECONDS = 1.0
LOOK_BACK = 200
READABLE = 820  # pixels, about 110 letters
DRAWN = "lesson-drawn"
NARROW = 64  # pixels: four figures, without step buttons


def guide() -> None:
    """The chosen lesson, or all of them."""
    every = lessons()
    chosen = every.get(value("lesson"))
    if chosen is None:
        _overview(list(every.values()))
    else:
        _lesson(chosen)


def _overview(every: Sequence[Lesson]) -> None:
    st.caption(_("Short lessons to take alone or in class: predict, lock, run, compare."))
    for i in range(0, len(every), 2):
        for column, lesson in zip(st.columns(2), every[i : i + 2], strict=False):
            with column, st.container(border=True, height="stretch", key=f"lesson-{lesson.name}"):
                st.markdown(f"**{lesson.title}**")
                st.markdown(lesson.idea)
                minutes = sum(m for m, _note in lesson.notes)
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.button(_("Begin"), key=f"begin-{lesson.name}", type="primary", icon=":material/school:",
                              on_click=_open, args=(lesson.name,))  # fmt: skip
                    steps = n_("{n} step", "{n} steps", len(lesson.steps))
                    st.caption(_("{steps} · about {minutes} minutes in class").format(steps=steps, minutes=minutes))


def _open(name: str) -> None:
    st.session_state[key("lesson")], st.session_state[key("step")] = name, 1


def _go(step: int) -> None:
    st.session_state[key("step")] = step


# ---- one step -------------------------------------------------------------------------------------------------------


def _lesson(lesson: Lesson) -> None:
    store = the_store()
    at = min(value("step"), len(lesson.steps))
    step = lesson.steps[at - 1]
    st.session_state[key("step")] = at
    with st.container(horizontal=True, vertical_alignment="center", key="lesson-head"):
        st.button(_("All lessons"), icon=":material/arrow_back:", key="all-lessons", on_click=_open, args=("",))
        st.header(lesson.title, anchor=False, width="content")
        if room := value("class"):
            st.badge(_("class {name}").format(name=room), icon=":material/groups:", color="blue")
    with st.container(horizontal=True, vertical_alignment="center", key="steps"):
        for k, one in enumerate(lesson.steps, start=1):
            st.button(f"{k} · {one.title}", key=f"step-{k}", type="primary" if k == at else "tertiary",
                      on_click=_go, args=(k,))  # fmt: skip
    st.markdown(step.text, width=READABLE)
    st.markdown(f":material/help: **{step.question.prompt}**", width=READABLE)
    chart, answered = st.columns([6, 5], gap="large")  # in this order on a phone: the chart above what moves it
    question = f"{lesson.name}/{step.name}"
    with answered:
        mine, answer = _prediction(store, question, step.question)
        rows = _found_runs(store, step.runs()) if mine else []
        shown = question in value("ran")
        if mine is not None:
            shown = _run_row(store, step, question, rows, shown)
            rows = rows if shown else []
    _watch(store, step, question, mine, answer, [r for r in rows if r], answered, chart)
    _presenter(store, lesson, question, step.question)
    if at < len(lesson.steps):
        with answered:
            st.button(_("Next: {title}").format(title=lesson.steps[at].title), key="next", icon=":material/arrow_forward:",
                      on_click=_go, args=(at + 1,))  # fmt: skip


def _prediction(store: Store, question: str, asked: Question) -> tuple[Prediction | None, Any]:
    """Draws what is predicted; returns it once it is locked, and what the controls say by now."""
    room, me = value("class"), value("me")
    locked = Classroom.in_database(store).prediction_of(question, me, room=room) if me else None
    if locked is not None and not _fits(asked, locked.answer):  # from a lesson that asked something else then
        locked = None
    answer = _inputs(question, asked, locked)
    if locked is None:
        if st.button(_("Lock prediction"), type="primary", icon=":material/lock:", key=f"lock-{question}",
                     disabled=answer is None):  # fmt: skip
            st.session_state[key("me")] = me = me or secrets.token_hex(4)
            Classroom.in_database(store).lock(question, me, answer, room=room)
            publish_link()
            st.rerun()
        return None, answer
    st.caption(f":material/lock: {_('Locked. It will not change any more.')}")
    return locked, locked.answer


def _inputs(question: str, asked: Question, locked: Prediction | None) -> Any:
    """The controls of a prediction, or its locked value in them."""
    if asked.kind == "vote":
        names = [option.name for option in asked.options]
        name = f"vote-{question}"
        if locked is not None:
            st.session_state[name] = locked.answer
        labels = {option.name: option.label for option in asked.options}
        present = st.session_state.get(name)
        return st.radio(
            _("Your vote"), names, index=names.index(present) if present in names else None, key=name,
            format_func=labels.get, disabled=locked is not None,
        )  # fmt: skip
    found = []
    lowest, start, highest, step = _range(asked)
    if asked.kind == "curve":  # short labels: on a phone all stand in one row
        line = st.container(horizontal=True, gap="xsmall", key="lesson-inputs")
        columns, width = [line] * len(asked.labels), NARROW
    else:
        columns, width = st.columns(len(asked.labels)), "stretch"
    for k, (label, column) in enumerate(zip(asked.labels, columns, strict=True)):
        name = _level(question, k)
        if locked is not None:
            st.session_state[name] = locked.answer[k]
        present = float(st.session_state.setdefault(name, start))
        with column:
            found.append(
                st.number_input(
                    f"{label}, {_('pts') if asked.difference else asked.unit.sign}", lowest, highest, present, step=step,
                    key=name, format="%.0f", disabled=locked is not None, width=width,
                )
            )
    return found


def _range(asked: Question) -> tuple[float, float, float, float]:
    """(its lowest, where a number starts, its highest, the step between two)"""
    if asked.metric == "size":
        return 0.0, 100.0, 100_000.0, 50.0
    return (-100.0, 0.0, 100.0, 5.0) if asked.difference else (0.0, 50.0, 100.0, 5.0)


def _level(question: str, k: int) -> str:
    """The key of the control of a number."""
    return f"level-{question}-{k}"


def _drawing(question: str, asked: Question) -> Drawing | None:
    """A prediction of numbers can be drawn into the chart; the controls beside it follow."""
    if asked.kind == "vote":
        return None
    lowest, _start, highest, step = _range(asked)

    def heard(numbers: list[float]) -> None:
        for k, number in enumerate(numbers):
            st.session_state[_level(question, k)] = number
        st.session_state[DRAWN] = True

    return Drawing(asked.labels, lowest, highest, step if asked.metric == "size" else 1.0, asked.unit.sign, heard)


def _fits(asked: Question, answer: Any) -> bool:
    if asked.kind == "vote":
        return answer in [option.name for option in asked.options]
    return isinstance(answer, list) and len(answer) == len(asked.labels)


def _run_row(store: Store, step: Step, question: str, rows: list[RunRow | None], shown: bool) -> bool:
    """Run, or what became of it; returns whether the truth is to be shown."""
    specs = step.runs()
    missing = [
        spec for spec, row in zip(specs, rows, strict=True) if row is None or row.state in ("failed", "cancelled")
    ]
    if shown and not missing:
        return True
    for row in rows:
        if shown and row is not None and row.state == "failed":
            st.error(row.error or _("The run ended without saying why; look into its log."), icon=":material/error:")
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(_("Run again") if shown else _("Run"), type="primary", icon=":material/play_arrow:",
                            key=f"run-{question}")  # fmt: skip
        networks = sum(len(spec.replicas) for spec in specs)
        told = n_("{n} network", "{n} networks", networks)
        if not missing:
            told += " · " + _("the same experiment was run before: its result is shown")
        st.caption(told, width="content")
    if pressed:
        if missing:
            with refusals():
                queue_runs(store, missing)
                missing = []
            if missing:
                return shown
            wake_runner()
        st.session_state[key("ran")] = [*(q for q in value("ran") if q != question), question]
        publish_link()
        st.rerun()
    return shown


def _found_runs(store: Store, specs: Sequence[RunSpec]) -> list[RunRow | None]:
    """For each spec the run that answers it: the newest finished one, else a live one, else the newest of all."""
    texts = [spec.model_dump_json() for spec in specs]
    best: dict[str, RunRow] = {}
    methods, benchmarks = {s.method.name for s in specs}, {s.benchmark for s in specs}
    for row in store.runs(methods=methods, benchmarks=benchmarks, limit=LOOK_BACK):
        text = row.spec_json.decode() if isinstance(row.spec_json, bytes) else row.spec_json
        if text in texts and (text not in best or _rank(row) > _rank(best[text])):
            best[text] = row
    return [best.get(text) for text in texts]


def _rank(row: RunRow) -> int:
    return 2 if row.state == "finished" else 1 if row.state in LIVE else 0


# ---- the chart ------------------------------------------------------------------------------------------------------


def _watch(store, step: Step, question: str, mine, answer, rows: list[RunRow], answered, chart) -> None:
    """Chart, table and verdict; drawn again every second while a run is live."""
    live = states.is_live(rows)
    ids = [row.id for row in rows]
    signature = [row.state for row in rows]
    crowd = _crowd(store, question, mine)

    with chart:

        @st.fragment(run_every=POLL_SECONDS if live else None, key="lesson-live")
        def watched() -> None:
            if st.session_state.pop(DRAWN, False):
                st.rerun()  # the controls stand outside
            now = [the_store().run(i) for i in ids] if live else rows
            if [row.state for row in now] != signature:
                st.rerun()
            _chart(step, question, answer, now, crowd, drawable=mine is None)

        watched()
    if rows and len(rows) == len(step.runs()) and not live:
        with answered:
            _told(step, mine, rows)


def _chart(
    step: Step, question: str, answer: Any, rows: list[RunRow], crowd: list[Any], *, drawable: bool = False
) -> None:
    asked = step.question
    drawing = _drawing(question, asked) if drawable else None
    series = [series_of(row.id) for row in rows]
    lines = (
        _truths(asked, series) if len(rows) == len(step.runs()) else [[None] * _width(asked) for _o in asked.options]
    )
    if rows:
        with st.container(horizontal=True, vertical_alignment="center", key="lesson-state"):
            states.badge(states.overall(rows))
            st.caption(_where(rows, series), width="content")
    ready = series if len(rows) == len(step.runs()) else []
    figure = _figure(asked, question, answer, lines, crowd, rows, ready)
    live_plot(figure, key=f"prediction-{question.replace('/', '-')}", alt=_alt(step, rows), drawing=drawing)
    hint = _("Draw your prediction into the chart, or give its numbers.") + " " if drawing else ""
    st.caption(hint + _basis(asked, lines, crowd))
    with st.expander(_("Show as table"), icon=":material/table:"):
        st.dataframe(prediction_table(asked, answer, lines), hide_index=True,
                     alt=_("Prediction and truth"))  # fmt: skip
    if step.sizes and ready:
        accuracy_and_size(asked, ready)


def _width(asked: Question) -> int:
    return asked.tasks if asked.kind == "curve" else 1


def _truths(asked: Question, series: Sequence[Series]) -> list[list[Spread | None]]:
    """(options, points)."""
    return [truth(asked, option, series[option.run]) for option in asked.options]


def _figure(asked: Question, question: str, answer, lines, crowd, rows, series) -> dict[str, Any]:
    if asked.kind == "curve":
        drawn = [
            Line(option.label, _style(option, rows), points,
                 _trail(series[option.run], option) if series and asked.metric == "acc" else ())
            for option, points in zip(asked.options, lines, strict=True)
        ]
        title = _("kept after the task, kB") if asked.metric == "size" else _("accuracy on task 1, %")
        return curve_figure(asked.labels, drawn, answer, crowd, title=title, unit=asked.unit, revision=question)
    styles = [_style(option, rows) for option in asked.options]
    points = [line[0] for line in lines]
    title = {"acc": _("average accuracy, %"), "forgetting": _("forgetting, points"),
             "bwt": _("backward transfer, points"), "first": _("accuracy on task 1 at the end, %"),
             "learning_accuracy": _("learning accuracy, %"), "size": _("kept at the end, kB")}[asked.metric]  # fmt: skip
    common = {"unit": asked.unit, "signed": asked.difference, "fitted": asked.metric == "bwt", "revision": question}
    if asked.kind == "levels":
        return options_figure(asked.labels, points, styles, title, mine=answer, crowd=crowd, **common)
    names = [option.name for option in asked.options]
    return options_figure(
        asked.labels, points, styles, title, vote=None if answer is None else names.index(answer),
        votes=[crowd.count(name) for name in names] if crowd else (), **common,
    )  # fmt: skip


def _trail(series: Series, option: Option) -> list[tuple[float, float]]:
    """Task 1 between the ends of tasks, from its own end on."""
    live = series.curves(option.config(series))
    live = live[(live["task"] == 1) & (live["position"] >= 1)]
    return [(float(at), float(mean)) for at, mean in zip(live["position"], live["mean"], strict=True) if mean == mean]


def _style(option: Option, rows: list[RunRow]) -> Style:
    """A method's look where options are methods, else its run's method's."""
    return method_style(rows[option.run].method if len(rows) > option.run else option.name)


def _crowd(store: Store, question: str, mine: Prediction | None) -> list[Any]:
    """The class's predictions: for those who have locked their own, and for who presents."""
    room = value("class")
    if not room or (mine is None and not st.session_state.get("present")):
        return []
    return [p.answer for p in Classroom.in_database(store).predictions(question, room)]


def _where(rows: list[RunRow], series: list[Series]) -> str:
    if states.is_live(rows):
        done, planned = sum(s.finished_tasks for s in series), sum(len(s.tasks) or 5 for s in series)
        return _("{done} of {planned} tasks trained").format(done=done, planned=planned)
    return _("from run {ids}").format(ids=", ".join(dict.fromkeys(row.experiment for row in rows)))


def _basis(asked: Question, lines, crowd) -> str:
    ns = {p.n for line in lines for p in line if p is not None and p.mean is not None}
    if not ns:
        told = _("The truth is drawn here after Run.")
    elif min(ns) > 2:
        told = n_("Mean of {n} seed; bars and bands are the 95 % t-interval.",
                  "Mean of {n} seeds; bars and bands are the 95 % t-interval.", min(ns))  # fmt: skip
    else:
        told = n_("{n} seed.", "{n} seeds: bars and bands are their range.", min(ns))
    if asked.metric == "size":
        told = _("All bytes kept for later: weights, and what the method keeps beside them.") + " " + told
    elif asked.kind == "curve":
        told = _("Accuracy on task 1, on its test data.") + " " + told
    if crowd:
        told += " " + n_("{n} prediction of the class.", "{n} predictions of the class.", len(crowd))
    return told


def _alt(step: Step, rows: list[RunRow]) -> str:
    shown = _("with the result") if rows else _("without the result yet")
    return _("{title}: your prediction, {shown}.").format(title=step.title, shown=shown)


def prediction_table(asked: Question, answer: Any, lines: Sequence[Sequence[Spread | None]]) -> pd.DataFrame:
    """What the chart shows, in its unit: one row a label (curves: and one column a method)."""
    number = asked.unit.of
    table: dict[str, list[Any]] = {_("what"): list(asked.labels)}
    if asked.kind == "vote":
        mark = [_("your vote") if option.name == answer else "" for option in asked.options]
        table[_("prediction")] = mark
    else:
        table[_("prediction")] = list(answer) if answer else [None] * len(asked.labels)
    if asked.kind == "curve":
        for option, points in zip(asked.options, lines, strict=True):
            table[option.label] = [None if p is None else number(p.mean) for p in points]
    else:
        points = [line[0] for line in lines]
        table[_("truth")] = [None if p is None else number(p.mean) for p in points]
        table[_("low")] = [None if p is None else number(p.low) for p in points]
        table[_("high")] = [None if p is None else number(p.high) for p in points]
        table[_("seeds")] = [0 if p is None else p.n for p in points]
    return pd.DataFrame(table)


def _told(step: Step, mine: Prediction, rows: list[RunRow]) -> None:
    """The sentence with the numbers, what it means, and the way to the whole experiment."""
    lines = _truths(step.question, [series_of(row.id) for row in rows])
    points = lines[0] if step.question.kind == "curve" else [line[0] for line in lines]
    with st.container(border=True, key="verdict"):
        st.markdown(f":material/compare_arrows: **{verdict(step.question, mine.answer, points)}**")
        st.markdown(step.told)
        if len({row.experiment for row in rows}) == 1 and len({row.benchmark for row in rows}) == 1:
            specs = [row.spec for row in rows]
            st.page_link(LAB, label=_("See every task in the Lab"), icon=":material/science:",
                         query_params={**link_of(specs), "x": rows[0].experiment})  # fmt: skip


# ---- for who presents -----------------------------------------------------------------------------------------------


def _presenter(store: Store, lesson: Lesson, question: str, asked: Question) -> None:
    with st.expander(_("For a class, and presenter's notes"), icon=":material/co_present:"):
        st.text_input(
            _("Name of the class"), value("class"), key=key("class"), max_chars=LONGEST_NAME, width=300,
            help=_("Everybody who opens the lesson with this name predicts with the class; all predictions can be shown "
                   "together."),
        )  # fmt: skip
        if room := value("class"):
            st.caption(_("The link for the class; everybody's prediction counts once:"))
            address = (st.context.url or "").split("?")[0]
            st.code(f"{address}?{urlencode({'lesson': lesson.name, 'class': room})}", language=None)
            n = len(Classroom.in_database(store).predictions(question, room))
            st.caption(n_("{n} prediction is locked for this step.", "{n} predictions are locked for this step.", n))
            with st.container(horizontal=True):
                st.toggle(_("Show the class's predictions before my own is locked"), key="present")
                st.button(_("Refresh"), icon=":material/refresh:", key="refresh-class")
        total = sum(minutes for minutes, _note in lesson.notes)
        st.markdown("**" + _("About {n} minutes").format(n=total) + "**")
        st.markdown("\n".join(f"- **{_('{n} min').format(n=minutes)}** · {note}" for minutes, note in lesson.notes))
