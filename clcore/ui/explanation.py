"""“What am I seeing?”: sentences that follow the run. Rules over its numbers; no sentence without its number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from clcore import metrics
from clcore.catalogue import catalogue, scenario_word
from clcore.charts.words import strength_word
from clcore.frames import Config, Series, Spread
from clcore.store import LIVE
from clcore.ui.text import _, n_

NOTICEABLE = 0.01
LITTLE_MORE = 0.05


class Story(NamedTuple):
    """A run as the sentences see it."""

    method: str
    title: str
    scenario: str
    state: str
    series: Series
    config: Config
    symbol: str = ""
    name_scenario: bool = False


def explain(stories: Sequence[Story]) -> list[str]:
    """Sentences about all runs of an experiment, the most telling first.

    While one is live, every run has its own, from the start: what is drawn below does not move when numbers arrive.
    """
    told: list[str] = []
    for story in stories:
        told += _divergence(story)
    live = [s for s in stories if s.state in LIVE]
    if not live:
        told += about_parts(stories)
        told += across_scenarios(stories)
    for story in live:
        told += while_training(story)
    for story in stories:
        if story.state not in LIVE:
            swept = len({c.strength for c in story.series.configs}) > 1
            told += about_sweep(story) if swept else at_the_end(story, stories)
    return told if live else told + last_task_only(stories)


def while_training(story: Story) -> list[str]:
    """During task k: what the network sees now, and which earlier task has lost most since it was learned."""
    series, T = story.series, len(story.series.tasks)
    k = series.finished_tasks + 1
    title = f"**{story.title}**{_where(story)}"
    if not series.started:
        return [_("{title} has not begun; there is no number yet.").format(title=title)]
    if k > T:
        return at_the_end(story, [story])
    if story.scenario == "task-free":
        told = _("{title} is in part {k} of {T} of a stream without boundaries.").format(title=title, k=k, T=T)
    elif k == 1:
        told = _("{title} learns task 1 of {T}; there is nothing to forget yet.").format(title=title, T=T)
    elif story.method == "joint":
        told = _("{title} trains on tasks 1 to {k} together.").format(title=title, k=k)
    elif story.config.memory:
        told = n_(
            "{title} sees task {k} of {T} and {n} remembered example.",
            "{title} sees task {k} of {T} and {n} remembered examples.",
            story.config.memory, title=title, k=k, T=T,
        )  # fmt: skip
    else:
        told = _("{title} sees only task {k} of {T} now.").format(title=title, k=k, T=T)
    drop = largest_drop(series, story.config)
    if drop is None:
        return [told]
    j, learned, now = drop
    points = 100 * (learned - now)
    if points < 100 * NOTICEABLE:
        return [told + " " + _("No earlier task has lost a whole point: task {j} stands at {now} %.").format(
            j=j, now=_pct(now))]  # fmt: skip
    return [told + " " + _("Task {j} has dropped {d} points since it was learned, from {a} to {b} %.").format(
        j=j, d=f"{points:.0f}", a=_pct(learned), b=_pct(now))]  # fmt: skip


def largest_drop(series: Series, config: Config) -> tuple[int, float, float] | None:
    """(task, accuracy when it was learned, accuracy now) of the earlier task that lost most; None without one."""
    matrix = series.matrix(config)
    learned = {int(c.task): c.mean for c in matrix.itertuples() if c.row == c.task}
    now = {int(c.task): c.mean for c in matrix[matrix["row"] == series.finished_tasks].itertuples()}
    curves = series.curves(config)
    if len(curves):
        newest = curves[curves["position"] == curves["position"].max()]
        if newest["position"].iloc[0] > series.finished_tasks:
            now |= {int(c.task): c.mean for c in newest.itertuples()}
    k = series.finished_tasks
    drops = [(j, learned[j], now[j]) for j in range(1, k + 1) if _real(learned.get(j)) and _real(now.get(j))]
    if series.position <= k:
        drops = [d for d in drops if d[0] < k]
    return max(drops, key=lambda d: d[1] - d[2], default=None)


def about_parts(stories: Sequence[Story]) -> list[str]:
    """After the end, without boundaries: what the numbers of T1, T2, … and their differences mean there."""
    free = next((s for s in stories if s.scenario == "task-free" and _complete(s.series)), None)
    if free is None:
        return []
    return [
        _("Task-free: nobody says where a task ends. The accuracy is measured at {T} fixed points, the ends of equally long "
          "parts of the stream, where half of a blurred change has passed. Backward transfer and forgetting compare the end "
          "of the stream with the end of a task's part, not with the moment when it was best known.").format(
            T=len(free.series.tasks))
    ]  # fmt: skip


def across_scenarios(stories: Sequence[Story]) -> list[str]:
    """After the end, with several scenarios: one sentence a method, its average in each."""
    told = []
    for method in dict.fromkeys(s.method for s in stories if len({c.strength for c in s.series.configs}) < 2):
        mine = [s for s in stories if s.method == method and _complete(s.series)]
        if len(mine) < 2:
            continue
        values = [(s.scenario, s.series.metric(s.config, "acc")) for s in mine]
        told.append(
            _("**{title}** ends at {values} on average over the tasks ({seeds}).").format(
                title=mine[0].title,
                values=", ".join(f"{spoken(v, seeds=False)} ({scenario})" for scenario, v in values),
                seeds=n_("{n} seed", "{n} seeds", max(v.total for _s, v in values)),
            )
        )
    return told


def at_the_end(story: Story, stories: Sequence[Story]) -> list[str]:
    """After the end: how much of task 1 is left, the average, and the paired difference to plain fine-tuning."""
    series, T = story.series, len(story.series.tasks)
    if T < 2 or series.finished_tasks < T:
        return []
    cells = {(int(c.row), int(c.task)): c.mean for c in series.matrix(story.config).itertuples()}
    learned, kept = cells.get((1, 1)), cells.get((T, 1))
    if not _real(learned) or not _real(kept) or learned == 0:
        return []
    chance = series.chance()[0]
    if chance is not None and learned <= chance + LITTLE_MORE:
        nothing = _("**{title}**{where} learned nothing: {a} % of task 1 right after training on it, where guessing gives "
                    "{chance} %.")  # fmt: skip
        told = nothing.format(title=story.title, where=_where(story), a=_pct(learned), chance=_pct(chance))
        strong = any(catalogue().method(part).strength for part in story.method.split("+"))
        advice = _("A lower learning rate or a smaller strength helps.") if strong else _("A lower learning rate helps.")
        return [f"{told} {advice}"]
    if kept - learned >= NOTICEABLE:
        told = _("**{title}**{where} knows task 1 better than when it had learned it ({a} → {b} %). Average of all {T} tasks: "
                 "{acc}")  # fmt: skip
    else:
        told = _("**{title}**{where} kept {share} % of task 1 ({a} → {b} %). Average of all {T} tasks: {acc}")
    told = told.format(
        title=story.title, where=_where(story), share=f"{100 * min(kept / learned, 1):.0f}",
        a=_pct(learned), b=_pct(kept), T=T, acc=spoken(series.metric(story.config, "acc")),
    )
    compared = against_finetuning(story, stories)
    return [told + (f"; {compared}." if compared else ".")]


def last_task_only(stories: Sequence[Story]) -> list[str]:
    """After the end, class scenario: which regularizers know little more than the last task, and that this is no fault."""
    found = []
    for story in stories:
        families = {catalogue().method(part).family for part in story.method.split("+")}
        if story.scenario != "class" or families != {"regularization"} or not _complete(story.series):
            continue
        best = max((story.series.metric(c, "acc") for c in story.series.configs), key=lambda s: s.mean or 0.0)
        if best.mean is not None and best.mean <= 1 / len(story.series.tasks) + LITTLE_MORE:
            found.append((story.title, best, len(story.series.tasks)))
    if not found:
        return []
    who = ", ".join(f"**{title}** {spoken(best)}" for title, best, _T in found)
    return [
        _("Class scenario: {who}. Knowing the last task alone gives {alone} %. This is the published result and not a fault: "
          "weights can be held, but nothing in the new examples tells old classes from new ones. A memory does.").format(
            who=who, alone=f"{100 / found[0][2]:.0f}")
    ]  # fmt: skip


def against_finetuning(story: Story, stories: Sequence[Story]) -> str:
    """The paired difference in ACC to plain fine-tuning under the same conditions, as the end of a sentence."""
    plain = next((s for s in stories if s.method == "finetune" and s.scenario == story.scenario), None)
    if plain is None or story.method == "finetune" or not (_complete(story.series) and _complete(plain.series)):
        return ""
    found = paired(story.series, story.config, plain.series, plain.config)
    if found is None or found.n < 3:
        return ""
    told_apart = abs(found.mean) > found.half
    if not told_apart:
        text = _("not to be told apart from fine-tuning ({d} ± {h} points)")
    elif found.mean > 0:
        text = _("{d} ± {h} points above fine-tuning")
    else:
        text = _("{d} ± {h} points below fine-tuning")
    difference = abs(found.mean) if told_apart else found.mean
    return text.format(d=f"{100 * difference:.1f}".replace("-", "−"), h=f"{100 * found.half:.1f}")


def paired(ours: Series, our: Config, theirs: Series, their: Config) -> metrics.Interval | None:
    """ours − theirs in ACC over the seeds of both; None when a seed has no number or none is shared."""
    a, b = ours.replica_metric(our, "acc"), theirs.replica_metric(their, "acc")
    shared = [seed for seed in a if seed in b]
    if any(a[seed] is None or b[seed] is None for seed in shared):
        return None
    return metrics.interval([a[seed] - b[seed] for seed in shared])


def _tied(series: Series, one: Config, other: Config) -> bool:
    found = paired(series, one, series, other)
    return found is not None and found.n > 2 and abs(found.mean) <= found.half


def about_sweep(story: Story) -> list[str]:
    """After the end: where the average is highest, and what is lost on either side."""
    series = story.series
    if not _complete(series):
        return []
    memory = story.config.memory
    frame = series.sweep(memory)
    table = {(r.strength, r.curve): r.mean for r in frame.itertuples() if _real(r.mean)}
    averages = {s: v for (s, curve), v in table.items() if curve == "average"}
    if len(averages) < 2:
        return []
    best, weakest, stiffest = max(averages, key=averages.get), min(averages), max(averages)
    told = [
        _("**{title}**{where} reaches its highest average, {acc}, at {symbol} = {s}.").format(
            title=story.title, where=_where(story), symbol=story.symbol or _("strength"), s=strength_word(best),
            acc=spoken(series.metric(Config(best, memory), "acc")),
        )
    ]  # fmt: skip
    ties = [s for s in averages if s != best and _tied(series, Config(s, memory), Config(best, memory))]
    if ties:
        told.append(
            _("With {seeds} that is not to be told apart from {others}.").format(
                seeds=n_("{n} seed", "{n} seeds", len(series.members(Config(best, memory)))),
                others=", ".join(strength_word(s) for s in sorted(ties)),
            )
        )
    if weakest < best and (weakest, "old") in table:
        told.append(
            _("Weaker ({s}): the old tasks fall to {old} %, against {there} % there.").format(
                s=strength_word(weakest), old=_pct(table[weakest, "old"]), there=_pct(table[best, "old"])
            )
        )
    if stiffest > best and (stiffest, "last") in table:
        told.append(
            _("Stiffer ({s}): the last task is learned only to {last} %, against {there} % there.").format(
                s=strength_word(stiffest), last=_pct(table[stiffest, "last"]), there=_pct(table[best, "last"])
            )
        )
    return [" ".join(told)]


def spoken(value: Spread, seeds: bool = True) -> str:
    """A metric with what stands behind it: 71.7 ± 5.6 % (5 seeds)."""
    if value.diverged:
        return _("{k} of {n} diverged").format(k=value.diverged, n=value.total)
    if value.mean is None:
        return "–"
    behind = [n_("{n} seed", "{n} seeds", value.n)] if seeds else []
    number = f"{100 * value.mean:.1f}"
    if value.half is not None:
        number += f" ± {100 * value.half:.1f}"
    elif value.n == 2:
        behind.insert(0, _("{low:.1f} to {high:.1f}").format(low=100 * value.low, high=100 * value.high))
    return f"{number} %" + (f" ({', '.join(behind)})" if behind else "")


def _divergence(story: Story) -> list[str]:
    lost, series = story.series.diverged, story.series
    if not lost:
        return []
    strengths = sorted(
        {series.started.replicas[i].strength for i in lost if series.started.replicas[i].strength is not None}
    )
    words = f"{story.symbol or _('strength')} = " + ", ".join(strength_word(s) for s in strengths)
    where = " " + _("at {s}").format(s=words) if strengths else ""
    return [
        _("{k} of {n} networks of **{title}** diverged{where}: their loss stopped being a number, so no mean is shown. "
          "A lower learning rate or a smaller strength helps.").format(
            k=len(lost), n=len(series.started.replicas), title=story.title, where=where)
    ]  # fmt: skip


def _complete(series: Series) -> bool:
    return bool(series.tasks) and series.finished_tasks == len(series.tasks)


def _where(story: Story) -> str:
    return " " + _("({scenario} scenario)").format(scenario=scenario_word(story.scenario)) if story.name_scenario else ""


def _real(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _pct(value: float) -> str:
    return f"{100 * value:.0f}"
