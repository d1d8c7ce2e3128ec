"""Is a request trainable here? Asked of all its methods before the first one trains, and before anything is recorded.

Found out without the data set: a device or a path that is not there, networks that do not fit into memory. With a budget in
bytes or gradient samples the data set is loaded and every method is tried (`clcore.fitting`); what that found is handed on to
the training, which need not measure again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from clcore import capacity, registry
from clcore.benchmarks.base import Benchmark
from clcore.control import Control
from clcore.errors import RequestError
from clcore.fitting import Fitted, OverBudget, fitted, over_budget
from clcore.spec import RunSpec

Announce = Callable[[str, float | None], None]


def check(runs: Sequence[RunSpec], data_dir: Path, control: Control, announce: Announce) -> list[Fitted | None]:
    """What the budgets of each run came to (None without budgets). Raises RequestError naming every run that does not fit."""
    first = runs[0]  # all of one request: they differ in their methods only
    device = capacity.choose_device(first.device)
    build = registry.find("benchmark", first.benchmark, registry.benchmarks())
    benchmark: Benchmark = build(dict(first.options), scenario=first.scenario, data_dir=data_dir, device=device)
    for run in runs:
        capacity.check_fits(run, benchmark, benchmark.least_outputs, device)
    control.at_step()
    if first.gradient_samples is None and first.memory_bytes is None:
        return [None] * len(runs)

    def loading(message: str, share: float | None) -> None:
        control.at_step()
        announce(message, share)

    benchmark.prepare(loading)
    found, misfits = [], []
    for run in runs:
        loading(f"measuring what the budget allows {run.method.name}", None)
        stream = benchmark.stream([replica.seed for replica in run.replicas])
        capacity.check_fits(run, benchmark, stream.outputs, device)
        try:
            found.append(fitted(run, benchmark, stream, control))
        except RequestError as error:
            misfits.append(error)
    if misfits:
        raise _together(misfits)
    return found


def _together(misfits: Sequence[RequestError]) -> RequestError:
    """One sentence for all: a person who mends one misfit at a time starts as often as there are misfits."""
    over = [error for error in misfits if isinstance(error, OverBudget)]
    others = [error for error in misfits if not isinstance(error, OverBudget)]
    sentences = [str(error).rstrip(".") for error in ([over_budget(over)] if over else []) + others]
    return RequestError("; ".join(sentences) + ".")
