"""`live_plot`: a Plotly figure that changes in place.

Streamlit's own chart is a new element whenever its data changes: it blinks, and a viewer's zoom is lost. This component
keeps one node and hands it to `Plotly.react`. plotly.js comes from the installed wheel, served by the app itself: it
works offline.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from clcore.charts.library import plotly_javascript
from clcore.errors import LabError
from clcore.ui.text import _

STATIC = Path(__file__).parents[2] / "static"

_HTML = (
    '<div class="lab-figure"><div class="lab-plot"></div><div class="lab-plot-error" role="alert" hidden></div></div>'
)
_CSS = """
.lab-figure { width: 100%; position: relative; }
.lab-plot { width: 100%; }
.lab-plot-error { position: absolute; inset: 1rem; color: var(--st-red-text-color); font-size: 0.875rem; }
.lab-plot .modebar { transition: opacity 0.15s; }
.lab-plot.toolbar-above .modebar { top: -26px; }  /* beside the heading */
.lab-plot .modebar:focus-within { opacity: 1 !important; }
.lab-board { position: absolute; z-index: 10; touch-action: none; cursor: crosshair; }
.lab-board input {
  position: absolute; top: 0; height: 100%; width: 28px; margin: 0; opacity: 0; pointer-events: none;
  writing-mode: vertical-lr; direction: rtl;
}
.lab-board label { position: absolute; top: 0; height: 100%; width: 28px; pointer-events: none; }
.lab-board label:has(input:focus-visible) { outline: 2px solid var(--st-primary-color); border-radius: 4px; }
@media (hover: none) { .lab-plot .modebar { display: none !important; } }
@media (prefers-reduced-motion: reduce) { .lab-plot .modebar { transition: none; } }
"""
_JS = """
const instances = new WeakMap();
let library = null;

function load(url) {
  if (window.Plotly) return Promise.resolve();
  if (!library) library = new Promise((resolve, reject) => {
    const tag = document.createElement('script');
    tag.src = new URL(url, document.baseURI).href;
    tag.onload = resolve;
    tag.onerror = () => { library = null; tag.remove(); reject(new Error(tag.src)); };
    document.head.appendChild(tag);
  });
  return library;
}

function channels(color) {
  const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  probe.canvas.width = probe.canvas.height = 1;
  probe.fillStyle = color;
  const plain = probe.fillStyle;
  if (plain[0] === '#') return [1, 3, 5].map((i) => parseInt(plain.slice(i, i + 2), 16)).concat(1);
  return plain.match(/[\\d.]+/g).map(Number);
}

function palette(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(name).trim();
  const colors = {
    text: read('--st-text-color'), background: read('--st-background-color'),
    panel: read('--st-secondary-background-color'), border: read('--st-border-color'),
  };
  read('--st-chart-categorical-colors').split(',').forEach((c, i) => { colors['c' + i] = c.trim(); });
  return { colors, font: read('--st-font') };
}

function paint(value, colors) {
  if (Array.isArray(value)) return value.map((item) => paint(item, colors));
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, paint(v, colors)]));
  }
  if (typeof value !== 'string' || value[0] !== '@') return value;
  const [name, opacity] = value.slice(1).split('/');
  const [r, g, b, a] = channels(colors[name] || '#888888');
  return `rgba(${r},${g},${b},${a * Number(opacity || 1)})`;
}

