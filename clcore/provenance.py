"""Which code trained a run: the commit of the checkout that this program runs from, when it is one. No torch."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PATIENCE = 5.0  # seconds for git to answer


def commit(root: Path = ROOT) -> dict[str, str | bool] | None:
    """{"hash": …, "modified": …} for a result's protocol; None where the program is no git checkout, or without git.

    `modified`: some file of the package is not as in that commit, a new one included; what lies elsewhere (documents, data,
    results) decides no number. A checkout that the program was merely installed into is not its own.
    """
    if not (root / ".git").exists():  # a file in a linked work tree
        return None
    try:
        name = _git(root, "rev-parse", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", Path(__file__).parent.name)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"hash": name, "modified": bool(changed.strip())}


def commit_words(found: dict[str, str | bool] | None) -> str:
    """A commit as it stands in a run card: "0daee21e4d0a", "0daee21e4d0a + changes"; "" for none."""
    if not found:
        return ""
    return str(found["hash"])[:12] + (" + changes" if found["modified"] else "")


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=_PATIENCE, check=True,
        stdin=subprocess.DEVNULL, env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        | {"GIT_OPTIONAL_LOCKS": "0"},
    )  # fmt: skip
    return done.stdout
