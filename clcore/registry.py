"""How methods, benchmarks and networks are found: one file each, its stem the name (`split_mnist.py` → `split-mnist`).

A package's `SUPPORT` names the modules that are shared and register nothing. A file that cannot be imported, or that does not
define exactly one class of its kind, fails loudly.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from functools import cache
from pathlib import Path
from typing import get_args

from clcore import catalogue as cards
from clcore.benchmarks.base import Benchmark
from clcore.benchmarks.sources import SourceFacts
from clcore.errors import UnknownName
from clcore.methods.base import Method
from clcore.methods.composition import owned_seams
from clcore.networks.base import Design, Network
from clcore.spec import NetworkChoice

# Strengths to start from, per method, found by docs/recommend.py.
RECOMMENDED = Path(__file__).with_name("recommended.json")


@cache
def methods() -> dict[str, type[Method]]:
    return _discover("clcore.methods", Method)


@cache
def benchmarks() -> dict[str, type[Benchmark]]:
    return _discover("clcore.benchmarks", Benchmark)


@cache
def networks() -> dict[str, type[Network]]:
    return _discover("clcore.networks", Network)


def find(kind: str, name: str, known: dict[str, type]) -> type:
    if name not in known:
        raise UnknownName(kind, name, known)
    return known[name]


def design(choice: NetworkChoice) -> Design:
    """The network that a spec chooses."""
    return Design(find("network", choice.name, networks()), choice.hidden, choice.options)


def _discover(package_name: str, base: type) -> dict[str, type]:
    package = importlib.import_module(package_name)
    found = {}
    for module_info in pkgutil.iter_modules(package.__path__):
        if module_info.name in package.SUPPORT:
            continue
        module = importlib.import_module(f"{package_name}.{module_info.name}")
        own = [
            c for c in vars(module).values()
            if isinstance(c, type) and issubclass(c, base) and c.__module__ == module.__name__
        ]  # fmt: skip
        if len(own) != 1:
            raise ImportError(
                f"{module.__name__} must define exactly one {base.__name__}, but defines {len(own)}; "
                f"shared modules belong into SUPPORT of {package_name}."
            )
        found[module_info.name.replace("_", "-")] = own[0]
    return dict(sorted(found.items()))


def describe() -> cards.Catalogue:
    """The catalogue as the code declares it: methods by family, benchmarks that run offline first, then a person's own data."""
    recommended = json.loads(RECOMMENDED.read_text(encoding="utf-8"))
    family_order = get_args(cards.MethodCard.model_fields["family"].annotation)
    return cards.Catalogue(
        methods=tuple(
            cards.MethodCard(
                name=name, title=m.title, summary=m.summary, family=m.family, scenarios=m.scenarios,
                scenario_reason=m.scenario_reason, networks=m.networks, network_settings=m.network_settings,
                network_reason=m.network_reason, boundary_reason="" if "task-free" in m.scenarios else m.boundary_reason,
                paper=m.paper, formula=m.formula, stores=m.stores, needs_boundaries=m.needs_boundaries,
                uses_memory=m.uses_memory, composable=m.composable, owns=owned_seams(m), sweep=m.sweep,
                not_beside=m.not_beside,
                composition_reason="" if m.composable and not m.not_beside else m.composition_reason,
                recommended=recommended.get(name, ()), knobs=m.Hyper.describe(),
            )
            for name, m in sorted(methods().items(), key=lambda item: family_order.index(item[1].family))
        ),
        benchmarks=tuple(
            cards.BenchmarkCard(
                name=name, title=b.title, summary=b.summary, scenarios=b.scenarios, default_scenario=b.default_scenario,
                offline=b.offline, downloads=b.downloads, own_data=b.own_data, data_bytes=_data_bytes(b), training=b.training,
                shape=_shape(b), knobs=b.Options.describe(),
            )
            for name, b in sorted(benchmarks().items(), key=lambda item: (not item[1].offline, item[1].own_data))
        ),
        networks=tuple(
            cards.NetworkCard(
                name=name, title=n.title, summary=n.summary, hidden=n.hidden, takes_hidden=n.takes_hidden,
                pictures=n.pictures, halvings=n.halvings, knobs=n.Options.describe(),
            )
            for name, n in sorted(networks().items(), key=lambda item: item[1].pictures)
        ),
    )  # fmt: skip


def _facts(benchmark: type[Benchmark]) -> SourceFacts | None:
    """What is known of the data set with default options; None where a person brings it."""
    return None if benchmark.own_data else benchmark({}, scenario=benchmark.default_scenario, data_dir=".").facts


def _data_bytes(benchmark: type[Benchmark]) -> int | None:
    facts = _facts(benchmark)
    return None if facts is None else facts.bytes


def _shape(benchmark: type[Benchmark]) -> tuple[int, ...]:
    facts = _facts(benchmark)
    return () if facts is None else facts.shape


def write(path: Path = cards.PATH) -> None:
    """Regenerates `catalogue.json`."""
    path.write_text(describe().model_dump_json(indent=1) + "\n", encoding="utf-8")
