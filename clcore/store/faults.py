"""The database's errors as one sentence each: what is wrong with which database, and the next step."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from clcore.errors import StoreError


class StoreBusy(StoreError):
    """The database is locked or out of reach right now; the same call may succeed later."""


class RunGone(StoreError):
    """The run was deleted, is already over, or belongs to a newer attempt: nothing more is recorded for it."""


_ELSEWHERE = "or set CLCORE_HOME to another folder"
_SENTENCES: tuple[tuple[tuple[str, ...], type[StoreError], str], ...] = (
    (
        ("database is locked", "database table is locked"),
        StoreBusy,
        "The run database {where} is locked by another program; close that program or try again in a moment.",
    ),
    (
        ("disk is full", "no space left", "disk full"),
        StoreError,
        "The disk that holds the run database {where} is full; free some space and start the run again, "
        + _ELSEWHERE
        + ".",
    ),
    (
        ("readonly database", "read-only", "unable to open database", "permission denied"),
        StoreError,
        "The run database {where} cannot be opened for writing; give this account write access to its folder, "
        + _ELSEWHERE
        + ".",
    ),
    (
        ("not a database", "malformed", "file is encrypted"),
        StoreError,
        "The file {where} is damaged or is not a run database; move it away to start with an empty one, "
        + _ELSEWHERE
        + ".",
    ),
    (
        ("disk i/o error",),
        StoreError,
        "The disk that holds the run database {where} reports a read or write error; check the disk, "
        + _ELSEWHERE
        + ".",
    ),
    (
        ("no such table", "does not exist", "no such column"),
        StoreError,
        "The run database {where} has lost some of its tables while it was in use; restart the app and the runner.",
    ),
    (
        ("connection refused", "could not connect", "connection failed", "could not translate", "server closed"),
        StoreBusy,
        "The database server at {where} cannot be reached; start it or correct CLCORE_DATABASE_URL.",
    ),
)


def as_store_error(error: Exception, where: str) -> StoreError:
    """The sentence for an error of the database driver or of the file system. `where` names the database."""
    if isinstance(error, sa.exc.NoSuchModuleError | ModuleNotFoundError):
        return StoreError(
            f"The driver for the database {where} is not installed ({error}); install it (for PostgreSQL: "
            f"pip install 'psycopg[binary]') or unset CLCORE_DATABASE_URL."
        )
    cause = getattr(error, "orig", None) or error
    text = str(cause).lower()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = "disk is full"
    elif isinstance(error, OSError):
        text = "permission denied"
    for signs, kind, sentence in _SENTENCES:
        if any(sign in text for sign in signs):
            return kind(sentence.format(where=where))
    first = " ".join(str(cause).split()) or type(cause).__name__
    return StoreError(f"The run database {where} cannot be used: {first}. Check CLCORE_HOME and CLCORE_DATABASE_URL.")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raises StoreError in place of what SQLAlchemy, the driver or the file system raise inside the block."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        raise as_store_error(error, where) from error
