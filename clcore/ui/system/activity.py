"""What this installation does right now: the runs in progress, the queue, the machine, its runners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from clcore.accounting import readable_bytes
from clcore.errors import LabError
from clcore.runner.devices import device_slots
from clcore.runner.forecast import Start, Waiting, durations, remaining, settings_of, starts
from clcore.runner.load import Gpu, Processors, cores, disk, gpus, memory, resident
from clcore.runner.processes import this_host
from clcore.settings import settings
from clcore.store import ACTIVE, RunnerStatus, RunRow, Store
from clcore.ui import states
from clcore.ui.classroom import is_instructor, me, owner_words
from clcore.ui.frame import the_store, wake_runner
from clcore.ui.links import link_of
from clcore.ui.system.waiting import in_progress, queue_frame, reasons, title_of
from clcore.ui.text import _, n_

LAB = "pages/lab/lab.py"
POLL_SECONDS = 2.0
SHOWN_ROWS, SHOWN_PLACES = 12, 100
TIMED = 500  # finished runs that are looked at for how long runs take
LITTLE_DISK = 10**9  # bytes


# ---- the parts that move -------------------------------------------------------------------------------------------


def title_row(store: Store) -> None:
    """The heading and the page's buttons; outside the part that polls, so that no click falls between two ticks."""
    live = store.live_runs()
    with st.container(horizontal=True, vertical_alignment="center", key="system-actions"):
        st.title(_("System"), anchor=False, width="content")
        st.button(_("Refresh"), icon=":material/refresh:", key="refresh")
        if not any(runner.alive or runner.starting for runner in store.runners()) and st.button(
            _("Start the runner"), icon=":material/power_settings_new:", key="start-runner",
            help=_("The background service that trains queued runs. The Lab starts it by itself."),
        ):  # fmt: skip
            wake_runner()
            st.rerun()
        allowed = is_instructor()
        if st.button(
            _("Stop everything …"), icon=":material/front_hand:", key="stop-everything", disabled=not live or not allowed,
            help=_("Cancels every run that is in progress or waiting, after asking.") if allowed
            else _("Only the instructor may. Give the code below."),
        ):  # fmt: skip
            st.dialog(_("Stop everything"))(confirm_stop)(store)


def confirm_stop(store: Store) -> None:
    """Says how many runs of how many people would be cancelled, and asks."""
    live = store.live_runs()
    active = sum(run.state in ACTIVE for run in live)
    waiting = len(live) - active
    people = len({run.owner for run in live})
    st.markdown(
        _("Cancel **{active}** and **{waiting}**, of {people}?").format(
            active=n_("{n} run in progress", "{n} runs in progress", active),
            waiting=n_("{n} waiting run", "{n} waiting runs", waiting),
            people=n_("{n} person", "{n} people", people),
        )
    )
    st.caption(_("What they have measured so far is kept. They cannot be resumed."))
    with st.container(horizontal=True):
        if st.button(n_("Stop {n} run", "Stop {n} runs", len(live)), type="primary", key="stop-confirmed",
                     disabled=not live or not is_instructor()):  # fmt: skip
            stopped = store.cancel_all()
            wake_runner()  # a runner has to see the processes off
            st.toast(n_("{n} run is being cancelled.", "{n} runs are being cancelled.", stopped),
                     icon=":material/front_hand:")  # fmt: skip
            st.rerun()
        if st.button(_("Let them go on"), key="stop-kept"):
            st.rerun()


def live_part(store: Store) -> None:
    """Runs, queue, machine and runners; polls only while a run is live."""
    before = _signature(store)
    if before[0]:
        wake_runner()

    @st.fragment(run_every=POLL_SECONDS if before[0] else None, key="activity")
    def activity() -> None:
        here = the_store()
        if _signature(here) != before:
            st.rerun()
        _draw(here)

    activity()


def _signature(store: Store) -> tuple[bool, bool]:
    """What the buttons and the polling depend on."""
    return bool(store.live_runs()), any(runner.alive or runner.starting for runner in store.runners())


def _draw(store: Store) -> None:
    active = store.runs(states=ACTIVE, results=False)[::-1]
    waiting = store.queue_places()
    runners = store.runners()
    left, right = st.columns([2.2, 1], gap="medium")
    with left:
        with st.container(border=True, key="now"):
            _now(store, active)
        with st.container(border=True, key="queue"):
            _queue(store, active, waiting, runners)
    with right:
        with st.container(border=True, key="runners"):
            _runners(runners)
        with st.container(border=True, key="machine"):  # last: a GPU's driver may take its time to answer
            _machine(active)


