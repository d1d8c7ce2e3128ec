"""What to run: an `ExperimentSpec` splits into one `RunSpec` per method; a run's grid gives its K replicas.

Frozen pydantic models, JSON both ways, no torch. A spec is checked against the catalogue when it is made: whatever is wrong
is a `RequestError` with one sentence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Protocol, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from clcore.catalogue import BenchmarkCard, MethodCard, NetworkCard, Scenario, catalogue, scenario_word
from clcore.errors import RequestError
from clcore.knobs import Knob, check_settings
from clcore.text import _

Scalar = bool | int | float | str | None
MAX_REPLICAS = 512


@dataclass(frozen=True)
class Replica:
    """One network of a run: its seed, and what varies beside it (None where the method has no such axis)."""

    seed: int
    strength: float | None = None
    memory: int | None = None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MethodChoice(_Frozen):
    """A method, or a composition such as "er+ewc", with its settings under qualified names ("ewc.fisher")."""

    name: str
    settings: dict[str, Scalar] = {}
    strengths: tuple[float, ...] = ()

    @field_validator("name")
    @classmethod
    def _no_empty_part(cls, name: str) -> str:
        """der++ is how papers write derpp; here it would be der and two parts without a name."""
        if "+" in name and not all(part.strip() for part in name.split("+")):
            close = get_close_matches(name.replace("++", "pp"), [card.name for card in catalogue().methods], n=1, cutoff=0.8)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise RequestError(f"'{name}' has a + without a method on both sides; write it as in er+ewc.{hint}")
        return name

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("+"))

    @property
    def cards(self) -> tuple[MethodCard, ...]:
        return tuple(catalogue().method(part) for part in self.parts)

    @property
    def swept_part(self) -> MethodCard | None:
        """The first part that has a strength: the one that `strengths` sweeps."""
        return next((card for card in self.cards if card.strength), None)

    @property
    def uses_memory(self) -> bool:
        return any(card.uses_memory for card in self.cards)

    def part_settings(self, part: str) -> dict[str, Any]:
        """All settings of one part, checked, defaults filled in."""
        given = {key.split(".", 1)[1]: v for key, v in self.settings.items() if key.split(".", 1)[0] == part}
        return check_settings(given, catalogue().method(part).knobs, part)


class NetworkChoice(_Frozen):
    """A network, the widths of its fully connected layers, and its other settings: those that differ from their defaults.

    Networks that bring hidden layers of their own have these where none are given.
    """

    name: str = "mlp"
    hidden: tuple[int, ...] = (100, 100)
    settings: dict[str, Scalar] = {}

    @model_validator(mode="before")
    @classmethod
    def _own_values(cls, given: Any) -> Any:
        """Fills in the widths that a network brings, and leaves out settings that say what goes without saying."""
        if not isinstance(given, dict) or (card := _network_card(given.get("name", "mlp"))) is None:
            return given
        own = {"hidden": card.hidden} if card.hidden is not None and "hidden" not in given else {}
        if isinstance(given.get("settings"), dict):
            usual = {knob.name: knob.default for knob in card.knobs}
            own["settings"] = {k: v for k, v in given["settings"].items() if k not in usual or v != usual[k]}
        return given | own

    @model_serializer(mode="wrap")
    def _without_empty_settings(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A network without settings is written as it was before networks had any: digests and links stay."""
        written = handler(self)
        if not self.settings:
            written.pop("settings", None)  # already gone where defaults are left out
        return written

    @property
    def options(self) -> dict[str, Any]:
        """All settings, checked, defaults filled in."""
        return check_settings(dict(self.settings), catalogue().network(self.name).knobs, self.name)


def _network_card(name: Any) -> NetworkCard | None:
    return next((card for card in catalogue().networks if card.name == name), None)


_MLP = NetworkChoice()


class OptimizerChoice(_Frozen):
    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(0.1, gt=0, le=100)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=10)


class Grid(_Frozen):
    """What varies inside a run beside a method's own strengths."""

    seeds: tuple[int, ...] = (0,)
    memories: tuple[int, ...] = (200,)


