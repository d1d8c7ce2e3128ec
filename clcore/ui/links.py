"""An experiment as a link and back: the defaults of every control, and the URL parameters that differ from them.

A control's key is its name in the URL. Its default comes from the chosen question, or from the benchmark's card; a
value equal to the default stays out of the link.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from clcore.catalogue import MethodCard, catalogue
from clcore.errors import LabError, RequestError
from clcore.knobs import Knob
from clcore.spec import MethodChoice, RunSpec
from clcore.ui.presets import presets
from clcore.ui.text import _
from clcore.ui.url import Query, read, unknown, warn, written

MEMORIES = (0, 10, 20, 50, 100, 200, 500, 1000)
CHOICES = {"optimizer": ["sgd", "adam", "adamw"], "active": ["seen", "all", "current"], "optimizer-state": ["reset", "keep"]}
RANGES: dict[str, tuple[float, float]] = {
    "seeds": (1, 20), "epochs": (1, 10_000), "batch": (1, 65_536), "lr": (1e-6, 100.0), "momentum": (0.0, 0.999),
    "decay": (0.0, 10.0), "bytes": (0, 10**15), "watch-switches": (0, 1000),
}  # fmt: skip
VIEW = {"matrix": "accuracy", "axis": "tasks", "row0": False, "future": False, "inside": False, "switch": 2}
VIEW_CHOICES = {"matrix": ["accuracy", "forgetting"], "axis": ["tasks", "epochs"]}


def defaults(
    question: str, benchmark: str | None = None, scenarios: Sequence[str] = (), network: str = "mlp"
) -> dict[str, Any]:
    """The value of every control for a question; with another benchmark, scenario or network, what suits that one."""
    chosen = presets()[question].values
    name = benchmark or chosen["benchmark"]
    if name != chosen["benchmark"]:
        chosen = {k: v for k, v in chosen.items() if k in ("method", "seeds", "memory")}
    card = catalogue().benchmark(name)
    values: dict[str, Any] = {
        "benchmark": name, "scenario": [card.default_scenario], "memory": [200], "seeds": 5,
        "epochs": card.training.epochs, "batch": card.training.batch_size, "optimizer": card.training.optimizer,
        "lr": card.training.lr, "momentum": 0.0, "decay": 0.0, "network": "mlp", "hidden": joined(card.training.hidden),
        "active": "seen", "optimizer-state": "reset", "equal": False, "bytes": None, "watch-switches": 0,
    }  # fmt: skip
    values |= {f"option.{knob.name}": knob.default for knob in card.knobs}
    for one in catalogue().networks:
        values |= {f"{one.name}.{knob.name}": knob.default for knob in one.knobs}
    scenario = (list(scenarios) or chosen.get("scenario") or values["scenario"])[0]
    for method in catalogue().methods:
        values |= {f"{method.name}.{knob.name}": knob.default for knob in method.knobs}
        if method.family == "rehearsal":
            values |= {f"{method.name}.with": None, f"{method.name}.beside": True}
        if method.strength:
            found = method.recommended_strength(name, scenario)
            values[f"{method.name}.strength"] = found.strength if found else float(method.strength.default)
            values[f"{method.name}.sweep"] = False
            values[f"{method.name}.strengths"] = [float(s) for s in method.sweep]
    values |= chosen
    own = catalogue().network(network).hidden
    return values if own is None else values | {"hidden": joined(own)}


def values_of(query: Query) -> dict[str, Any]:
    """Every control's value under a query; what cannot be used is replaced by its default, and said."""
    problems: list[str] = []

    def take(key: str, default: Any, allowed: Sequence[Any] | None = None, like: Any = None) -> Any:
        """`like`: a value of the kind that is read, where the default is none."""
        if key not in query:
            return default
        try:
            return read(query[key], default if like is None else like, None if allowed is None else list(allowed))
        except RequestError as error:
            problems.append(f"`{key}`: {error}")
            return default

    question = take("question", next(iter(presets())), list(presets()))
    benchmark = take("benchmark", defaults(question)["benchmark"], [b.name for b in catalogue().benchmarks])
    card = catalogue().benchmark(benchmark)
    scenario = take("scenario", defaults(question, benchmark)["scenario"], card.scenarios)
    network = take("network", "mlp", [card.name for card in catalogue().networks])
    values = defaults(question, benchmark, scenario, network) | {"network": network}
    knobs = _knobs(benchmark)
    for key, default in values.items():
        if key in knobs and key in query:
            try:
                values[key] = knobs[key][0].check(query[key][-1], knobs[key][1])
            except LabError as error:
                problems.append(str(error).rstrip("."))
        elif key == "network":
            pass
        elif key == "method":
            values[key] = take(key, default, [m.name for m in catalogue().methods])
        elif key.endswith(".with"):
            values[key] = take(key, default, [None, *regularizers(catalogue().method(key.split(".")[0]))])
        elif key == "bytes":
            values[key] = take(key, default, like=0)
        else:
            values[key] = take(key, default, CHOICES.get(key))
        if key in RANGES and values[key] is not None and not RANGES[key][0] <= values[key] <= RANGES[key][1]:
            low, high = RANGES[key]
            problems.append(_("`{key}` = {value:g} is not from {low:g} to {high:g}").format(
                key=key, value=values[key], low=low, high=high))  # fmt: skip
            values[key] = default
    view = {key: take(key, default, VIEW_CHOICES.get(key)) for key, default in VIEW.items()}
    known = {"question", "x", *values, *VIEW}
    warn(problems + unknown(query, known))
    return values | view | {"question": question, "benchmark": benchmark, "scenario": scenario}


