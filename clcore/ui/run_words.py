"""A run and an experiment in words."""

from __future__ import annotations

from collections.abc import Sequence

from clcore.catalogue import catalogue, scenario_word
from clcore.frames import Config
from clcore.spec import RunSpec
from clcore.store import RunRow
from clcore.ui.text import _, n_


def method_title(name: str) -> str:
    """A method's title; of a composition those of its parts."""
    return " + ".join(catalogue().method(part).title for part in name.split("+"))


def headline(specs: Sequence[RunSpec]) -> str:
    """Benchmark, scenarios, tasks, seeds: what all runs of an experiment share."""
    spec = specs[0]
    scenarios = ", ".join(map(scenario_word, dict.fromkeys(s.scenario for s in specs)))
    parts = [catalogue().benchmark(spec.benchmark).title, scenarios]
    if tasks := planned_tasks(spec):
        parts.append(n_("{n} task", "{n} tasks", tasks))
    parts.append(n_("{n} seed", "{n} seeds", len(spec.grid.seeds)))
    return " · ".join(parts)


def scenario_words(scenario: str) -> str:
    return {
        "task": _("Task scenario: told at test which task it is"),
        "domain": _("Domain scenario: not told the task, the same outputs in every task"),
        "class": _("Class scenario: not told the task, must choose among all classes"),
        "task-free": _("Task-free scenario: one stream, nobody says where a task ends, neither in training nor at test"),
    }[scenario]


def planned_tasks(spec: RunSpec) -> int | None:
    """How many tasks the stream will have, where the benchmark has an option for it."""
    return spec.benchmark_options.get("tasks")


def config_words(config: Config, symbol: str = "") -> str:
    """λ = 30, memory 200."""
    words = []
    if config.strength is not None:
        words.append(f"{symbol or _('strength')} = {config.strength:g}")
    if config.memory is not None:
        words.append(_("memory {n}").format(n=config.memory))
    return ", ".join(words)


def run_label(row: RunRow, rows: Sequence[RunRow]) -> str:
    """What tells a run from the others of its experiment."""
    several = len({r.scenario for r in rows}) > 1
    return method_title(row.method) + (f" · {scenario_word(row.scenario)}" if several else "")


def signed(fraction: float) -> str:
    """A fraction in percent points, with a real minus sign."""
    return f"{100 * fraction:.1f}".replace("-", "−")