# ---- runs in progress ----------------------------------------------------------------------------------------------


def _now(store: Store, active: Sequence[RunRow]) -> None:
    count = n_("{n} run in progress", "{n} runs in progress", len(active)) if active else _("No run in progress")
    st.markdown(f":material/play_circle: **{count}**")
    if not active:
        st.caption(_("Nothing is being trained. Start something in the Lab."))
        st.page_link(LAB, label=_("To the Lab"), icon=":material/science:")
        return
    for row in active[:SHOWN_ROWS]:
        with st.container(key=f"run-{row.id}", gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center"):
                states.badge(row.state, _note(row))
                st.page_link(LAB, label=title_of(row), query_params=_link(row.experiment), help=_("Opens it in the Lab"))
                st.caption(" · ".join(_facts(row)), width="content")
            if row.tasks:
                st.progress(min(1.0, row.position / row.tasks))
    if len(active) > SHOWN_ROWS:
        st.caption(n_("and {n} more", "and {n} more", len(active) - SHOWN_ROWS))


def _note(row: RunRow) -> str:
    if row.want == "cancel":
        return _("stopping")
    gone = states.silence(row)
    return "" if gone is None else _("last sign of life {n} s ago").format(n=round(gone))


def _facts(row: RunRow) -> list[str]:
    facts = [owner_words(row.owner) if row.owner else "", _place(row)]
    if row.tasks:
        facts.append(_("task {k} of {n}").format(k=min(int(row.position) + 1, row.tasks), n=row.tasks))
    if row.started:
        facts.append(states.duration((datetime.now(UTC) - row.started).total_seconds()))
    if row.host == this_host() and (size := resident(row.pid, row.pid_started)):
        facts.append(_("{bytes} of memory").format(bytes=readable_bytes(size)))
    return [fact for fact in facts if fact]


def _place(row: RunRow) -> str:
    place = row.slot or (_("in a terminal") if row.keeper == "terminal" else "")
    return f"{place} @ {row.host}" if place and row.host and row.host != this_host() else place


@st.cache_data(show_spinner=False, max_entries=256)
def _link(experiment: str) -> dict[str, list[str]]:
    """The Lab's URL for an experiment, with its settings in the controls where they still exist."""
    rows = the_store().runs(experiment=experiment, results=False)[::-1]
    try:
        return {**link_of([row.spec for row in rows]), "x": [experiment]}
    except LabError:
        return {"x": [experiment]}


# ---- the queue -----------------------------------------------------------------------------------------------------


def _queue(
    store: Store, active: Sequence[RunRow], waiting: Sequence[RunRow], runners: Sequence[RunnerStatus]
) -> None:
    count = n_("{n} run waiting", "{n} runs waiting", len(waiting)) if waiting else _("No run waiting")
    st.markdown(f":material/hourglass_empty: **{count}**")
    if not waiting:
        st.caption(_("The queue is empty: a new run starts at once if its device is free."))
        return
    busy = in_progress(store.live_runs())
    why = reasons(waiting, busy, runner=any(runner.alive for runner in runners))
    when = _starts(active, waiting) if any(runner.alive for runner in runners) else [None] * len(waiting)
    shown = list(waiting[:SHOWN_PLACES])
    st.dataframe(
        queue_frame(shown, why[:SHOWN_PLACES], when[:SHOWN_PLACES], me()), hide_index=True, key="places",
        height=min(38 + 35 * len(shown), 400), column_config=_columns(),
        alt=_("The queue in the order in which its runs will start"),
    )  # fmt: skip
    words = [_("The person with the fewest runs in progress is next, then who has waited longest since the last start.")]
    if len(waiting) > len(shown):
        words.append(_("The first {n} are shown.").format(n=len(shown)))
    mine = [row.place for row in waiting if me() and row.owner == me()]
    if mine:
        words.append(_("Your next run is in place {n}.").format(n=mine[0]))
    words.append(_("Starts: from the progress of the runs at work and the times of finished runs with the same settings here, "
                   "if nobody else queues; unknown where nothing like it has been timed."))  # fmt: skip
    st.caption(" ".join(words))


def _starts(active: Sequence[RunRow], waiting: Sequence[RunRow]) -> list[Start | None]:
    """When the waiting runs will start on this host, where others may start them earlier."""
    known, at = _durations(settings().database_url), datetime.now(UTC)
    busy: dict[str, list[float | None]] = {}
    for row in active:
        if row.state != "paused" and row.slot and row.host in ("", this_host()):  # a paused one has left its place
            elapsed = (at - row.started).total_seconds() if row.started else 0.0
            busy.setdefault(row.slot, []).append(remaining(row, elapsed, known))
    return starts([Waiting(row.device, settings_of(row.spec_json)) for row in waiting], _slots(), busy, known)


@st.cache_data(show_spinner=False, ttl=15, max_entries=4)
def _durations(url: str) -> dict[tuple[str, str], float]:
    return durations(the_store().runs(states={"finished"}, results=False, limit=TIMED))


def _columns() -> dict:
    c = st.column_config
    return {
        "place": c.NumberColumn(_("Place"), width=50),
        "who": c.TextColumn(_("Who"), width=90),
        "run": c.TextColumn(_("Run"), width=255),
        "device": c.TextColumn(_("Device"), width=55),
        "waits": c.TextColumn(_("Waits"), width=55),
        "starts": c.TextColumn(_("Starts"), width=110),
        "why": c.TextColumn(_("Why"), width=335),
    }


# ---- the machine ---------------------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def _processors() -> Processors:
    return Processors()


@st.cache_data(show_spinner=False, ttl=POLL_SECONDS - 0.1)
def _gpus() -> list[Gpu]:
    return gpus()


@st.cache_data(show_spinner=False, ttl=300)
def _slots() -> dict[str, int]:
    return device_slots()


def _machine(active: Sequence[RunRow]) -> None:
    st.markdown(f":material/memory: **{_('This machine')}**")
    taken = Counter(row.slot for row in active if row.state != "paused" and row.host in ("", this_host()))
    share = _processors().share()
    st.progress(share, text=_("Processors: {share:.0f} % of {cores}").format(
        share=100 * share, cores=n_("{n} core", "{n} cores", cores())))  # fmt: skip
    used, total = memory()
    st.progress(used / total, text=_("Memory: {used} of {total}").format(
        used=readable_bytes(used), total=readable_bytes(total)))  # fmt: skip
    found = _gpus()
    for gpu in found:
        words = _("GPU {n}, {name}: {used} of {total}").format(
            n=gpu.index, name=gpu.name, used=readable_bytes(gpu.used), total=readable_bytes(gpu.total))  # fmt: skip
        st.progress(gpu.used / gpu.total if gpu.total else 0.0, text=words)
        if gpu.busy is not None:
            st.progress(gpu.busy, text=_("GPU {n} computes {share:.0f} % of the time").format(
                n=gpu.index, share=100 * gpu.busy))  # fmt: skip
    if not found:
        st.caption(_("No GPU that nvidia-smi knows; runs train on the processors."))
    free, size = disk(settings().home)
    st.progress(1 - free / size, text=_("Disk of the database: {free} free of {size}").format(
        free=readable_bytes(free), size=readable_bytes(size)))  # fmt: skip
    if free < LITTLE_DISK:
        st.warning(_("Less than 1 GB of disk is left; runs fail when it is full."), icon=":material/disc_full:")
    places = (_("{taken} of {n} on {device}").format(taken=taken[d], n=n, device=d) for d, n in _slots().items())
    st.caption(_("Places taken: {places}.").format(places=", ".join(places)))


# ---- the runners ---------------------------------------------------------------------------------------------------


def _runners(runners: Sequence[RunnerStatus]) -> None:
    st.markdown(f":material/engineering: **{_('Runner')}**")
    for runner in [r for r in runners if r.alive or r.starting]:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            if runner.alive:
                st.badge(_("at work"), icon=":material/check_circle:", color="green")
            else:
                st.badge(_("starting"), icon=":material/rocket_launch:", color="blue")
            if runner.warm:
                st.badge(_("warm worker"), icon=":material/local_fire_department:", color="orange",
                         help=_("A process has torch imported and waits: the next run starts at once."))  # fmt: skip
        st.caption(" · ".join(runner_facts(runner)))
    if not any(r.alive or r.starting for r in runners):
        st.badge(_("not running"), icon=":material/bedtime:", color="gray")
        st.caption(_("It ends by itself after ten idle minutes, and the next run wakes it."))


def runner_facts(runner: RunnerStatus) -> list[str]:
    """Where it runs, since when, and when it was last heard of."""
    facts = [runner.host]
    if runner.pid:
        facts.append(_("process {pid}").format(pid=runner.pid))
        facts.append(n_("{n} place", "{n} places", runner.slots))
    at = datetime.now(UTC)
    if runner.started:
        facts.append(_("up {time}").format(time=states.duration((at - runner.started).total_seconds())))
    if runner.heartbeat and runner.pid:
        facts.append(_("heard of {n} s ago").format(n=max(0, round((at - runner.heartbeat).total_seconds()))))
    return facts
