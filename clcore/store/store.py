"""The run store. The page writes what is wanted; only the worker and the runner write states."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from clcore import events as ev
from clcore.errors import RequestError, UnknownName
from clcore.events import Event
from clcore.spec import RunSpec
from clcore.store.about import About
from clcore.store.faults import RunGone
from clcore.store.fold import fold
from clcore.store.leases import Leases
from clcore.store.notices import Notices
from clcore.store.queue import fair_order
from clcore.store.rows import ACTIVE, LIVE, STATES, LiveRun, RunRow
from clcore.store.tables import events, labels, meta, runs
from clcore.text import _

Want = Literal["cancel", "pause", "step"] | None
SHORTEST_PREFIX = 4
_ROW = [c for c in runs.c if c.name not in ("number", "spec", "result")]
_ROW += [runs.c.spec.label("spec_json"), runs.c.result.label("result_json")]
_ROW += [sa.func.coalesce(labels.c.name, "").label("name"), sa.func.coalesce(labels.c.tags, "").label("tag_text")]
_LABELLED = runs.outerjoin(labels, labels.c.run_id == runs.c.id)
_LIVE_RUN = [runs.c[name] for name in LiveRun._fields]


def now() -> datetime:
    return datetime.now(UTC)


class Store(Leases, Notices, About):
    """Runs, their events and the runners' leases. Safe to share between threads; made by `open_store`.

    Every method raises StoreError with one sentence when the database cannot be used (StoreBusy when the same call may
    succeed later). Returned rows are snapshots.
    """

    # ---- runs ---------------------------------------------------------------------------------------------------

    def add(
        self, specs: Sequence[RunSpec], *, owner: str = "", experiment: str | None = None, state: str = "queued",
        limit: int | None = None,
    ) -> list[str]:  # fmt: skip
        """Records runs and returns their ids. Any state but "queued" says that the caller trains them itself.

        `limit` is how many live runs the owner may have with these: more are refused, all of them, with RequestError.
        """
        _check_state(state)
        experiment = experiment or _new_id()
        rows = [
            {
                "id": _new_id(),
                "experiment": experiment,
                "spec": spec.model_dump_json(),
                "method": spec.method.name,
                "benchmark": spec.benchmark,
                "scenario": spec.scenario,
                "owner": owner,
                "keeper": "runner" if state == "queued" else "terminal",
                "state": state,
                "device": spec.device,
                "created": now(),
                "heartbeat": None if state == "queued" else now(),
            }
            for spec in specs
        ]
        if rows:
            with self._write() as connection:
                if limit is not None:
                    _check_limit(connection, owner, len(rows), limit)
                connection.execute(sa.insert(runs), rows)
        return [row["id"] for row in rows]

    def run(self, run_id: str) -> RunRow:
        """One run by its id or by a unique beginning of it (four characters or more). Raises UnknownName."""
        query = sa.select(*_ROW).select_from(_LABELLED).where(runs.c.id == run_id)
        with self._read() as connection:
            found = connection.execute(query).all()
            if not found and SHORTEST_PREFIX <= len(run_id) < 12:
                begins = runs.c.id.startswith(run_id, autoescape=True)
                found = connection.execute(sa.select(*_ROW).select_from(_LABELLED).where(begins).limit(2)).all()
            if not found:
                newest = sa.select(runs.c.id).order_by(runs.c.number.desc()).limit(10)
                raise UnknownName("run", run_id, connection.execute(newest).scalars())
        if len(found) > 1:
            raise RequestError(f"More than one run begins with '{run_id}'; write more of its id.")
        return RunRow(**found[0]._mapping)

    def runs(
        self,
        *,
        states: Collection[str] | None = None,
        methods: Collection[str] | None = None,
        benchmarks: Collection[str] | None = None,
        experiment: str | None = None,
        owners: Collection[str] | None = None,
        search: str | None = None,
        scenario: str | None = None,
        results: bool = True,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[RunRow]:
        """Runs, newest first. `search` looks into id, experiment, method, benchmark, scenario, owner, name and tags.

        Without `results` the rows have none: they are most of what is read, and a page that polls may know them already.
        """
        columns = _ROW if results else [c for c in _ROW if c.name != "result_json"]
        query = sa.select(*columns).select_from(_LABELLED)
        query = query.where(*_filters(states, methods, benchmarks, experiment, owners, search))
        if scenario is not None:
            query = query.where(runs.c.scenario == scenario)
        query = query.order_by(runs.c.number.desc()).limit(limit).offset(offset or None)
        with self._read() as connection:
            return [RunRow(**row._mapping) for row in connection.execute(query)]

    def count_runs(
        self,
        *,
        states: Collection[str] | None = None,
        methods: Collection[str] | None = None,
        benchmarks: Collection[str] | None = None,
        experiment: str | None = None,
        owners: Collection[str] | None = None,
        search: str | None = None,
    ) -> int:
        query = sa.select(sa.func.count()).select_from(_LABELLED)
        query = query.where(*_filters(states, methods, benchmarks, experiment, owners, search))
        with self._read() as connection:
            return connection.execute(query).scalar_one()

    def streams(self, states: Collection[str]) -> list[tuple[str, str, int]]:
        """(benchmark, scenario, how many runs in these states), the one that was run last first."""
        query = sa.select(runs.c.benchmark, runs.c.scenario, sa.func.count()).where(runs.c.state.in_(list(states)))
        query = query.group_by(runs.c.benchmark, runs.c.scenario).order_by(sa.func.max(runs.c.number).desc())
        with self._read() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def delete(self, run_ids: Collection[str]) -> int:
        """Removes runs that are over, and their events; returns how many. With a live one among them, removes none."""
        ids = list(run_ids)
        with self._write() as connection:
            gone = connection.execute(sa.delete(runs).where(runs.c.id.in_(ids), runs.c.state.not_in(LIVE)))
            live = connection.execute(sa.select(runs.c.id).where(runs.c.id.in_(ids))).scalars().all()
            if live:
                raise RequestError(
                    _("Run {runs} is not over yet and cannot be deleted; cancel it first.").format(
                        runs=", ".join(sorted(live))
                    )
                )
            connection.execute(sa.delete(events).where(events.c.run_id.in_(ids)))
            connection.execute(sa.delete(labels).where(labels.c.run_id.in_(ids)))
            return gone.rowcount

    def label(self, run_id: str, *, name: str, tags: Collection[str]) -> None:
        """What a person calls a run; empty takes it away. Raises UnknownName."""
        row = self.run(run_id)
        kept = [tag for tag in dict.fromkeys(" ".join(tag.split()) for tag in tags) if tag]
        values = {"run_id": row.id, "name": " ".join(name.split())[:200], "tags": "\n".join(kept)}
        with self._write() as connection:
            connection.execute(sa.delete(labels).where(labels.c.run_id == row.id))
            if values["name"] or kept:
                connection.execute(sa.insert(labels), [values])

    # ---- wishes -------------------------------------------------------------------------------------------------

    def want(self, run_id: str, want: Want) -> None:
        """Records what a person wants of a run; each call counts. Nothing happens to a run that is over.

        The runner obeys; while no runner lives, a queued run is cancelled at once.
        """
        change = sa.update(runs).where(runs.c.id == run_id, runs.c.state.in_(LIVE))
        with self._write() as connection:
            changed = connection.execute(change.values(want=want, want_serial=runs.c.want_serial + 1)).rowcount
        if not changed:
            self.run(run_id)
        elif want == "cancel" and not self.runner_status().alive:
            self.end(run_id, ev.RunCancelled(), expected={"queued"})

    def cancel_all(self) -> int:
        """Wants every live run to be cancelled; returns how many had not been asked to stop yet."""
        live = runs.c.state.in_(LIVE)
        fresh = sa.or_(runs.c.want.is_(None), runs.c.want != "cancel")
        change = sa.update(runs).where(live, fresh).values(want="cancel", want_serial=runs.c.want_serial + 1)
        with self._write() as connection:
            changed = connection.execute(change).rowcount
        if not self.runner_status().alive:
            for run in self.live_runs():
                if run.state == "queued":
                    self.end(run.id, ev.RunCancelled(), expected={"queued"})
        return changed

    def wish(self, run_id: str) -> tuple[Want, int] | None:
        """What is wanted, and the serial number of that wish; None when the run is gone."""
        with self._read() as connection:
            row = connection.execute(sa.select(runs.c.want, runs.c.want_serial).where(runs.c.id == run_id)).first()
        return None if row is None else (row.want, row.want_serial)

    # ---- events -------------------------------------------------------------------------------------------------

    def events_after(
        self, run_id: str, seq: int = 0, types: Collection[str] | None = None, limit: int | None = None
    ) -> list[tuple[int, Event]]:
        """The events of a run after number `seq`, in order."""
        query = sa.select(events.c.seq, events.c.body).where(events.c.run_id == run_id, events.c.seq > seq)
        if types is not None:
            query = query.where(events.c.type.in_(types))
        with self._read() as connection:
            rows = connection.execute(query.order_by(events.c.seq).limit(limit)).all()
        return [(row.seq, ev.load(row.body)) for row in rows]

    def last_seq(self, run_id: str) -> int:
        """The number of a run's last event; 0 without events."""
        with self._read() as connection:
            return connection.execute(_last_seq(run_id)).scalar_one()

    def append(self, run_id: str, batch: Sequence[tuple[int, Event]], *, attempt: int | None = None) -> None:
        """Stores events in one transaction and folds them into the run's row: state, position, result, error.

        `attempt` fences off a worker that was given up on: with another number than the row's, or when the run is over
        or deleted, RunGone is raised and nothing is stored.
        """
        with self._write() as connection:
            self._append(connection, run_id, batch, attempt, LIVE)

    def end(self, run_id: str, event: Event, *, expected: Collection[str] = LIVE, attempt: int | None = None) -> bool:
        """Ends a run that has no worker (any more) with a terminal event; False when it is in no expected state."""
        try:
            with self._write() as connection:
                seq = connection.execute(_last_seq(run_id)).scalar_one() + 1
                self._append(connection, run_id, [(seq, event)], attempt, expected)
        except RunGone:
            return False
        return True

    def _append(self, connection, run_id, batch, attempt, states) -> None:
        change = sa.update(runs).where(runs.c.id == run_id, runs.c.state.in_(states))
        if attempt is not None:
            change = change.where(runs.c.attempts == attempt)
        if not connection.execute(change.values(**fold(batch))).rowcount:
            raise RunGone(f"Run {run_id} was deleted or is already over; what it reports is no longer recorded.")
        rows = [{"run_id": run_id, "seq": seq, "type": event.type, "body": ev.dump(event)} for seq, event in batch]
        if rows:
            connection.execute(sa.insert(events), rows)

    # ---- for the worker and the runner --------------------------------------------------------------------------

    def set_state(
        self,
        run_id: str,
        new: str,
        *,
        expected: Collection[str] | str | None = None,
        attempt: int | None = None,
        **columns: Any,
    ) -> bool:
        """Compare-and-set: False when the run is in none of the `expected` states or in another attempt.

        Further columns of the row (pid, host, slot, error, …) change with the state.
        """
        _check_state(new)
        change = sa.update(runs).where(runs.c.id == run_id)
        if expected is not None:
            change = change.where(runs.c.state.in_([expected] if isinstance(expected, str) else list(expected)))
        if attempt is not None:
            change = change.where(runs.c.attempts == attempt)
        with self._write() as connection:
            return connection.execute(change.values(state=new, **columns)).rowcount == 1

    def beat(self, run_id: str, *, attempt: int) -> bool:
        """Says that the run's process lives; False when the run is over, deleted or in another attempt."""
        change = sa.update(runs).where(runs.c.id == run_id, runs.c.attempts == attempt, runs.c.state.in_(LIVE))
        with self._write() as connection:
            return connection.execute(change.values(heartbeat=now())).rowcount == 1

    def enroll(self, run_id: str, *, host: str, pid: int, pid_started: float) -> RunRow | None:
        """A worker process takes charge of a run that was started for it; None when there is nothing to do."""
        change = sa.update(runs).where(runs.c.id == run_id, runs.c.state == "starting")
        with self._write() as connection:
            values = {"host": host, "pid": pid, "pid_started": pid_started, "heartbeat": now()}
            started = sa.func.coalesce(runs.c.started, sa.literal(now(), runs.c.started.type))
            if not connection.execute(change.values(started=started, **values)).rowcount:
                return None
        return self.run(run_id)

    def live_runs(self) -> list[LiveRun]:
        """All live runs in short, oldest first."""
        query = sa.select(*_LIVE_RUN).where(runs.c.state.in_(sorted(LIVE))).order_by(runs.c.number)
        with self._read() as connection:
            return [LiveRun(*row) for row in connection.execute(query)]

    def queue(self, live: Sequence[LiveRun] | None = None) -> list[str]:
        """Ids of the queued runs in the order in which they will start."""
        live = self.live_runs() if live is None else live
        waiting = [run for run in live if run.state == "queued"]
        if not waiting:
            return []
        active = Counter(run.owner for run in live if run.state in ACTIVE)
        owners = {run.owner for run in waiting}
        query = sa.select(runs.c.owner, sa.func.max(runs.c.started)).where(runs.c.owner.in_(owners))
        with self._read() as connection:
            served = dict(connection.execute(query.group_by(runs.c.owner)).all())
        return fair_order(waiting, active, served)

    def queue_places(self) -> list[RunRow]:
        """The queued runs in the order in which they will start, `place` counting from 1."""
        rows = {row.id: row for row in self.runs(states={"queued"})}
        order = [run_id for run_id in self.queue() if run_id in rows]
        return [replace(rows[run_id], place=place) for place, run_id in enumerate(order, start=1)]


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