def params_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The URL parameters of the controls' values: those that differ from their defaults (None for the others)."""
    first = next(iter(presets()))
    question, benchmark, scenario = state["question"], state["benchmark"], state["scenario"]
    network = state.get("network", "mlp")
    base = defaults(question, benchmark, scenario, network) | {
        "benchmark": defaults(question)["benchmark"],
        "scenario": defaults(question, benchmark)["scenario"],
    }
    added = {name: state[key] for name in state["method"] if state.get(key := f"{name}.with")}
    parts = {"option", network, *state["method"], *added.values()}
    relevant = (
        key for key in base
        if "." not in key or key.split(".", 1)[0] in parts
        and (not key.endswith(".beside") or key.split(".", 1)[0] in added)
    )  # fmt: skip
    params = {"question": question if question != first else None}
    for key in relevant:
        value = state.get(key, base[key])
        params[key] = None if _same(value, base[key]) else _worth(value)
    for key, default in VIEW.items():
        value = state.get(key, default)
        params[key] = None if value is None or value == default else value
    return params


def link_of(runs: Sequence[RunSpec]) -> dict[str, list[str]]:
    """The URL parameters that make the controls ask for these runs."""
    first = runs[0]
    state: dict[str, Any] = {
        "question": next(iter(presets())),
        "benchmark": first.benchmark,
        "scenario": list(dict.fromkeys(run.scenario for run in runs)),
        "method": list(dict.fromkeys(name for run in runs for name in _chosen(run.method))),
        "memory": list(first.grid.memories),
        "seeds": len(first.grid.seeds),
        "epochs": first.epochs, "batch": first.batch_size, "optimizer": first.optimizer.name, "lr": first.optimizer.lr,
        "momentum": first.optimizer.momentum, "decay": first.optimizer.weight_decay,
        "network": first.network.name, "hidden": joined(first.network.hidden),
        "active": first.active_classes, "optimizer-state": first.optimizer_state,
        "equal": first.gradient_samples is not None, "bytes": first.memory_bytes, "watch-switches": first.watch_switches,
    }  # fmt: skip
    state |= {f"option.{k}": v for run in runs for k, v in run.options.items()}
    state |= {f"{first.network.name}.{k}": v for k, v in first.network.settings.items()}
    plain = {run.method.name for run in runs}
    for run in runs:
        if pair := regularized(run.method):
            state |= {f"{pair[0]}.with": pair[1], f"{pair[0]}.beside": pair[0] in plain}
        state |= run.method.settings
        if run.method.strengths:
            name = run.method.swept_part.name
            state |= {f"{name}.sweep": True, f"{name}.strengths": list(run.method.strengths)}
    return {key: written(value) for key, value in params_of(state).items() if value is not None}


def strength_grid(card: MethodCard, *more: float) -> list[float]:
    """0, then 1 and 3 of every decade around the sweep; with the sweep, the default, the recommendations and `more`."""
    marked = {float(s) for s in card.sweep} | {float(card.strength.default)} | {r.strength for r in card.recommended}
    positive = [s for s in marked if s > 0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    decades = {m * 10.0**e for e in range(low - 1, high + 2) for m in (1.0, 3.0)}
    rounded = {float(f"{s:.6g}") for s in decades | marked} | {float(s) for s in more}
    return sorted(s for s in rounded | {0.0} if card.strength.maximum is None or s <= card.strength.maximum)


def regularizers(card: MethodCard) -> list[str]:
    """The regularizers that can be added to a rehearsal method: those that leave its seams alone."""
    if card.family != "rehearsal" or not card.composable:
        return []
    others = [other for other in catalogue().methods if other.family == "regularization" and other.composable]
    return [other.name for other in others if not set(other.owns) & set(card.owns)]


def regularized(method: MethodChoice) -> tuple[str, str] | None:
    """(rehearsal method, regularizer) where a composition is such a pair, as the form makes them; else None."""
    if len(method.parts) != 2:
        return None
    name, added = method.parts
    return (name, added) if added in regularizers(catalogue().method(name)) else None


def _chosen(method: MethodChoice) -> Sequence[str]:
    """What to press for a method: the rehearsal method of a pair, else every part."""
    pair = regularized(method)
    return method.parts if pair is None else pair[:1]


def joined(widths: Sequence[int]) -> str:
    return ",".join(str(w) for w in widths) or "none"


def _knobs(benchmark: str) -> dict[str, tuple[Knob, str]]:
    """The declared settings among the controls, with their owners; a strength is one of them."""
    found = {f"option.{knob.name}": (knob, benchmark) for knob in catalogue().benchmark(benchmark).knobs}
    for owner in (*catalogue().methods, *catalogue().networks):
        found |= {f"{owner.name}.{knob.name}": (knob, owner.name) for knob in owner.knobs}
    return found


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return sorted(written(a)) == sorted(written(b))
    return a == b


def _worth(value: Any) -> Any:
    """A value that differs from its default, also when it is None."""
    return "none" if value is None else value
