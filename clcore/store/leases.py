"""Which runner looks after a host. A lease that is not renewed runs out, so a dead runner is replaced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from clcore.store.database import Database
from clcore.store.faults import translated
from clcore.store.rows import RunnerStatus
from clcore.store.tables import leases


class Leases(Database):
    """One row a host."""

    def take_lease(
        self,
        host: str,
        holder: str,
        seconds: float,
        *,
        over: str | None = None,
        pid: int | None = None,
        pid_started: float | None = None,
    ) -> bool:
        """Makes `holder` the one runner of a host; False while another one's lease holds.

        `over` names a holder whose process is known to be dead: its lease does not count.
        """
        at = datetime.now(UTC)
        values = {
            "holder": holder,
            "expires": at + timedelta(seconds=seconds),
            "heartbeat": at,
            "started": at,
            "pid": pid,
            "pid_started": pid_started,
            "warm": False,
            "slots": 0,
        }
        free = sa.or_(leases.c.expires < at, leases.c.holder.in_([holder] if over is None else [holder, over]))
        with translated(self.location):
            try:
                with self._writer.begin() as connection:
                    change = sa.update(leases).where(leases.c.host == host, free).values(**values)
                    if connection.execute(change).rowcount:
                        return True
                    connection.execute(sa.insert(leases).values(host=host, **values))
                    return True
            except sa.exc.IntegrityError:  # the host's row exists, and its lease holds
                return False

    def renew_lease(self, host: str, holder: str, seconds: float, *, slots: int, warm: bool) -> bool:
        """Keeps a lease; False when another runner holds it now."""
        at = datetime.now(UTC)
        change = sa.update(leases).where(leases.c.host == host, leases.c.holder == holder)
        values = {"heartbeat": at, "expires": at + timedelta(seconds=seconds), "slots": slots, "warm": warm}
        with self._write() as connection:
            return connection.execute(change.values(**values)).rowcount == 1

    def release_lease(self, host: str, holder: str) -> None:
        with self._write() as connection:
            connection.execute(sa.delete(leases).where(leases.c.host == host, leases.c.holder == holder))

    def runner_status(self, host: str | None = None) -> RunnerStatus:
        """The runner of a host, or of the host that was heard of last."""
        found = self.runners(host)
        return found[0] if found else RunnerStatus(alive=False, host=host or "")

    def runners(self, host: str | None = None) -> list[RunnerStatus]:
        """The runners of all hosts, or of one: the one that was heard of last comes first."""
        query = sa.select(leases).order_by(leases.c.expires.desc())
        if host is not None:
            query = query.where(leases.c.host == host)
        with self._read() as connection:
            return [_status(dict(row._mapping)) for row in connection.execute(query)]


def _status(row: dict[str, Any]) -> RunnerStatus:
    holds = row.pop("expires") > datetime.now(UTC)
    return RunnerStatus(alive=holds and row["pid"] is not None, starting=holds and row["pid"] is None, **row)
