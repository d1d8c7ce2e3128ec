"""The class: who I am, who is the instructor, what all are invited to look at."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from clcore.settings import settings
from clcore.store import Classroom, RunRow, Store
from clcore.text import in_this_language
from clcore.ui import classroom, states
from clcore.ui.learn.collected import predictions_frame
from clcore.ui.system.waiting import title_of
from clcore.ui.text import _, n_

LOOK_BACK = 30  # runs


def class_panel(store: Store) -> None:
    """Nickname, instructor, invitation; the same for one person, who is the instructor of none."""
    with st.container(border=True, key="people"):
        st.markdown(f":material/groups: **{_('The class')}**")
        who, instructor, shown = st.columns(3, gap="medium")
        with who:
            classroom.name_field()
            limit = settings().runs_per_person
            if limit is None:
                st.caption(_("Nobody's number of runs is limited here."))
            else:
                st.caption(n_("Everybody may have {n} run queued or running at a time.",
                              "Everybody may have {n} runs queued or running at a time.", limit))  # fmt: skip
        with instructor:
            _instructor()
        with shown:
            _shown(store)
        if classroom.is_instructor():
            _predictions(store)


def _instructor() -> None:
    if settings().instructor_code is None:
        st.markdown(f"**{_('Instructor')}**")
        st.caption(
            _("No code is set, so everybody may stop everything and show a run to all. For a class, start the server with "
              "`CLCORE_INSTRUCTOR_CODE`.")
        )  # fmt: skip
    elif classroom.is_instructor():
        st.badge(_("You are the instructor"), icon=":material/school:", color="violet")
        st.caption(_("Until this page is reloaded: you may stop everything, steer everybody's runs, and show one to all."))
        st.button(_("Leave"), key="leave", on_click=classroom.leave)
    else:
        classroom.code_field()


def _shown(store: Store) -> None:
    st.markdown(f"**{_('Shown to the class')}**")
    now = store.shown_to_all()
    if now is None:
        st.caption(_("Nothing."))
    else:
        rows = store.runs(experiment=now.experiment, results=False)
        st.page_link(classroom.LAB, label=title_of(rows[-1]), help=experiment_words(rows), icon=":material/cast_for_education:",
                     query_params={"x": now.experiment})  # fmt: skip
        who = classroom.owner_words(now.by) if now.by else _("the instructor")
        st.caption(_("shown by {who} since {time} UTC").format(who=who, time=f"{now.since:%H:%M}"))
    if not classroom.is_instructor():
        return
    experiments: dict[str, list[RunRow]] = {}
    for row in store.runs(limit=LOOK_BACK, results=False):
        experiments.setdefault(row.experiment, []).append(row)
    if not experiments:
        return
    words = {name: experiment_words(rows) for name, rows in experiments.items()}
    st.selectbox(_("Experiment to show"), list(words), format_func=words.get, key="to-show", label_visibility="collapsed")
    with st.container(horizontal=True):
        st.button(_("Show it to the class"), icon=":material/cast_for_education:", key="show",
                  on_click=_show_chosen, args=(store,))  # fmt: skip
        st.button(_("Stop showing"), key="unshow", disabled=now is None, on_click=classroom.show, args=(store, None))


def _predictions(store: Store) -> None:
    """What a class has locked in the lessons, as a file."""
    st.markdown(f"**{_('Predictions of a class')}**")
    kept = Classroom.in_database(store)
    rooms = kept.rooms()
    if not rooms:
        st.caption(_("No class has locked a prediction yet. A lesson's link with the name of a class collects them."))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = {room: f"{room} · {n_('{n} prediction', '{n} predictions', n)}" for room, n in rooms.items()}
        room = st.selectbox(_("Class"), list(words), format_func=words.get, key="room", width=300)
        st.download_button(
            _("Download as CSV"), in_this_language(lambda: predictions_frame(kept.collected(room)).to_csv(index=False)),
            file_name="predictions.csv", mime="text/csv", on_click="ignore", icon=":material/download:", key="room-csv",
            help=_("A row for every number or vote: lesson, step, who, what was asked, what was predicted, and when it was "
                   "locked."),
        )  # fmt: skip


def _show_chosen(store: Store) -> None:
    classroom.show(store, st.session_state["to-show"])


def experiment_words(rows: Sequence[RunRow]) -> str:
    """An experiment in one line: its first run, how many more there are, whose it is and where it stands."""
    first = rows[-1]
    words = [title_of(first)]
    if len(rows) > 1:
        words.append(n_("and {n} more", "and {n} more", len(rows) - 1))
    if first.owner:
        words.append(classroom.owner_words(first.owner))
    words.append(states.face(states.overall(rows)).word)
    return " · ".join(words)
