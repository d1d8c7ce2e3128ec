"""A comparison as tables: cells that a page, a report, LaTeX and CSV write in their own way."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from clcore import metrics
from clcore.accounting import INTERVAL, readable_bytes, readable_count
from clcore.charts.parallel import points_word
from clcore.comparison import METRICS, Group, best, card_table, marks, paired_differences
from clcore.frames import Spread
from clcore.identity import COLUMNS as IDENTITY
from clcore.identity import identity
from clcore.statistics import Difference
from clcore.text import _, n_


class Cell(NamedTuple):
    """A text; `mark` is "best", "unseparated" (from the best), "untested" or nothing."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Table:
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def map(self, write: Callable[[Cell], str]) -> list[dict[str, str]]:
        return [dict(zip(self.heads, map(write, row), strict=True)) for row in self.rows]


def metric_title(name: str) -> str:
    return {
        "acc": _("Average accuracy, %"), "forgetting": _("Forgetting, points"), "bwt": _("Backward transfer, points"),
        "learning_accuracy": _("Learning accuracy, %"), "fwt": _("Forward transfer, points"),
        "average_incremental_accuracy": _("Average incremental accuracy, %"),
    }[name]  # fmt: skip


def metrics_table(groups: Sequence[Group], names: Sequence[str]) -> Table:
    """A row per group: its letter, every metric as mean ± interval (n), and what it cost."""
    letters = marks(groups)
    stands = {name: best(groups, name, paired_differences(groups, name)) for name in METRICS}
    shown = [name for name in METRICS if any(group.spread(name).total and group.spread(name).n for group in groups)]
    heads = (_("Group"), _("Alike"), _("Seeds"), *map(metric_title, shown), _("Memory"), _("Gradient samples"),
             _("Time, × fine-tuning"))  # fmt: skip
    rows = []
    for i, (group, name) in enumerate(zip(groups, names, strict=True)):
        scores = (Cell(spread_text(group.spread(metric)), stands[metric][i].mark) for metric in shown)
        samples, time = group.gradient_samples, group.outcome.relative_time.mean
        rows.append((
            Cell(name), Cell(letters[i]), Cell(str(len(group.seeds))), *scores, Cell(readable_bytes(group.bytes)),
            Cell("–" if samples is None else readable_count(samples)), Cell("–" if time is None else f"{time:.1f} ×"),
        ))  # fmt: skip
    return Table(heads, tuple(rows))


def spread_text(value: Spread) -> str:
    """71.7 ± 5.6 (5); two seeds give their range, one says so."""
    if value.diverged:
        return _("{k} of {n} diverged").format(k=value.diverged, n=value.total)
    if value.mean is None:
        return "–"
    if value.half is not None:
        return f"{points(value.mean)} ± {100 * value.half:.1f} ({value.n})"
    if value.n == 2:
        return f"{points(value.mean)} ({points(value.low)} … {points(value.high)}, {n_('{n} seed', '{n} seeds', 2)})"
    return f"{points(value.mean)} ({n_('{n} seed', '{n} seeds', value.n)})"


def difference_table(found: Sequence[Difference], names: Sequence[str], groups: Sequence[Group]) -> Table:
    """A row per pair of the same stream."""
    heads = (_("First"), _("Second"), _("Difference, points"), _("95 % interval"), _("Shared seeds"),
             _("p"), _("p after Holm"), _("What may be said"))  # fmt: skip
    rows = []
    for d in found:
        rows.append((
            Cell(names[d.a]), Cell(names[d.b]), Cell("–" if d.mean is None else signed_points(d.mean)),
            Cell(interval_text(d)), Cell(str(d.n)), Cell(p_text(d.p)), Cell(p_text(d.adjusted)), Cell(verdict(d)),
        ))  # fmt: skip
    return Table(heads, tuple(rows))


def verdict(d: Difference) -> str:
    """What may be said about a pair, in words."""
    return {
        "above": _("first is higher"), "below": _("second is higher"), "tie": _("tie: the interval contains 0"),
        "open": _("not clear with so many pairs"),
        "few": n_("only {n} shared seed: no claim", "only {n} shared seeds: no claim", d.n),
        "diverged": n_("{n} seed diverged: no claim", "{n} seeds diverged: no claim", d.diverged),
        "none": _("nothing to compare"),
    }[d.verdict]  # fmt: skip


def interval_text(d: Difference) -> str:
    if d.mean is None or d.n < 2:
        return "–"
    text = f"{signed_points(d.low)} … {signed_points(d.high)}"
    return text if d.half is not None else f"{text} ({_('range')})"


