"""How a locked prediction compares with what happened: one sentence with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clcore.charts.words import Unit, spread_words
from clcore.frames import Spread
from clcore.ui.explanation import spoken
from clcore.ui.learn.lessons import Question
from clcore.ui.text import _, n_


def verdict(question: Question, answer: Any, points: Sequence[Spread | None]) -> str:
    """`points`: the truth for every label of the question, all runs being over."""
    lost = [label for label, p in zip(question.labels, points, strict=True) if p is None or p.mean is None]
    if lost:
        return _("There is no number for {what}: networks diverged or the run ended early. No verdict.").format(
            what=", ".join(lost)
        )
    return _voted(question, answer, points) if question.kind == "vote" else _levels(question, answer, points)


def _levels(question: Question, answer: Sequence[float], points: Sequence[Spread]) -> str:
    unit = question.unit
    off = [guess - unit.of(p.mean) for guess, p in zip(answer, points, strict=True)]
    worst = max(range(len(off)), key=lambda i: abs(off[i]))
    mean = sum(abs(o) for o in off) / len(off)
    if question.metric == "size":
        text = _("You were {mean:,.0f} kB off on average, most at {label}: you said {guess:,.0f}, it was {truth}.")
    else:
        text = _("You were {mean:.0f} points off on average, most at {label}: you said {guess:.0f}, it was {truth}.")
    return text.format(
        mean=mean, label=question.labels[worst], guess=answer[worst], truth=_words(question, points[worst])
    )


def _voted(question: Question, answer: str, points: Sequence[Spread]) -> str:
    names = [option.name for option in question.options]
    pick = max if question.best == "highest" else min
    best = pick(range(len(points)), key=lambda i: points[i].mean)
    mine = names.index(answer) if answer in names else None
    label = question.labels[best]
    found = _words(question, points[best])
    if mine is None:
        return _("The best was {label}, with {found}.").format(label=label, found=found)
    if mine == best:
        rivals = [question.labels[i] for i in range(len(points)) if i != best and _overlap(points[i], points[best])]
        told = _("You voted for {label}, and it came out best, with {found}.").format(label=label, found=found)
        if points[best].n == 1:
            told += " " + _("But one seed has no interval: it settles nothing.")
        elif rivals:
            told += " " + _("But its interval overlaps that of {rivals}: these seeds do not settle it.").format(
                rivals=", ".join(rivals)
            )
        return told
    told = _("You voted for {mine}, which came to {got}; the best was {label}, with {found}.").format(
        mine=question.labels[mine], got=_words(question, points[mine]), label=label, found=found
    )
    if points[best].n == 1:
        return told + " " + _("One seed has no interval: it settles nothing.")
    if _overlap(points[mine], points[best]):
        n = points[best].n
        told += " " + n_("Their intervals overlap: {n} seed does not settle it.",
                         "Their intervals overlap: {n} seeds do not settle it.", n)  # fmt: skip
    return told


def _words(question: Question, point: Spread) -> str:
    """The number with what stands behind it; a difference of percentages is told in points."""
    if question.metric == "size":
        return f"{question.unit.text(point.mean)} {question.unit.sign} ({_behind(point, question.unit)})"
    said = spoken(point)
    return said.replace(" %", " " + _("points"), 1) if question.difference else said


def _behind(point: Spread, unit: Unit) -> str:
    if point.n > 1 and point.low == point.high:
        return n_("in {n} network", "in each of {n} networks", point.n)
    return spread_words(point.low, point.high, point.n, point.diverged, point.total, unit)


def _overlap(a: Spread, b: Spread) -> bool:
    """Whether two intervals share a point; single seeds have none, and say nothing."""
    if min(a.n, b.n) < 2:
        return True
    return a.low <= b.high and b.low <= a.high
