"""What the instructor shows to everybody: one experiment at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from clcore.store.database import Database
from clcore.store.tables import meta, runs

SHOWN = "shown to all"  # a row of `meta`: databases of older programs take it, and older programs pass over it


@dataclass(frozen=True)
class Shown:
    """The experiment that the class is invited to look at."""

    experiment: str
    by: str
    since: datetime


class Notices(Database):
    """One row of the table `meta`, or none."""

    def show_to_all(self, experiment: str | None, by: str = "") -> None:
        """Invites everybody to look at an experiment, in place of the one before; None takes the invitation back."""
        text = json.dumps([experiment, by[:40], datetime.now(UTC).isoformat(timespec="seconds")], ensure_ascii=False)
        with self._write() as connection:
            connection.execute(sa.delete(meta).where(meta.c.name == SHOWN))
            if experiment is not None:
                connection.execute(sa.insert(meta).values(name=SHOWN, value=text))

    def shown_to_all(self) -> Shown | None:
        """The invitation in force; None when there is none, or when its runs were deleted."""
        with self._read() as connection:
            text = connection.execute(sa.select(meta.c.value).where(meta.c.name == SHOWN)).scalar_one_or_none()
            if text is None:
                return None
            experiment, by, since = json.loads(text)
            exists = connection.execute(sa.select(runs.c.id).where(runs.c.experiment == experiment).limit(1)).first()
        return Shown(experiment, by, datetime.fromisoformat(since)) if exists else None
