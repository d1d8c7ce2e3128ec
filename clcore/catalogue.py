"""What can be chosen — methods, benchmarks, networks — readable without torch.

`catalogue.json` is generated from the registries by `python -m clcore catalogue` and committed; forms, the command line's
checks and the method cards read it here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from clcore.errors import UnknownName
from clcore.knobs import Knob
from clcore.text import SOURCE, _, language, speaking

PATH = Path(__file__).with_name("catalogue.json")
Scenario = Literal["task", "domain", "class", "task-free"]
SCENARIOS: tuple[Scenario, ...] = ("task", "domain", "class", "task-free")


def scenario_word(scenario: str) -> str:
    words = {"task": _("task"), "domain": _("domain"), "class": _("class"), "task-free": _("task-free")}
    return words.get(scenario, scenario)


# As docs/recommend.py writes it.
_PROVENANCE = re.compile(
    r"final validation accuracy (?P<reached>\S+) % \(fine-tuning (?P<plain>\S+) %\), mean of seeds (?P<seeds>\S+); the middle "
    r"of (?P<tied>.+), which are within one standard error of the best of (?P<tried>.+)"
)


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    summary: str
    knobs: tuple[Knob, ...] = ()


class Recommendation(BaseModel):
    """A strength to start from, and how it was found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    scenario: Scenario
    strength: float
    provenance: str

    @property
    def provenance_words(self) -> str:
        """How the strength was found, for a person. The sentence itself is part of the run's record and stays as it is."""
        found = _PROVENANCE.fullmatch(self.provenance)
        return self.provenance if found is None else _(
            "final validation accuracy {reached} % (fine-tuning {plain} %), mean of seeds {seeds}; the middle of {tied}, which "
            "are within one standard error of the best of {tried}"
        ).format(**found.groupdict())  # fmt: skip


class MethodCard(_Card):
    family: Literal["baseline", "reference", "regularization", "rehearsal", "isolation", "distillation"]
    scenarios: tuple[Scenario, ...]
    scenario_reason: str = ""  # why not in the others, as a clause; empty where it goes without saying
    boundary_reason: str = ""  # the same, why not on a stream without boundaries
    networks: tuple[str, ...] = ()  # that it works on; none named: on all
    network_settings: dict[str, str] = {}  # that a network must have, where it has that setting
    network_reason: str = ""  # why not on others, as a clause
    needs_boundaries: bool  # on a stream without them it gets them from a clock, or does not work there
    uses_memory: bool
    paper: str
    formula: str
    stores: str
    composable: bool = True  # False: it works alone
    not_beside: tuple[str, ...] = ()  # families whose methods make no sense in a composition with it
    composition_reason: str = ""  # why it works alone, or not beside these, as a clause
    owns: tuple[str, ...] = ()  # ★ seams (methods/base.py): of two methods that own one, only one can be in a composition
    sweep: tuple[float, ...] = ()
    recommended: tuple[Recommendation, ...] = ()

    def why_not(self, scenario: str) -> str:
        """Why it does not work in a scenario, as a clause; empty where it goes without saying."""
        return self.boundary_reason if scenario == "task-free" and self.boundary_reason else self.scenario_reason

    @property
    def strength(self) -> Knob | None:
        """The knob that may be swept inside one run, if the method has one."""
        return next((k for k in self.knobs if k.axis), None)

    def works_on(self, network: str, options: Mapping[str, Any] = {}) -> bool:
        """Whether it works on a network that has these settings."""
        if self.networks and network not in self.networks:
            return False
        return all(options.get(name, value) == value for name, value in self.network_settings.items())

    def recommended_strength(self, benchmark: str, scenario: str) -> Recommendation | None:
        """The recommendation for this benchmark and scenario; None where the knob's default is all there is."""
        return next((r for r in self.recommended if (r.benchmark, r.scenario) == (benchmark, scenario)), None)


class Training(BaseModel):
    """Settings of training that suit a benchmark; the form and the command line start from them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float
    hidden: tuple[int, ...]


class BenchmarkCard(_Card):
    scenarios: tuple[Scenario, ...]
    default_scenario: Scenario
    offline: bool
    downloads: str  # "MNIST, 12 MB"; several data sets with semicolons between them
    own_data: bool = False  # a person brings it
    data_bytes: int | None = None  # on the training device with the default options; None where that depends on the data
    training: Training
    shape: tuple[int, ...] = ()  # of an input: (channels, height, width), or (numbers,)

    def input_shape(self, options: Mapping[str, Any]) -> tuple[int, ...]:
        """Of an input with these options, all of them given; () where a frozen network's features stand for the images."""
        if options.get("features", "none") != "none":
            return ()
        if self.own_data:
            return 1 if options["grey"] else 3, options["size"], options["size"]
        return self.shape


class NetworkCard(_Card):
    hidden: tuple[int, ...] | None = None  # its usual fully connected layers; None: what suits the benchmark
    takes_hidden: bool = True  # whether their widths can be chosen
    pictures: bool = False  # whether it needs inputs with height and width
    halvings: int | str = 0  # how often it halves them, or the setting that says so


class Catalogue(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    methods: tuple[MethodCard, ...]
    benchmarks: tuple[BenchmarkCard, ...]
    networks: tuple[NetworkCard, ...]

    def method(self, name: str) -> MethodCard:
        return _find("method", name, self.methods)

    def benchmark(self, name: str) -> BenchmarkCard:
        return _find("benchmark", name, self.benchmarks)

    def network(self, name: str) -> NetworkCard:
        return _find("network", name, self.networks)


def _find(kind, name, cards):
    for card in cards:
        if card.name == name:
            return card
    raise UnknownName(kind, name, [card.name for card in cards])


def catalogue() -> Catalogue:
    """The committed catalogue, in the language in force."""
    return _catalogue(language())


@cache
def _catalogue(name: str) -> Catalogue:
    text = PATH.read_text(encoding="utf-8")
    if name == SOURCE:
        return Catalogue.model_validate_json(text)
    with speaking(name):
        return Catalogue.model_validate(reworded(json.loads(text), _))


def reworded(cards: dict[str, Any], say: Callable[[str], str]) -> dict[str, Any]:
    """The catalogue as data, with `say` of every text that a person reads; names, choices and formulas stay."""
    texts = ("title", "summary", "stores", "scenario_reason", "boundary_reason", "network_reason", "composition_reason")
    for kind in ("methods", "benchmarks", "networks"):
        for card in cards[kind]:
            _reword(card, texts, say)
            for knob in card["knobs"]:
                _reword(knob, ("help", "unit"), say)
    return cards


def _reword(data: dict[str, Any], fields: tuple[str, ...], say: Callable[[str], str]) -> None:
    for field in fields:
        if data.get(field):
            data[field] = say(data[field])