class _Conditions(_Frozen):
    """Everything that all methods of an experiment share."""

    benchmark: str
    options: dict[str, Scalar] = {}
    scenario: Scenario
    network: NetworkChoice = NetworkChoice()
    optimizer: OptimizerChoice = OptimizerChoice()
    epochs: int = Field(10, ge=1, le=10_000)
    batch_size: int = Field(16, ge=1, le=65_536)
    active_classes: Literal["seen", "all", "current"] = "seen"
    optimizer_state: Literal["reset", "keep"] = "reset"
    live_points: int = Field(20, ge=0, le=1000, description="live evaluations per task")
    watch_switches: int = Field(
        0, ge=0, le=1000, description="live evaluations after each of the first steps of every task, this many"
    )
    live_examples: int = Field(100, ge=1, le=10_000, description="test examples of each task in a live evaluation")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    grid: Grid = Grid()
    gradient_samples: Literal["fine-tuning"] | int | None = Field(
        None,
        description="equal compute: gradient samples of a network over the whole stream, to which the epochs are fitted; "
        "`fine-tuning`: as many as that takes in the given epochs",
    )
    memory_bytes: int | None = Field(
        None, ge=0, le=10**15,
        description="equal memory: bytes that a network's method may keep beside the plain network; a replay memory gets what "
        "is left after everything else, whatever the grid says",
    )  # fmt: skip

    def _check_conditions(self) -> None:
        card = catalogue().benchmark(self.benchmark)
        if self.scenario not in card.scenarios:
            raise RequestError(
                f"{self.benchmark} has no {self.scenario} scenario; choose one of {', '.join(card.scenarios)}."
            )
        check_settings(dict(self.options), card.knobs, self.benchmark)
        for knob in card.knobs:
            if knob.name in self.options and not _belongs(knob, self.scenario):
                raise RequestError(
                    _("{what} has a meaning in the {scenario} scenario only: leave it out here.").format(
                        what=f"{self.benchmark}.{knob.name}", scenario=scenario_word(knob.scenario)
                    )
                )
        check_network(self.network, card, card.input_shape(self.benchmark_options))
        if self.optimizer.name != "sgd" and self.optimizer.momentum:
            raise RequestError(
                f"momentum = {self.optimizer.momentum:g} belongs to SGD; with {self.optimizer.name} leave it at 0, "
                "or choose --optimizer sgd."
            )
        if isinstance(self.gradient_samples, int) and self.gradient_samples < 1:
            raise RequestError(f"{self.gradient_samples} gradient samples are not allowed: give at least 1.")
        _check_axis(_("seed"), self.grid.seeds, 0, 2**31 - 1)
        _check_axis(_("memory budget"), self.grid.memories, 0, 10_000_000)

    @property
    def benchmark_options(self) -> dict[str, Any]:
        """Every option that the benchmark has in this scenario, defaults filled in."""
        knobs = tuple(k for k in catalogue().benchmark(self.benchmark).knobs if _belongs(k, self.scenario))
        return check_settings(dict(self.options), knobs, self.benchmark)


