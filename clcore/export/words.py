"""Sentences about a comparison that the page and the report share."""

from __future__ import annotations

from collections.abc import Sequence

from clcore import metrics
from clcore.comparison import Group
from clcore.text import _


def comparability(differing: Sequence[str]) -> tuple[bool, str]:
    """(whether they may be ranked together, a sentence), from the names of `accounting.differences`."""
    if differing:
        words = ", ".join(condition_name(name) for name in differing)
        return False, _("Not to be ranked together. They differ in: {what}.").format(what=words)
    return True, _(
        "These runs may be ranked together: the same conditions, seeds and protocol, memory bytes within 5 %."
    )


def condition_name(name: str) -> str:
    return {
        "benchmark": _("benchmark"), "options": _("benchmark options"), "scenario": _("scenario"),
        "network": _("network"), "optimizer": _("optimizer"), "epochs": _("epochs"), "batch size": _("batch size"),
        "active classes": _("active classes"), "optimizer state": _("optimizer state"), "seeds": _("seeds"),
        "memory bytes": _("memory bytes"), "equal compute": _("equal compute"), "memory budget": _("memory budget"),
        "gradient samples": _("gradient samples"),
        "selection of strengths": _("how strengths were chosen"),
    }[name]  # fmt: skip


def table_caption(groups: Sequence[Group]) -> str:
    """How to read the table of metrics."""
    sentences = [
        _("Mean ± 95 % Student t-interval over seeds (n)."),
        _("Bold: clearly the best, by the paired difference over shared seeds after Holm's correction. Otherwise “not "
          "sep.” marks the best mean and every group that is not separated from the best by a paired test with Holm's "
          "correction."),
        _("Only groups with the same letter under “Alike” may be ranked without a caveat: where letters differ, the best is "
          "the best of unlike conditions."),
        _("Metric definitions, version {n}.").format(n=metrics.VERSION),
    ]  # fmt: skip
    if any(group.is_bound for group in groups):
        sentences.insert(2, _("Joint training and one network per task are measures for the others and not ranked."))
    return " ".join(sentences)
