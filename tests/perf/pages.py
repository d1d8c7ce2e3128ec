"""Server time of each page: `python -m tests.perf.pages [--runs 500] [--opens 5]`.

A client that speaks Streamlit's protocol opens each page of a server with that many finished runs in its store, as a new
session each time. Prints until when the server had sent the page's first content (its heading, or a sentence or chart where
that comes first), the first chart, table or box of numbers, and everything; the first opening fills the caches and stands
apart. Ends with status 1 where the first content took more than 300 ms at the median.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from clcore.spec import RunSpec
from clcore.store import Store
from tests.e2e.server import Server
from tests.pages.recorded import experiment, play

ALLOWED = 0.3  # seconds
MAIN = 0  # where in the page a delta goes: not into the sidebar
DRESSING = frozenset({"html", "empty", "skeleton"})  # styles, and places kept free
BODY = frozenset({"bidi_component", "dataframe", "table", "metric", "plotly_chart"})


class Times(NamedTuple):
    """Seconds from asking; None: there was no such thing."""

    first: float | None
    body: float | None
    whole: float


def stored() -> Iterator[RunSpec]:
    """Runs as a class makes them in a term: four methods, sweeps among them, on two streams, with other epochs and seeds."""
    i = 0
    while True:
        for benchmark, scenario in (("permuted-digits", "domain"), ("split-digits", "class")):
            yield from experiment(
                "finetune", "ewc", "er", "joint", benchmark=benchmark, scenario=scenario, strengths=(0, 3, 30, 300),
                memories=(20, 200), seeds=1 + i % 5, epochs=5 + i % 3,
            )  # fmt: skip
        i += 1


def fill(store: Store, n: int) -> dict[str, str]:
    """Fills the store; returns the path of every page with something to show."""
    specs = list(itertools.islice(stored(), n))
    ids = [play(store, spec, experiment=f"e{i // 4:08d}", points=4) for i, spec in enumerate(specs)]
    return {
        "Lab": "/", "Lab, an experiment": f"/?x={store.run(ids[0]).experiment}", "Runs": "/runs",
        "Compare": "/compare?runs=" + ",".join(ids[:4]), "Trade-off": "/tradeoff", "Learn": "/learn", "System": "/system",
    }  # fmt: skip


async def opened(server: Server, path: str) -> Times:
    name, _, query = path.removeprefix("/").partition("?")
    url = f"ws://127.0.0.1:{server.port}/_stcore/stream"
    first = body = None
    async with websockets.connect(
        url, subprotocols=["streamlit"], max_size=None, compression=None, origin=url.replace("ws", "http")
    ) as socket:
        message = BackMsg()
        message.rerun_script.query_string, message.rerun_script.page_name = query, name
        began = time.perf_counter()
        await socket.send(message.SerializeToString())
        async for raw in socket:
            at, told = time.perf_counter() - began, ForwardMsg()
            told.ParseFromString(raw)
            kind = told.WhichOneof("type")
            if kind == "delta" and told.delta.WhichOneof("type") == "new_element" and told.metadata.delta_path[0] == MAIN:
                element = told.delta.new_element.WhichOneof("type")
                if element == "exception":
                    raise SystemExit(f"{path} failed: {told.delta.new_element.exception.message}")
                if first is None and element not in DRESSING:
                    first = at
                if body is None and element in BODY:
                    body = at
            elif kind == "script_finished":
                return Times(first, body, at)
    raise ConnectionError("the server hung up")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--opens", type=int, default=5, help="of each page, beside the first")
    given = parser.parse_args()
    slow = []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "home")
        paths = fill(server.store, given.runs)
        try:
            server.start()
            asyncio.run(opened(server, "/learn"))  # what a server does once
            print(f"{'ms':20}{'first opening':>32}{f'median of {given.opens} more':>32}")
            print(f"{'page':20}" + f"{'content':>12}{'chart':>10}{'all':>10}" * 2)
            for page, path in paths.items():
                fresh = asyncio.run(opened(server, path))
                more = [asyncio.run(opened(server, path)) for _ in range(given.opens)]
                middle = [_median(column) for column in zip(*more, strict=True)]
                print(f"{page:20}" + "".join(f"{_ms(t):>{12 if i % 3 == 0 else 10}}" for i, t in enumerate([*fresh, *middle])))
                if middle[0] is None or middle[0] > ALLOWED:
                    slow.append(page)
        finally:
            server.stop()
    return 1 if slow else 0


def _median(values) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:.0f}"


if __name__ == "__main__":
    sys.exit(main())