def _last_seq(run_id: str) -> sa.Select:
    return sa.select(sa.func.coalesce(sa.func.max(events.c.seq), 0)).where(events.c.run_id == run_id)


def _check_state(state: str) -> None:
    if state not in STATES:
        raise UnknownName("state of a run", state, STATES)


def _check_limit(connection: sa.Connection, owner: str, more: int, limit: int) -> None:
    # On PostgreSQL two requests of the same moment would not see each other's runs: here the second one waits.
    connection.execute(sa.select(meta.c.value).where(meta.c.name == "schema").with_for_update())
    query = sa.select(sa.func.count()).select_from(runs).where(runs.c.owner == owner, runs.c.state.in_(LIVE))
    have = connection.execute(query).scalar_one()
    if have + more > limit:
        raise RequestError(
            _("{owner} has {have} of at most {limit} runs queued or running here and asked for {more} more; wait until some "
              "are over, cancel one, or choose fewer methods.").format(
                owner=owner or _("Nobody in particular"), have=have, limit=limit, more=more)
        )  # fmt: skip


def _filters(states, methods, benchmarks, experiment, owners, search) -> list[sa.ColumnElement[bool]]:
    chosen = ((runs.c.state, states), (runs.c.method, methods), (runs.c.benchmark, benchmarks), (runs.c.owner, owners))
    conditions = [column.in_(list(values)) for column, values in chosen if values is not None]
    if experiment is not None:
        conditions.append(runs.c.experiment == experiment)
    if search and search.strip():
        looked = (runs.c.id, runs.c.experiment, runs.c.method, runs.c.benchmark, runs.c.scenario, runs.c.owner)
        looked += (labels.c.name, labels.c.tags)
        text = search.strip().lower()
        conditions.append(sa.or_(*(sa.func.lower(column).contains(text, autoescape=True) for column in looked)))
    return conditions
