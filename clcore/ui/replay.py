"""A clock in the browser: figures that follow it (`live_plot(clock=…)`) are drawn as they were at its time.

Play, pause, speed and the slider never ask the server; all of them can be used from the keyboard. Somebody who prefers
reduced motion finds the end drawn and the clock at rest, as everybody does with a clock that waits.
"""

from __future__ import annotations

import streamlit as st

from clcore.ui.text import _

SECONDS = 20.0

_HTML = """
<div class="lab-clock" role="group">
  <button type="button" class="lab-clock-play"></button>
  <input type="range" class="lab-clock-time" min="0" step="0.05">
  <output class="lab-clock-word"></output>
  <select class="lab-clock-speed">
    <option value="0.5">½ ×</option><option value="1" selected>1 ×</option><option value="2">2 ×</option>
    <option value="4">4 ×</option>
  </select>
</div>
"""
_CSS = """
.lab-clock { display: flex; align-items: center; gap: 0.75rem; flex-wrap: wrap; font-size: 0.875rem; min-height: 2.25rem; }
.lab-clock-play, .lab-clock-speed {
  font: inherit; color: var(--st-text-color); background: var(--st-background-color); cursor: pointer;
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); padding: 0.35rem 0.75rem;
}
.lab-clock-play { min-width: 6.5rem; }
.lab-clock-play:hover, .lab-clock-speed:hover { border-color: var(--st-primary-color); }
.lab-clock :focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.lab-clock-time { flex: 1 1 10rem; accent-color: var(--st-primary-color); min-width: 8rem; }
.lab-clock-word { min-width: 9rem; font-variant-numeric: tabular-nums; }
"""
_JS = """
const PICTURE_EVERY = 150;  // ms: some six pictures a second of each figure

export default function (component) {
  const { data, parentElement } = component;
  const find = (name) => parentElement.querySelector('.lab-clock-' + name);
  const [play, time, word, speed] = ['play', 'time', 'word', 'speed'].map(find);
  const root = parentElement.querySelector('.lab-clock');
  if (root.dataset.runs) return;  // a rerun of the page: the clock goes on
  root.dataset.runs = 'yes';
  root.setAttribute('aria-label', data.words.group);
  time.setAttribute('aria-label', data.words.time);
  speed.setAttribute('aria-label', data.words.speed);
  time.max = data.end;
  const clocks = (window.labClocks = window.labClocks || {});
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const rests = calm || data.waits;
  let at = rests ? data.end : 0, plays = !rests, last = null, drawn = 0, frame = null;

  const show = () => {
    clocks[data.clock] = at;
    time.value = at;
    const task = Math.min(Math.floor(at) + 1, data.end);
    word.textContent = at >= data.end ? data.words.over : data.words.task.replace('{k}', task).replace('{T}', data.end);
    time.setAttribute('aria-valuetext', word.textContent);
    play.textContent = plays ? '❚❚ ' + data.words.pause : at >= data.end ? '↻ ' + data.words.again : '▶ ' + data.words.play;
    window.dispatchEvent(new CustomEvent('lab-clock', { detail: data.clock }));
  };
  const tick = (now) => {
    frame = requestAnimationFrame(tick);
    const passed = last === null ? 0 : Math.min(now - last, 250);
    last = now;
    if (!plays) return;
    at = Math.min(at + (passed / 1000) * Number(speed.value) * (data.end / data.seconds), data.end);
    if (at >= data.end) plays = false;
    if (!plays || now - drawn > PICTURE_EVERY) { drawn = now; show(); }
  };
  play.addEventListener('click', () => {
    plays = !plays;
    if (plays && at >= data.end) at = 0;
    show();
  });
  time.addEventListener('input', () => { plays = false; at = Number(time.value); show(); });
  show();
  frame = requestAnimationFrame(tick);
  return () => { cancelAnimationFrame(frame); delete root.dataset.runs; delete clocks[data.clock]; };
}
"""

_component = st.components.v2.component("lab_clock", html=_HTML, css=_CSS, js=_JS, isolate_styles=False)


def replay_clock(clock: str, *, tasks: int, key: str, waits: bool = False) -> None:
    """Draws the controls of the clock named `clock`; its time goes from 0 to `tasks` tasks trained.

    It starts at once, or `waits` at the end until somebody plays it.
    """
    words = {
        "group": _("Replay of the recording"), "time": _("Moment of the recording"), "speed": _("Speed"),
        "play": _("Play"), "pause": _("Pause"), "again": _("Replay"),
        "task": _("training task {k} of {T}"), "over": _("after all tasks"),
    }  # fmt: skip
    data = {"clock": clock, "end": tasks, "seconds": SECONDS, "waits": waits, "words": words}
    _component(key=key, data=data, height="content")
