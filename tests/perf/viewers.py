"""Many viewers of one live run: `python -m tests.perf.viewers [--viewers 20] [--seconds 20]`.

A viewer is a WebSocket client that speaks Streamlit's protocol: it opens the page of the run, and then asks again whenever
the page told it to (`auto_rerun`). Prints a table; ends with status 1 when fewer than 90 % of the ticks were answered or when
the server took more than 40 % of one core: what an upgrade of Streamlit that drops `runner.postScriptGC` would do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from clcore.spec import Grid, MethodChoice, RunSpec, make
from tests.e2e.server import Server

CORE_SHARE, ANSWERED = 0.40, 0.90


@dataclass
class Tally:
    """What one viewer saw. Times in seconds."""

    asked: int = 0
    answered: int = 0
    bytes: int = 0
    round_trips: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Viewer:
    """One open page."""

    def __init__(self, server: Server, query: str):
        self._url = f"ws://127.0.0.1:{server.port}/_stcore/stream"
        self._query = query
        self._page_hash = ""
        self.tally = Tally()
        self.polling = asyncio.Event()
        self.counting = False
        self._timers: dict[str, tuple[float, float]] = {}  # fragment → (interval, next time)
        self._waiting: dict[str, float] = {}  # fragment → when it was asked for

    async def watch(self, until: asyncio.Event) -> None:
        async with websockets.connect(
            self._url,
            subprotocols=["streamlit"],
            max_size=None,
            compression=None,
            origin=self._url.replace("ws", "http"),
        ) as socket:
            listening = asyncio.create_task(self._listen(socket))
            await self._ask(socket, "")
            try:
                while not until.is_set():
                    await asyncio.sleep(0.01)
                    if listening.done():
                        raise ConnectionError("the server hung up") from listening.exception()
                    for fragment, (interval, due) in list(self._timers.items()):
                        if time.monotonic() >= due:
                            self._timers[fragment] = (interval, time.monotonic() + interval)
                            if fragment in self._waiting:
                                self.tally.asked += self.counting  # the browser would ask again: the tick is lost
                            else:
                                await self._ask(socket, fragment)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _ask(self, socket, fragment: str) -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_script_hash = self._query, self._page_hash
        state.fragment_id, state.is_auto_rerun = fragment, bool(fragment)
        if fragment:
            self._waiting[fragment] = time.monotonic()
            self.tally.asked += self.counting
        await socket.send(message.SerializeToString())

    async def _listen(self, socket) -> None:
        async for raw in socket:
            self.tally.bytes += len(raw) * self.counting
            message = ForwardMsg()
            message.ParseFromString(raw)
            self._take(message)

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._page_hash = message.new_session.page_script_hash
        elif kind == "navigation":
            self._page_hash = message.navigation.page_script_hash
        elif kind == "auto_rerun":
            rerun = message.auto_rerun
            self._timers[rerun.fragment_id] = (rerun.interval, time.monotonic() + rerun.interval)
            self.polling.set()
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                self._timers.pop(fragment, None)
        elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "exception":
            self.tally.failures.append(message.delta.new_element.exception.message)
        elif kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            for asked in self._waiting.values():
                self.tally.answered += self.counting
                self.tally.round_trips += [time.monotonic() - asked] * self.counting
            self._waiting.clear()


async def measure(server: Server, query: str, viewers: int, seconds: float) -> dict[str, float]:
    crowd = [Viewer(server, query) for _ in range(viewers)]
    over = asyncio.Event()
    tasks = [asyncio.create_task(viewer.watch(over)) for viewer in crowd]
    try:
        await asyncio.wait_for(asyncio.gather(*(viewer.polling.wait() for viewer in crowd)), 120)
        await asyncio.sleep(3)
        process = psutil.Process(server.pid)
        before, began = process.cpu_times(), time.monotonic()
        for viewer in crowd:
            viewer.counting = True
        await asyncio.sleep(seconds)
        after, took = process.cpu_times(), time.monotonic() - began
        for viewer in crowd:
            viewer.counting = False
    finally:
        over.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ended:
        if isinstance(end, BaseException):
            raise end
    trips = sorted(trip for viewer in crowd for trip in viewer.tally.round_trips) or [float("nan")]
    failures = [text for viewer in crowd for text in viewer.tally.failures]
    if failures:
        raise SystemExit(f"The page failed for a viewer: {failures[0]}")
    return {
        "viewers": viewers,
        "server CPU, % of a core": 100 * (after.user + after.system - before.user - before.system) / took,
        "ticks asked for": sum(viewer.tally.asked for viewer in crowd),
        "ticks answered": sum(viewer.tally.answered for viewer in crowd),
        "ticks answered per second": sum(viewer.tally.answered for viewer in crowd) / took,
        "sent by the server, KiB/s": sum(viewer.tally.bytes for viewer in crowd) / took / 1024,
        "round trip, median, ms": 1000 * statistics.median(trips),
        "round trip, 95 %, ms": 1000 * trips[int(0.95 * (len(trips) - 1))],
        "server memory, MiB": process.memory_info().rss / 2**20,
        "load of this machine": os.getloadavg()[0],
    }


def live_runs(server: Server, methods: list[str]) -> str:
    """Queues runs that outlast the measurement; returns their experiment."""
    specs = [
        make(
            RunSpec, benchmark="permuted-digits", options={"tasks": 5}, scenario="domain", epochs=2000, live_points=200,
            method=MethodChoice(name=name), grid=Grid(seeds=(0, 1, 2)),
        )
        for name in methods
    ]  # fmt: skip
    ids = server.store.add(specs)
    return server.store.run(ids[0]).experiment


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--methods", nargs="+", default=["finetune"], help="one live run each")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "home")
        try:
            server.start()
            experiment = live_runs(server, given.methods)
            results = []
            for viewers in given.viewers:
                results.append(asyncio.run(measure(server, f"x={experiment}", viewers, given.seconds)))
                live = server.wait(experiment, "running", "queued", seconds=5)
                assert any(row.state == "running" for row in live), "the run ended during the measurement"
        finally:
            server.stop()
    for name in results[0]:
        print(f"{name:28}" + "".join(f"{result[name]:12.1f}" for result in results))
    bad = [
        result
        for result in results
        if result["server CPU, % of a core"] > 100 * CORE_SHARE
        or result["ticks answered"] < ANSWERED * max(result["ticks asked for"], result["viewers"] * given.seconds)
    ]  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