// The numbers in a heatmap's cells, black or white, whichever stands out more; Plotly's own choice between a dark grey and
// white leaves 3 : 1 on middle colours. They become a trace of their own, because a heatmap's numbers share one colour.
function luminance(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function inked(figure) {
  const numbers = [];
  for (const trace of figure.data) {
    if (trace.type !== 'heatmap' || !trace.texttemplate || trace.textfont?.color) continue;
    const stops = trace.colorscale.map(([at, color]) => [at, channels(color)]);
    const color = (z) => {
      const share = Math.min(Math.max((z - trace.zmin) / (trace.zmax - trace.zmin), 0), 1);
      const k = Math.max(1, stops.findIndex(([at]) => at >= share));
      const [[from, low], [to, high]] = [stops[k - 1], stops[k]], part = (share - from) / (to - from);
      const light = luminance([0, 1, 2].map((i) => low[i] + part * (high[i] - low[i])));
      return (light + 0.05) ** 2 > 0.05 * 1.05 ? '#000000' : '#ffffff';
    };
    const cells = trace.y.flatMap((y, i) => trace.x.map((x, j) => ({ x, y, z: trace.z[i][j], text: trace.text[i][j] })))
      .filter((cell) => cell.text && cell.z !== null);
    numbers.push({
      type: 'scatter', mode: 'text', showlegend: false, hoverinfo: 'skip',
      x: cells.map((c) => c.x), y: cells.map((c) => c.y), text: cells.map((c) => c.text),
      textfont: { ...trace.textfont, color: cells.map((c) => color(c.z)) },
    });
    trace.text = trace.text.map((line, i) => line.map((text, j) => (trace.z[i][j] === null ? text : '')));
  }
  figure.data.push(...numbers);
  return figure;
}

// A replay shows the figure as it was when its clock (replay.py) stood at `at`: the curves up to there, the cursor there;
// of a film, the last frame up to there. Curves are the traces of a legend group; a frame's name is its time.
function until(figure, at) {
  if (figure.frames) {
    const frame = figure.frames.findLast((one) => Number(one.name) <= at + 1e-6) || figure.frames[0];
    const shown = (trace, i) => {
      const part = frame.data[i];
      return { ...trace, ...part, ...(part.marker && { marker: { ...trace.marker, ...part.marker } }) };
    };
    return { data: figure.data.map(shown), layout: { ...figure.layout, ...frame.layout } };
  }
  const cut = (trace) => {
    if (!trace.legendgroup) return trace;
    const seen = trace.x.map((x, i) => i).filter((i) => trace.x[i] <= at + 1e-6);
    if (!seen.length) return { ...trace, x: [0], y: [null], customdata: undefined };
    const kept = (list) => (Array.isArray(list) ? seen.map((i) => list[i]) : list);
    return { ...trace, x: kept(trace.x), y: kept(trace.y), customdata: kept(trace.customdata) };
  };
  const move = (shape) => (shape.type === 'line' ? { ...shape, x0: at, x1: at, visible: true } : shape);
  return { ...figure, data: figure.data.map(cut), layout: { ...figure.layout, shapes: figure.layout.shapes.map(move) } };
}

// What a viewer draws into the trace marked 'drawn': a pen over all of its points, and an unseen slider in each one's column
// for the keyboard and for screen readers. The page hears of the numbers when the pen is lifted or a key has been pressed.
const PATIENCE = 400;  // ms after a key

function board(state, drawing, tell) {
  const { plot } = state, host = plot.parentElement;
  if (!drawing) { state.board?.remove(); state.board = null; return; }
  if (!state.board) {
    state.board = host.appendChild(Object.assign(document.createElement('div'), { className: 'lab-board' }));
    plot.on('plotly_afterplot', () => state.board && lay(state));
    pen(state);
  }
  state.drawing = drawing;
  state.drawn = (values) => tell('drawn', values);
  lay(state);
}

function lay(state) {
  const { plot, board: over, drawing } = state;
  const trace = plot.data.findIndex((one) => one.meta === 'drawn'), { xaxis, yaxis } = plot._fullLayout;
  if (trace < 0) return;
  Object.assign(over.style, { left: xaxis._offset + 'px', top: yaxis._offset + 'px', width: xaxis._length + 'px',
    height: yaxis._length + 'px' });
  const { x, y } = plot.data[trace];
  const top = Math.max(drawing.step, Math.floor(yaxis.range[1] / drawing.step) * drawing.step);
  state.columns = { trace, x, y: [...y], top: Math.min(top, drawing.high) };
  while (over.children.length > x.length) over.lastChild.remove();
  x.forEach((at, k) => {
    let column = over.children[k];
    if (!column) {
      column = over.appendChild(document.createElement('label'));
      const slider = column.appendChild(Object.assign(document.createElement('input'), { type: 'range' }));
      slider.addEventListener('input', () => {
        put(state, k, Number(slider.value));
        clearTimeout(state.waits);
        state.waits = setTimeout(() => state.drawn(state.columns.y), PATIENCE);
      });
    }
    column.style.left = xaxis.d2p(at) - 14 + 'px';
    const slider = column.firstChild;
    Object.assign(slider, { min: drawing.low, max: state.columns.top, step: drawing.step });
    slider.value = y[k];
    slider.setAttribute('aria-label', drawing.labels[k]);
    slider.setAttribute('aria-valuetext', y[k] + ' ' + drawing.unit);
  });
}

function put(state, k, value) {
  const { columns, plot } = state;
  if (columns.y[k] === value) return;
  columns.y[k] = value;
  window.Plotly.restyle(plot, { y: [[...columns.y]] }, [columns.trace]);
}

function pen(state) {
  const draws = (event) => {
    const { left, top } = state.board.getBoundingClientRect(), { xaxis, yaxis } = state.plot._fullLayout;
    const { columns, drawing } = state, at = xaxis.p2d(event.clientX - left);
    const k = columns.x.reduce((best, x, i) => (Math.abs(x - at) < Math.abs(columns.x[best] - at) ? i : best), 0);
    const value = Math.round(yaxis.p2d(event.clientY - top) / drawing.step) * drawing.step;
    put(state, k, Math.min(Math.max(value, drawing.low), columns.top));
  };
  let down = false;
  state.board.addEventListener('pointerdown', (event) => {
    down = true; state.board.setPointerCapture(event.pointerId); draws(event); event.preventDefault();
  });
  state.board.addEventListener('pointermove', (event) => { if (down) draws(event); });
  for (const end of ['pointerup', 'pointercancel']) {
    state.board.addEventListener(end, () => { if (down) { down = false; state.drawn(state.columns.y); } });
  }
}

// A picture has a ground of its own: the page's shines through the chart, and light text would be lost on white.
function save(node, format) {
  const ground = palette(node).colors.background;
  const figure = { data: node.data, layout: { ...node.layout, paper_bgcolor: ground } };
  const { width, height } = node._fullLayout;
  return window.Plotly.downloadImage(figure, { format, filename: 'forgetting-lab', width, height, scale: 2 });
}

// Made once: a button with another function would be another configuration, and Plotly then draws anew and loses the zoom.
const savers = { svg: (node) => save(node, 'svg'), png: (node) => save(node, 'png') };

async function draw(state, { spec, library: url, alt, failure, saves, clock, drawing }, tell) {
  const { plot, error } = state;
  const { colors, font } = palette(plot);
  const look = JSON.stringify(colors) + font;
  const at = clock ? window.labClocks?.[clock] : undefined;
  if (state.spec === spec && state.look === look && state.at === at && !state.board === !drawing) return;
  try {
    await load(url);
    if (state.spec !== spec || state.look !== look || !state.painted) {
      state.painted = inked(paint(JSON.parse(spec), colors));
      state.painted.layout.font = { ...state.painted.layout.font, family: font };
    }
    const figure = at === undefined ? state.painted : until(state.painted, at);
    plot.style.height = figure.layout.height + 'px';
    plot.setAttribute('role', 'figure');  // not 'img': its buttons can be reached by keyboard
    plot.setAttribute('aria-label', alt);
    const config = {
      responsive: false, displaylogo: false, displayModeBar: 'hover',
      modeBarButtonsToRemove: ['toImage', 'sendChartToCloud', 'lasso2d', 'select2d', 'zoomIn2d', 'zoomOut2d',
        'toggleSpikelines'],
      modeBarButtonsToAdd: ['svg', 'png'].map((format) => ({
        name: format, title: saves[format],
        icon: format === 'svg' ? window.Plotly.Icons.camera : window.Plotly.Icons.disk, click: savers[format],
      })),
    };
    const layout = { ...figure.layout, autosize: true };
    if (matchMedia('(hover: none)').matches) layout.dragmode = false;  // a finger on a chart scrolls the page
    plot.classList.toggle('toolbar-above', layout.meta?.toolbar === 'above');
    await window.Plotly.react(plot, { data: figure.data, layout, config });
    for (const button of plot.querySelectorAll('.modebar-btn')) {  // zoom and pan need a mouse: no stops for the keyboard
      button.tabIndex = Object.values(saves).includes(button.dataset.title) ? 0 : -1;
    }
    for (const svg of plot.querySelectorAll('.main-svg')) svg.setAttribute('aria-hidden', 'true');  // `alt` says it
    state.spec = spec; state.look = look; state.at = at; error.hidden = true;
    state.width ??= plot.clientWidth;
    board(state, drawing, tell);
    state.tell = tell;
    if (!state.listens) {
      state.listens = true;
      plot.on('plotly_click', (event) => {
        const id = event.points.map((point) => point.id).find((id) => id);
        if (id) state.tell('point', id);
      });
    }
  } catch (problem) {
    error.textContent = failure + ' (' + problem.message + ')';
    error.hidden = false;
  }
}

async function catchUp(state, tell) {
  if (state.busy) return;
  state.busy = true;
  try {
    while (state.waiting) { const next = state.waiting; state.waiting = null; await draw(state, next, tell); }
  } finally { state.busy = false; }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const plot = parentElement.querySelector('.lab-plot');
  const error = parentElement.querySelector('.lab-plot-error');
  let state = instances.get(plot);
  if (!state) {
    state = { plot, error, busy: false, waiting: null, spec: null, look: null };
    instances.set(plot, state);
    plot.style.height = data.height + 'px';
    state.observer = new ResizeObserver(() => {
      cancelAnimationFrame(state.frame);
      state.frame = requestAnimationFrame(async () => {
        if (!window.Plotly || !state.spec || !plot.clientWidth) return;
        await window.Plotly.Plots.resize(plot);
        if (plot.clientWidth === state.width) return;
        state.width = plot.clientWidth;
        // The room that a legend of more lines took stays reserved until all is laid out anew.
        if (plot.layout?.showlegend) window.Plotly.redraw(plot);
      });
    });
    state.observer.observe(plot);
  }
  state.waiting = data;
  catchUp(state, setTriggerValue);
  if (data.clock && !state.tick) {
    state.tick = (event) => {
      if (event.detail === data.clock) { state.waiting = data; catchUp(state, setTriggerValue); }
    };
    window.addEventListener('lab-clock', state.tick);
  }
  return () => {
    state.observer.disconnect();
    if (state.tick) window.removeEventListener('lab-clock', state.tick);
    state.tick = null;
    if (window.Plotly) window.Plotly.purge(plot);
  };
}
"""

_component = st.components.v2.component("lab_plot", html=_HTML, css=_CSS, js=_JS, isolate_styles=False)


@cache
def _library_name() -> str:
    return f"plotly-{importlib.metadata.version('plotly')}.min.js"


def publish_plotly() -> Path:
    """Copies plotly.js from the installed wheel to where the app serves it; returns its path. Raises LabError."""
    target = STATIC / _library_name()
    if target.exists():
        return target
    try:
        STATIC.mkdir(exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}.part")
        shutil.copyfile(plotly_javascript(), part)
        part.replace(target)
    except OSError as error:
        raise LabError(
            f"The charts need {target.name} in {STATIC}, but it could not be written ({error.strerror}); "
            f"give this account write access to that folder and reload."
        ) from error
    return target


class Written(NamedTuple):
    """A figure as the browser gets it: written once where many look at it."""

    text: str
    height: int


def written(figure: dict[str, Any]) -> Written:
    return Written(json.dumps(figure, separators=(",", ":")), figure["layout"]["height"])


class Drawing(NamedTuple):
    """What a viewer may draw into the trace of a figure whose `meta` is "drawn": numbers from `low` to `high` in steps.

    labels  of its points, for the keyboard's sliders; unit: spoken after a number
    heard   is called with all numbers before the page runs again
    """

    labels: Sequence[str]
    low: float
    high: float
    step: float
    unit: str
    heard: Callable[[list[float]], None]


def live_plot(
    figure: dict[str, Any] | Written,
    key: str,
    *,
    alt: str,
    on_click: Callable[[str], None] | None = None,
    clock: str | None = None,
    drawing: Drawing | None = None,
) -> None:
    """Draws or updates the figure on the node called `key`; colours may be theme tokens (`clcore.charts.theme`).

    A figure with `frames` is a film: the clock's time chooses the one that is shown.
    `alt` is read aloud in place of the picture. `on_click` is called with the id of a point (its trace's `ids`) before the
    page runs again. `clock`: the name of a replay clock (replay.py) that the figure follows.
    """
    text, height = figure if isinstance(figure, Written) else written(figure)
    data = {
        "spec": text,
        "height": height,
        "library": f"app/static/{_library_name()}",
        "alt": alt,
        "clock": clock,
        "drawing": None if drawing is None else {name: value for name, value in drawing._asdict().items() if name != "heard"},
        "saves": {"svg": _("Download as SVG"), "png": _("Download as PNG")},
        "failure": _("The chart could not be drawn. Reload the page; if that does not help, app/static is not served."),
    }

    def clicked() -> None:
        if point := st.session_state[key].point:
            on_click(point)

    def drawn() -> None:
        if numbers := st.session_state[key].drawn:
            drawing.heard([float(number) for number in numbers])

    heard = {"on_point_change": clicked} if on_click else {}
    if drawing:
        heard["on_drawn_change"] = drawn
    _component(key=key, data=data, height="content", **heard)
