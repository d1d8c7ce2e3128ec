"""What tests do to a page of the lab, and what they read from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlparse

from tests.e2e.server import Server

PANEL = '[class*="st-key-panel-"] .js-plotly-plot'
HAS_POINTS = """selector => [...document.querySelectorAll(selector)]
    .some(plot => plot.data && plot.data.some(trace => trace.mode === 'lines' && !trace.fill && trace.name &&
        trace.x && trace.x.length > 0 && trace.customdata))"""
POINTS = """selector => [...document.querySelectorAll(selector)].map(plot => plot.data
    .filter(trace => trace.customdata).reduce((sum, trace) => sum + trace.x.length, 0))"""

# Watches every chart from now on: nodes that appear, nodes that go, charts whose curves are missing at some frame.
PROBE = """() => {
    const probe = window.probe = { appeared: 0, vanished: 0, blank: 0, frames: 0, redraws: 0, words: [] };
    const known = new Map();
    const lines = plot => plot.querySelectorAll('.scatterlayer path.js-line, .heatmaplayer image').length;
    const watch = plot => {
        known.set(plot, { lines: lines(plot) });
        plot.on('plotly_afterplot', () => { probe.redraws += 1; });
    };
    document.querySelectorAll('.js-plotly-plot').forEach(watch);
    probe.charts = known.size;
    new MutationObserver(() => {
        for (const plot of document.querySelectorAll('.js-plotly-plot')) {
            if (!known.has(plot)) { probe.appeared += 1; watch(plot); }
        }
        const status = document.querySelector('.st-key-status');
        if (status) {
            const words = status.innerText.split(/\\s+/).slice(0, 2).join(' ');
            if (words && probe.words.at(-1) !== words) probe.words.push(words);
        }
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
    let frame = 0;
    const sample = () => {
        requestAnimationFrame(sample);
        if (frame++ % 4) return;
        probe.frames += 1;
        for (const [plot, seen] of known) {
            if (!plot.isConnected || !plot.offsetHeight) { probe.vanished += 1; continue; }
            const now = lines(plot);
            if (now < seen.lines) probe.blank += 1;
            seen.lines = Math.max(seen.lines, now);
        }
    };
    requestAnimationFrame(sample);
}"""

# Every control of the sidebar and the view: key -> what it shows.
CONTROLS = """() => {
    const shown = {};
    for (const box of document.querySelectorAll('[data-testid="stElementContainer"][class*="st-key-"]')) {
        const key = [...box.classList].find(name => name.startsWith('st-key-')).slice(7);
        const parts = [];
        for (const input of box.querySelectorAll('input')) {
            parts.push(input.type === 'checkbox' ? String(input.checked)
                : input.type === 'range' ? input.getAttribute('aria-valuetext') : input.value);
        }
        const tags = box.querySelector('[aria-label="Selected values"]');
        if (tags) parts.push(tags.innerText.trim().split(/\\s+/).join(' '));
        const pressed = '[aria-pressed="true"], [aria-checked="true"][role="radio"]';
        for (const button of box.querySelectorAll(pressed)) parts.push(button.innerText.trim());
        if (box.querySelector('input, [aria-pressed], [role="radio"]')) shown[key] = parts.join(' | ');
    }
    return shown;
}"""


class LabPage:
    """A browser page on a server. `sent` counts the messages that it has sent to the server."""

    def __init__(self, page: Any, server: Server):
        self.page, self.server = page, server
        self.sent = 0
        self.errors: list[str] = []
        page.on("websocket", lambda socket: socket.on("framesent", self._count))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _count(self, _frame) -> None:
        self.sent += 1

    def open(self, path: str) -> None:
        self.page.goto(self.server.url + path)
        self.page.locator(".st-key-page").wait_for()
        self.settle()

    def settle(self) -> None:
        """Waits until the script behind the page has run and what it sent is drawn."""
        self.page.wait_for_function(
            """() => { const app = document.querySelector('[data-testid="stApp"]');
                return app && app.getAttribute('data-test-script-state') === 'notRunning'
                    && !document.querySelector('[data-stale="true"]'); }"""
        )

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlparse(self.page.url).query)

    @property
    def experiment(self) -> str:
        return self.query["x"][0]

    def key(self, name: str) -> Any:
        """What a key of the page's script has drawn."""
        return self.page.locator(f".st-key-{name}")

    def button(self, name: str) -> Any:
        return self.key(name).locator("button").first

    def run(self) -> str:
        """Presses Run; returns the experiment as soon as the URL names it."""
        before = self.query.get("x")
        self.button("run").click()
        self.until(lambda: self.query.get("x") not in (None, before))
        return self.experiment

    def first_point(self, timeout: float = 60) -> None:
        self.page.wait_for_function(HAS_POINTS, arg=PANEL, timeout=1000 * timeout)

    def points(self) -> list[int]:
        """How many points each panel's curves have."""
        return self.page.evaluate(POINTS, PANEL)

    def shows(self, word: str, timeout: float = 30) -> None:
        """Waits until the status line says `word`."""
        self.until(lambda: word in self.status.split(), timeout)

    @property
    def status(self) -> str:
        """The words of the status line; icons are among them, by their names."""
        return self.key("status").first.inner_text()  # for a moment there are two

    def watch_charts(self) -> None:
        self.page.evaluate(PROBE)

    @property
    def probe(self) -> dict[str, Any]:
        return self.page.evaluate("() => window.probe")

    def controls(self) -> dict[str, str]:
        return self.page.evaluate(CONTROLS)

    def until(self, condition: Callable[[], Any], seconds: float = 30) -> Any:
        """Waits for a condition while the page's events are being heard."""
        for _ in range(int(seconds / 0.05)):
            if found := condition():
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"waited {seconds} s in vain")
