"""Colours, dashes and markers: one meaning each, the same on every page, in light and in dark.

Figures name colours by token, "@c0" … "@c7", "@text", "@background", "@panel", "@border", with an optional opacity
("@c0/0.15"). The browser resolves a token from the page's theme, so a switch between light and dark needs no new
figure; `resolved` does the same in Python. The categorical lists repeat those of `.streamlit/config.toml` (a test
compares them): Okabe & Ito's palette, moved until every colour has a contrast of at least 3:1 on its ground and every
two are at least 9 apart (CIEDE2000) for normal sight, protanopia, deuteranopia and tritanopia (tests/unit/
test_colour_vision.py). Darkening alone is not enough: ochre and vermilion become one colour to a deuteranope.
"""

from __future__ import annotations

import zlib
from typing import Any, Literal, NamedTuple

Base = Literal["light", "dark"]

CATEGORICAL: dict[Base, tuple[str, ...]] = {
    "light": ("#0070B7", "#BA7B01", "#058E65", "#B3578B", "#2D93CE", "#B84800", "#6B6B6B", "#7B7140"),
    "dark": ("#65B5F3", "#E8A100", "#2EA277", "#C688B5", "#B1DAF7", "#D56F3B", "#B9B8B7", "#F4E84A"),
}
SURFACES: dict[Base, dict[str, str]] = {
    "light": {"text": "#31333F", "background": "#FFFFFF", "panel": "#F0F2F6", "border": "#D9DADE"},
    "dark": {"text": "#FAFAFA", "background": "#0E1117", "panel": "#262730", "border": "#41444C"},
}
CIVIDIS = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip
VIRIDIS = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "triangle-down", "star")
FEW_TASKS = 10
"""Up to here each task has a colour of its own; beyond it colours are a ramp and only some tasks are labelled."""


class Style(NamedTuple):
    color: str
    dash: str
    marker: str


# Methods that are often compared get colours far apart; no two have the same marker, for points have no dash; a family's
# markers are alike (edges, round or many-pointed, diamonds, triangles). Of "-cross", "-x" and "-dot" only the open forms: at
# the size of a legend the filled ones look like the plain shape.
_METHODS = {
    "finetune": Style("@c6", "dot", "x"),
    "gdumb": Style("@c6", "dashdot", "cross"),
    "joint": Style("@c6", "solid", "star"),
    "single": Style("@c6", "dash", "star-triangle-up"),
    "ewc": Style("@c0", "solid", "square"),
    "online-ewc": Style("@c0", "dash", "square-open"),
    "l2": Style("@c4", "dot", "hash-open"),
    "si": Style("@c3", "solid", "pentagon"),
    "mas": Style("@c7", "solid", "square-cross-open"),
    "mas-local": Style("@c7", "dash", "pentagon-open"),
    "rwalk": Style("@c2", "dash", "star-square"),
    "vcl": Style("@c5", "solid", "square-x-open"),
    "ags-cl": Style("@c1", "dash", "star-square-open"),
    "er": Style("@c1", "solid", "circle"),
    "er-ace": Style("@c1", "dash", "circle-open"),
    "mir": Style("@c2", "dot", "hourglass"),
    "der": Style("@c7", "solid", "hexagon-open"),
    "derpp": Style("@c7", "dash", "hexagon"),
    "agem": Style("@c5", "solid", "circle-cross-open"),
    "gem": Style("@c5", "dash", "circle-x-open"),
    "icarl": Style("@c3", "solid", "hexagram"),
    "bic": Style("@c0", "dash", "hexagram-open"),
    "lucir": Style("@c7", "dot", "bowtie"),
    "dgr": Style("@c4", "dot", "asterisk-open"),
    "lwf": Style("@c2", "solid", "triangle-up"),
    "lwf-mc": Style("@c2", "dash", "triangle-down"),
    "packnet": Style("@c2", "dash", "diamond"),
    "cpg": Style("@c0", "dashdot", "diamond-x-open"),
    "pnn": Style("@c3", "dash", "diamond-open"),
    "den": Style("@c7", "dashdot", "diamond-wide"),
    "piggyback": Style("@c1", "dot", "diamond-tall"),
    "supsup": Style("@c5", "dot", "diamond-wide-open"),
    "hat": Style("@c4", "dashdot", "diamond-cross-open"),
}


def task_style(task: int, tasks: int) -> Style:
    """The look of task `task` (1-based) among `tasks`: colour, with dash and marker saying the same."""
    j = task - 1
    marker = MARKERS[j % len(MARKERS)]
    if tasks > FEW_TASKS:
        return Style(_ramp(VIRIDIS, j / (tasks - 1)), "solid", marker)
    return Style(f"@c{j % 8}", DASHES[(j // 2) % len(DASHES)], marker)


def method_style(name: str) -> Style:
    """The look of a method, stable across pages and sessions; a composition has a look of its own."""
    if name in _METHODS:
        return _METHODS[name]
    code = zlib.crc32(name.encode())
    return Style(f"@c{code % 8}", DASHES[code // 8 % 5], MARKERS[code // 40 % 8])


def scale(colors: tuple[str, ...]) -> list[list[Any]]:
    """A Plotly colour scale through evenly spaced colours."""
    return [[i / (len(colors) - 1), color] for i, color in enumerate(colors)]


def layout(height: int, revision: str, **more: Any) -> dict[str, Any]:
    """What all figures share. `revision` keeps a viewer's zoom while it stays the same."""
    return {
        "height": height,
        "uirevision": revision,
        "font": {"color": "@text", "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 44, "r": 8, "t": 24, "b": 36},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "@text/0.45", "activecolor": "@text/0.9"},
        "hoverlabel": {"bgcolor": "@background", "bordercolor": "@border", "font": {"color": "@text", "size": 12}},
        **more,
    }


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 12, "color": "@text/0.75"}, "standoff": 8},
        "gridcolor": "@border/0.5",
        "linecolor": "@border",
        "tickfont": {"size": 11, "color": "@text/0.75"},
        "zeroline": False,
        "fixedrange": False,
        **more,
    }


def resolved(value: Any, base: Base) -> Any:
    """A figure with its tokens replaced by the colours of a theme."""
    if isinstance(value, dict):
        return {key: resolved(item, base) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(item, base) for item in value]
    if isinstance(value, str) and value.startswith("@"):
        name, _, opacity = value[1:].partition("/")
        color = CATEGORICAL[base][int(name[1:])] if name[1:].isdigit() else SURFACES[base][name]
        r, g, b = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({r},{g},{b},{opacity})" if opacity else color
    return value


def _ramp(colors: tuple[str, ...], share: float) -> str:
    at = share * (len(colors) - 1)
    i = min(int(at), len(colors) - 2)
    channels = []
    for k in (1, 3, 5):
        a, b = int(colors[i][k : k + 2], 16), int(colors[i + 1][k : k + 2], 16)
        channels.append(round(a + (b - a) * (at - i)))
    return "#" + "".join(f"{c:02x}" for c in channels)
