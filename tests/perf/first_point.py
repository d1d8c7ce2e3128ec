"""From the click to the first point of a curve: `python -m tests.perf.first_point [--clicks 15]`.

A real browser presses Run with a warm worker ready, and waits until a curve has its first point on the screen. Prints the
distribution, with the time at which the first evaluation was stored for comparison.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.conftest import FLAGS
from tests.e2e.lab_page import PANEL, LabPage
from tests.e2e.server import Server

# In the page itself: from the press to the first frame with a point, free of the driver's own delays. The panels of the run
# before stay for a moment: only a figure of another run counts.
CLICK = """async panel => {
    const plots = () => [...document.querySelectorAll(panel)].filter(plot => plot.layout && plot.data);
    const old = new Set(plots().map(plot => plot.layout.uirevision));
    const drawn = plot => !old.has(plot.layout.uirevision)
        && plot.data.some(trace => trace.customdata && trace.x.length) && plot.querySelector('.scatterlayer path');
    const began = performance.now();
    document.querySelector('.st-key-run button').click();
    while (!plots().some(drawn)) await new Promise(requestAnimationFrame);
    return (performance.now() - began) / 1000;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=15)
    parser.add_argument("--query", default="method=finetune&seeds=5&epochs=10", help="the experiment, as in a link")
    given = parser.parse_args()
    seconds, starts = [], []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder) / "home")
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=list(FLAGS)
        )
        try:
            lab = LabPage(browser.new_page(), server.start())
            lab.open(f"/?{given.query}")
            for _ in range(given.clicks):
                server.warm()
                lab.settle()
                lab.page.wait_for_timeout(500)
                clicked = time.time()
                seconds.append(lab.page.evaluate(CLICK, PANEL))
                rows = server.rows(lab.experiment)
                starts.append(min(row.started.timestamp() for row in rows if row.started) - clicked)
                for row in rows:
                    server.store.want(row.id, "cancel")
                server.wait(lab.experiment, "cancelled", "finished", seconds=30)
                lab.until(lambda: {"cancelled", "finished"} & set(lab.status.split()))
        finally:
            browser.close()
            server.stop()
    ranked = sorted(seconds)
    print(f"{len(ranked)} clicks, one method, warm worker; load of this machine {os.getloadavg()[0]:.1f}")
    print(f"click to first point, s: median {statistics.median(ranked):.2f}, 90 % {ranked[int(0.9 * (len(ranked) - 1))]:.2f},"
          f" least {ranked[0]:.2f}, most {ranked[-1]:.2f}")  # fmt: skip
    print(f"of which until the worker was given the run, s: median {statistics.median(starts):.2f}")
    print(" ".join(f"{second:.2f}" for second in seconds))


if __name__ == "__main__":
    main()