def p_text(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def points(fraction: float) -> str:
    """A fraction in percent points, with a real minus sign; never a negative zero."""
    return points_word(100 * fraction)


def signed_points(fraction: float) -> str:
    rounded = round(100 * fraction, 1) + 0.0
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def card_name(name: str) -> str:
    """A line of the run card in words; a method's own setting keeps its name."""
    known = {
        "method": _("Method"), "strength": _("Strength"), "strength chosen": _("How the strength was chosen"),
        "provenance of the strength": _("Where the strength comes from"), "memory": _("Replay memory, examples"),
        "benchmark": _("Benchmark"), "scenario": _("Scenario"), "test examples": _("Test examples per task"),
        "seeds": _("Seeds"), "network": _("Network"), "optimizer": _("Optimizer"),
        "optimizer state": _("Optimizer at a new task"), "epochs": _("Epochs"), "batch size": _("Batch size"),
        "active classes": _("Classes in the softmax"), "equal compute": _("Equal compute, gradient samples"),
        "memory budget": _("Memory budget, bytes"), "metric definitions": _("Metric definitions, version"),
        "interval": _("Interval"), "program": _("Program version"), "commit": _("Commit of the program"),
        "torch": _("PyTorch"), "Python": _("Python"), "device": _("Device"), "runs": _("Runs"),
    }  # fmt: skip
    if name.startswith("option "):
        return _("Benchmark option {name}").format(name=f"`{name.removeprefix('option ')}`")
    return known.get(name) or f"`{name}`"


def card_cells(groups: Sequence[Group], names: Sequence[str], *, differing: bool = False) -> Table:
    """The run card: a row per line, a column per group; `differing`: only the lines in which the groups differ."""
    rows = [
        (Cell(card_name(name)), *map(Cell, values)) for name, values in card_table(groups, differing=differing)
    ]  # fmt: skip
    return Table((_("What decides the numbers"), *names), tuple(rows))


# ---- files ----------------------------------------------------------------------------------------------------------


def as_csv(groups: Sequence[Group], names: Sequence[str]) -> str:
    """The numbers of the table, unrounded: a row per group and metric, accuracies as fractions; then what the group is."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("group", "rank", "metric", "mean", "low", "high", "n", "diverged", "standing", "method", "strength",
                     "memory", "seeds", "runs", "bytes", "gradient_samples", *IDENTITY))  # fmt: skip
    letters, told = marks(groups), [_told(group) for group in groups]
    for metric in METRICS:
        stands = best(groups, metric, paired_differences(groups, metric))
        for i, group in enumerate(groups):
            s = group.spread(metric)
            numbers = (s.mean, s.low, s.high, s.n, s.diverged)
            writer.writerow((names[i], letters[i], metric, *numbers, stands[i].mark, *told[i]))
    return file.getvalue()


def _told(group: Group) -> tuple[Any, ...]:
    """What a group is, cell by cell: a label is for people, and says only what tells it from the others beside it."""
    chosen, newest = group.outcome.configuration, group.newest
    return (
        group.method, chosen.strength, chosen.memory, " ".join(map(str, group.seeds)), " ".join(group.outcome.runs),
        group.bytes, group.gradient_samples, *identity(group.spec, newest.result).values(),
    )  # fmt: skip


def as_data(groups: Sequence[Group], names: Sequence[str]) -> list[dict[str, Any]]:
    """A group each, for a JSON file: what it is, its metrics with the number of every seed, its cost."""
    letters = marks(groups)
    return [
        {
            "name": name, "rank": letter, "method": group.method, "strength": group.outcome.configuration.strength,
            "memory": group.outcome.configuration.memory, "settings": dict(group.outcome.configuration.settings),
            "seeds": list(group.seeds), "runs": list(group.outcome.runs), "bytes": group.bytes,
            "gradient_samples": group.gradient_samples, "card": dict(_card(group)),
            "metrics": {metric: _spread_data(group, metric) for metric in METRICS},
        }
        for group, name, letter in zip(groups, names, letters, strict=True)
    ]  # fmt: skip


def differences_data(groups: Sequence[Group], names: Sequence[str]) -> list[dict[str, Any]]:
    """Every paired difference of every metric."""
    return [
        {
            "metric": metric, "first": names[d.a], "second": names[d.b], "mean": d.mean, "low": d.low, "high": d.high,
            "n": d.n, "p": d.p, "p_holm": d.adjusted, "verdict": d.verdict,
        }
        for metric in METRICS
        for d in paired_differences(groups, metric)
    ]  # fmt: skip


def as_latex(groups: Sequence[Group], names: Sequence[str]) -> str:
    """The table of metrics for a paper (booktabs): the best in bold where it is clear, else what is not separated from it
    underlined."""
    table = metrics_table(groups, names)
    alignment = "ll" + "r" * (len(table.heads) - 2)
    lines = [
        f"% Forgetting Lab: {INTERVAL}, metric definitions {metrics.VERSION}.",
        "% Bold: clearly best (paired over seeds, Holm-corrected). Underlined: the best mean, and what is not separated from",
        "% the best by a paired test with Holm's correction.",
        f"\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        " & ".join(map(_escaped, table.heads)) + r" \\",
        "\\midrule",
        *(" & ".join(map(_latex, row)) + r" \\" for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex(cell: Cell) -> str:
    text = _escaped(cell.text)
    return {"best": rf"\textbf{{{text}}}", "unseparated": rf"\underline{{{text}}}"}.get(cell.mark, text)


_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "–": "--",
    "…": r"\ldots{}", "·": r"$\cdot$", "λ": r"$\lambda$", "γ": r"$\gamma$", "α": r"$\alpha$", "β": r"$\beta$",
    "μ": r"$\mu$", "τ": r"$\tau$", "ξ": r"$\xi$", "σ": r"$\sigma$",
}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _card(group: Group) -> list[tuple[str, str]]:
    return [(name, values[0]) for name, values in card_table([group])]


def _spread_data(group: Group, metric: str) -> dict[str, Any]:
    s = group.spread(metric)
    by_seed = {str(seed): value for seed, value in group.by_seed(metric).items()}
    return {"mean": s.mean, "low": s.low, "high": s.high, "n": s.n, "diverged": s.diverged, "by_seed": by_seed}
