"""A comparison as one file: charts, tables, the run card and the commands. It opens anywhere, also without a network."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

import clcore
from clcore.charts.library import plotly_javascript
from clcore.charts.theme import CATEGORICAL, SURFACES
from clcore.comparison import METRICS, Group, incomparable_in, paired_differences
from clcore.export import figures
from clcore.export.commands import command
from clcore.export.tables import Cell, Table, card_cells, difference_table, metric_title, metrics_table
from clcore.export.words import comparability, table_caption
from clcore.text import _, language

TEMPLATE = Path(__file__).with_name("report.html")
MOST_MATRICES = 8


def report(
    groups: Sequence[Group],
    names: Sequence[str],
    *,
    title: str = "",
    seconds: Mapping[str, Sequence[float | None]] | None = None,
    written: datetime | None = None,
) -> str:
    """The whole file as text.

    seconds  run → training seconds until the end of each task
    written  the moment that the report names
    """
    drawn = _Drawn()
    streams = dict.fromkeys(f"{group.spec.benchmark} ({group.spec.scenario})" for group in groups)
    at = "" if written is None else written.astimezone().strftime("%Y-%m-%d %H:%M")
    body = [
        _summary(groups),
        _section(_("Metrics"), _table(metrics_table(groups, names)), _note(table_caption(groups))),
        _section(
            _("Accuracy"),
            '<div class="grid">'
            + drawn.figure("averages", _("Average accuracy over the tasks seen"), *figures.averages(groups, names))
            + drawn.figure("finals", _("Accuracy on each task at the end"), *figures.finals(groups, names))
            + "</div>",
            _note(figures.caption(groups)),
        ),
        _section(_("Accuracy matrices"), '<div class="grid narrow">' + "".join(
            drawn.figure(f"matrix-{group.key}", name, *figures.matrix(group))
            for name, group in list(zip(names, groups, strict=True))[:MOST_MATRICES]
        ) + "</div>"),
        _paired(groups, names, drawn),
        _costs(groups, names, seconds or {}, drawn),
        _section(_("Run card"), _table(card_cells(groups, names))),
        _section(_("Reproduce"), f"<pre>{html.escape(_commands(groups))}</pre>"),
    ]  # fmt: skip
    surfaces = {f"{look}_{name}": color for look, colors in SURFACES.items() for name, color in colors.items()}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        surfaces,
        language=language(),
        title=html.escape(title or _("Forgetting Lab: comparison")),
        subtitle=html.escape(" · ".join(filter(None, [", ".join(streams), at, f"Forgetting Lab {clcore.__version__}"]))),
        toggle=html.escape(_("Light or dark")), unseparated=html.escape(_("not sep.")),
        untested=html.escape(_("best mean, untested")),
        body="\n".join(filter(None, body)),
        figures=_json(drawn.specs), palettes=_json(_palettes()),
        library=_inline(plotly_javascript().read_text(encoding="utf-8")),
    )  # fmt: skip


class _Drawn:
    """The figures of a report, by the id of their node."""

    def __init__(self) -> None:
        self.specs: dict[str, Any] = {}

    def figure(self, name: str, heading: str, spec: dict[str, Any], frame: pd.DataFrame | None = None) -> str:
        self.specs[name] = spec
        folded = "" if frame is None else _folded(frame)
        return (
            f'<div class="figure"><h3>{html.escape(heading)}</h3>'
            f'<div class="chart" id="{name}" role="img" aria-label="{html.escape(heading)}"></div>{folded}</div>'
        )


def _summary(groups: Sequence[Group]) -> str:
    said = comparability(incomparable_in(groups)) if len(groups) > 1 else None
    if said is None:
        return ""
    comparable, text = said
    return f'<p class="{"note" if comparable else "warning"}">{html.escape(text)}</p>'


def _paired(groups: Sequence[Group], names: Sequence[str], drawn: _Drawn) -> str:
    parts = []
    for metric in METRICS:
        found = paired_differences(groups, metric)
        if not any(d.mean is not None for d in found):
            continue
        heading = f"<h3>{html.escape(metric_title(metric))}</h3>"
        chart = ""
        if metric == METRICS[0]:
            shown = [d for d in found if d.mean is not None]
            chart = drawn.figure("forest", metric_title(metric), figures.forest(shown, names))
            heading = ""
        parts.append(chart + heading + _table(difference_table(found, names, groups)))
    if not parts:
        return ""
    note = _(
        "Seed by seed on the same stream, weights and batch order; p after Holm's correction over the pairs of a metric."
    )
    return _section(_("Paired differences"), parts[0], _note(note), *(_fold(_("Other metrics"), parts[1:])))


def _costs(groups: Sequence[Group], names: Sequence[str], seconds: Mapping[str, Any], drawn: _Drawn) -> str:
    memory, time = figures.memory_growth(groups, names), figures.time_growth(groups, names, seconds)
    parts = []
    if memory:
        parts.append(drawn.figure("memory", _("Memory of one network after each task"), *memory))
    if time:
        parts.append(drawn.figure("time", _("Training time of the run"), *time))
    return _section(_("Cost"), f'<div class="grid">{"".join(parts)}</div>') if parts else ""


def _commands(groups: Sequence[Group]) -> str:
    specs = dict.fromkeys(command(row.spec) for group in groups for row in group.rows)
    return "\n\n".join(specs)


def _section(heading: str, *parts: str) -> str:
    return f"<section><h2>{html.escape(heading)}</h2>{''.join(parts)}</section>"


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{_code(head)}</th>' for head in table.heads)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(cell: Cell) -> str:
    return f'<td class="{cell.mark}">{_code(cell.text)}</td>' if cell.mark else f"<td>{_code(cell.text)}</td>"


def _code(text: str) -> str:
    """Escaped, with `names` in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _folded(frame: pd.DataFrame) -> str:
    shown = frame.astype(object).where(frame.notna(), None)
    rows = tuple(tuple(Cell("–" if v is None else str(v)) for v in row) for row in shown.itertuples(index=False))
    return "".join(_fold(_("Show as table"), [_table(Table(tuple(frame.columns), rows))]))


def _fold(heading: str, parts: Sequence[str]) -> list[str]:
    return [f"<details><summary>{html.escape(heading)}</summary>{''.join(parts)}</details>"] if parts else []


def _palettes() -> dict[str, dict[str, str]]:
    return {
        look: SURFACES[look] | {f"c{i}": color for i, color in enumerate(CATEGORICAL[look])} for look in CATEGORICAL
    }


def _json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _inline(script: str) -> str:
    """The library as it stands inside a script element."""
    return script.replace("</script", "<\\/script")