class RunSpec(_Conditions):
    """One method under one set of conditions: what one process trains."""

    method: MethodChoice

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        self._check_conditions()
        check_method(self.method, self.scenario, self.network, recorded=bool(info.context and info.context["recorded"]))
        if len(self.replicas) > MAX_REPLICAS:
            raise RequestError(
                _("{method} would train {n} replicas (seeds × strengths × memories); at most {most} are allowed: ask for "
                  "fewer values.").format(method=self.method.name, n=len(self.replicas), most=MAX_REPLICAS)
            )  # fmt: skip
        return self

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The K replicas, ordered seed, then strength, then memory."""
        part = self.method.swept_part
        strengths: Sequence[float | None] = (None,)
        if part is not None:
            chosen = self.method.part_settings(part.name)[part.strength.name]
            strengths = self.method.strengths or (chosen,)
        fixed = self.method.uses_memory and self.memory_bytes is None  # else the examples follow from the bytes
        memories: Sequence[int | None] = self.grid.memories if fixed else (None,)
        return tuple(Replica(s, x, m) for s in self.grid.seeds for x in strengths for m in memories)

    def digest(self, replica: Replica) -> str:
        """Identifies what decides a replica's numbers: the spec without its grid, and the replica's own values.

        The device and the live evaluation are left out: they do not change a final number.
        """
        unseen = {"grid", "device", "live_points", "live_examples", "watch_switches"}
        base = self.model_dump(mode="json", exclude=unseen)
        for equal in ("gradient_samples", "memory_bytes"):
            if base[equal] is None:
                del base[equal]
        base["options"] = self.benchmark_options
        if options := self.network.options:
            base["network"]["settings"] = options
        base["method"] = {
            "name": self.method.name,
            "settings": {part: self.method.part_settings(part) for part in self.method.parts},
        }
        if (part := self.method.swept_part) is not None:
            base["method"]["settings"][part.name].pop(part.strength.name)
        base["replica"] = [replica.seed, replica.strength, replica.memory]
        return hashlib.sha256(json.dumps(base, sort_keys=True).encode()).hexdigest()[:16]

    def dropped_axes(self) -> tuple[str, ...]:
        """Grid axes that this method does not have, as words ("memory")."""
        return () if self.method.uses_memory or self.memory_bytes is not None or len(self.grid.memories) == 1 else ("memory",)


class ExperimentSpec(_Conditions):
    """What a person asks for: conditions and the chosen methods."""

    methods: tuple[MethodChoice, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_conditions()
        names = [m.name for m in self.methods]
        for name in names:
            if names.count(name) > 1:
                raise RequestError(f"{name} is chosen twice; choose each method once and sweep its strength instead.")
        self.runs()
        return self

    def runs(self) -> tuple[RunSpec, ...]:
        """One run per method, in the order chosen."""
        shared = {name: getattr(self, name) for name in _Conditions.model_fields}
        return tuple(make(RunSpec, method=method, **shared) for method in self.methods)


def make(model: type[BaseModel], /, **fields: Any) -> Any:
    """Builds a spec; whatever is wrong becomes one RequestError with one sentence."""
    try:
        return model(**fields)
    except ValidationError as error:
        raise RequestError(_sentence(error)) from None


def from_json(model: type[BaseModel], text: str | bytes, *, recorded: bool = False) -> Any:
    """Reads a spec from JSON; whatever is wrong becomes one RequestError with one sentence.

    `recorded`: it was accepted before, and stays readable when rules on what may be combined have become stricter since.
    """
    try:
        return model.model_validate_json(text, context={"recorded": recorded})
    except ValidationError as error:
        raise RequestError(_sentence(error)) from None


def check_method(choice: MethodChoice, scenario: str, network: NetworkChoice = _MLP, *, recorded: bool = False) -> None:
    """Raises RequestError when the composition, a setting or a strength is not allowed in this scenario, on this network.

    `recorded`: see `from_json`.
    """
    for part in choice.parts:
        if choice.parts.count(part) > 1:
            raise RequestError(f"{choice.name} names {part} twice; name each part once.")
    for card in choice.cards:
        if scenario not in card.scenarios:
            raise RequestError(
                _("{method} does not work in the {scenario} scenario{reason}; it works in: {others}.").format(
                    method=card.name, scenario=scenario_word(scenario), others=", ".join(map(scenario_word, card.scenarios)),
                    reason=f": {reason}" if (reason := card.why_not(scenario)) else "",
                )
            )  # fmt: skip
    for card in choice.cards:
        reason = f": {card.network_reason}" if card.network_reason else ""
        if not card.works_on(network.name):
            raise RequestError(
                _("{method} does not work on the network {network}{reason}; it works on: {others}.").format(
                    method=card.name, network=network.name, others=", ".join(card.networks), reason=reason
                )
            )
        if not card.works_on(network.name, network.options):
            needed = ", ".join(f"{name} = {value}" for name, value in card.network_settings.items())
            raise RequestError(
                _("{method} works on the network {network} with {needed} only{reason}.").format(
                    method=card.name, network=network.name, needed=needed, reason=reason
                )
            )
    keepers = [card.name for card in choice.cards if card.uses_memory]
    if len(keepers) > 1:
        raise RequestError(
            _("{method} cannot be combined: {parts} would each keep a memory of the whole budget. Leave one of them "
              "out.").format(method=choice.name, parts=_(" and ").join(keepers))
        )  # fmt: skip
    if not recorded:
        check_composable(choice.parts, choice.cards)
    own_data = next((card.name for card in choice.cards if "phases" in card.owns), None)
    if scenario == "task-free" and len(choice.parts) > 1 and own_data is not None:
        raise RequestError(
            f"{choice.name} cannot be combined in the task-free scenario: {own_data} trains on data of its own choosing, so "
            "the others never see the stream pass. Leave one out."
        )
    check_seams(choice.parts, [card.owns for card in choice.cards])
    for key in choice.settings:
        part, _dot, name = key.partition(".")
        if not name or part not in choice.parts:
            raise RequestError(
                f"'{key}' does not name a setting of {choice.name}; write METHOD.NAME with METHOD one of "
                f"{', '.join(choice.parts)}."
            )
    for part in choice.parts:
        choice.part_settings(part)
    if choice.strengths:
        card = choice.swept_part
        if card is None:
            raise RequestError(f"{choice.name} has no strength to sweep; leave its --strengths out.")
        for value in choice.strengths:
            card.strength.check(float(value), card.name)
        if len(set(choice.strengths)) < len(choice.strengths):
            raise RequestError(f"The strengths of {choice.name} repeat a value; give each one once.")


class Part(Protocol):
    """What decides whether a method may be part of a composition; its card and its class both say it."""

    family: str
    composable: bool
    not_beside: tuple[str, ...]
    composition_reason: str


def check_composable(names: Sequence[str], parts: Sequence[Part | type[Part]]) -> None:
    """Raises RequestError when one of several parts works alone only, or makes no sense beside another."""
    if len(names) < 2:
        return
    for name, part in zip(names, parts, strict=True):
        if not part.composable:
            raise RequestError(
                _("{methods} cannot be combined, because {method} works alone: {reason}. Leave it out.").format(
                    methods="+".join(names), method=name, reason=part.composition_reason
                )
            )
        for other, its in zip(names, parts, strict=True):
            if its is not part and its.family in part.not_beside:
                raise RequestError(
                    _("{methods} cannot be combined, because {method} does not go with {other}: {reason}. Leave one of them "
                      "out.").format(methods="+".join(names), method=name, other=other, reason=part.composition_reason)
                )  # fmt: skip


def check_network(choice: NetworkChoice, benchmark: BenchmarkCard, shape: tuple[int, ...]) -> None:
    """Raises RequestError when a network's widths or settings are not allowed, or inputs of this `shape` do not suit it."""
    card = catalogue().network(choice.name)
    if choice.hidden and not card.takes_hidden:
        raise RequestError(
            _("{network} has no hidden layers to choose; leave their widths out.").format(network=card.name)
        )
    for width in choice.hidden:
        if not 1 <= width <= 65_536:
            raise RequestError(
                _("A hidden layer of {width} units is not allowed: give widths from 1 to 65536.").format(width=width)
            )
    options = choice.options
    if not card.pictures:
        return
    if not shape:
        raise RequestError(
            _("{network} needs pictures, and inputs of {benchmark} are features here: choose the network mlp, or features = "
              "none.").format(network=card.name, benchmark=benchmark.name)
        )  # fmt: skip
    if len(shape) < 2:
        raise RequestError(
            _("{network} needs pictures, and an input of {benchmark} is {n} numbers: choose the network mlp.").format(
                network=card.name, benchmark=benchmark.name, n="×".join(map(str, shape))
            )
        )
    times = options[card.halvings] if isinstance(card.halvings, str) else card.halvings
    height, width = shape[-2:]
    if min(height, width) < 2**times:
        raise RequestError(
            _("{network} halves its pictures {times} times, for which {benchmark}'s, of {height}×{width}, are too small: "
              "they must be {least}×{least} or larger.").format(
                network=card.name, times=times, benchmark=benchmark.name, height=height, width=width, least=2**times
            )
        )  # fmt: skip


def check_seams(names: Sequence[str], owned: Sequence[Sequence[str]]) -> None:
    """Raises RequestError when two parts of a composition own one ★ seam: only one can decide."""
    for seam in dict.fromkeys(seam for seams in owned for seam in seams):
        claims = [name for name, seams in zip(names, owned, strict=True) if seam in seams]
        if len(claims) > 1:
            raise RequestError(
                f"{'+'.join(names)} cannot be combined: {' and '.join(claims)} both decide `{seam}`. "
                "Leave one of them out."
            )


def _belongs(knob: Knob, scenario: str) -> bool:
    return knob.scenario in ("", scenario)


def _check_axis(noun: str, values: Sequence[int], low: int, high: int) -> None:
    if not values:
        raise RequestError(_("Give at least one {noun}.").format(noun=noun))
    for value in values:
        if not low <= value <= high:
            raise RequestError(
                _("A {noun} of {value} is not allowed: give whole numbers from {low} to {high}.").format(
                    noun=noun, value=value, low=low, high=high
                )
            )
    if len(set(values)) < len(values):
        raise RequestError(f"The {noun}s {', '.join(map(str, values))} repeat a value; give each one once.")


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the request"
    return f"{where} = {first.get('input')!r} is not allowed: {first['msg']}."
