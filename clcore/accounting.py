"""What a run cost and under which protocol it stands: what makes two results comparable. Torch-free.

A gradient sample is one example of one replica that went through a forward and a backward pass for training: examples of the
stream, replayed ones, and those of a method's own passes (an importance estimate, the gradients of a memory). An example
counts once for every backward pass.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from clcore.catalogue import catalogue
from clcore.spec import MethodChoice, NetworkChoice, OptimizerChoice, RunSpec

INTERVAL = "95 % Student t-interval over seeds"
SAME = 0.05  # share by which bytes and gradient samples may differ


# ---- the protocol ---------------------------------------------------------------------------------------------------


class Selection(NamedTuple):
    """Where a run's strengths come from.

    kind         "none" (the method has none), "recommended" (found on validation data for this benchmark and scenario, and
                 everything else as it was then), "given" (asked for), "default" (the method's own default), "swept"
                 (several: whoever picks one has seen the results)
    strengths    part → its strengths
    provenance   how a recommended strength was found
    """

    kind: str
    strengths: dict[str, list[float]]
    provenance: str = ""

    @property
    def configurations(self) -> int:
        return max((len(values) for values in self.strengths.values()), default=1)


def selection(spec: RunSpec) -> Selection:
    """The selection protocol of a run's strengths, as far as its spec tells."""
    method, kinds, strengths, provenance = spec.method, set(), {}, ""
    for card in method.cards:
        if card.strength is None:
            continue
        swept = method.strengths if card is method.swept_part else ()
        values = list(swept) or [float(method.part_settings(card.name)[card.strength.name])]
        strengths[card.name] = values
        found = card.recommended_strength(spec.benchmark, spec.scenario) if _as_validated(spec) else None
        if len(values) > 1:
            kinds.add("swept")
        elif found is not None and found.strength == values[0]:
            kinds.add("recommended")
            provenance = found.provenance
        elif swept or f"{card.name}.{card.strength.name}" in method.settings:
            kinds.add("given")
        else:
            kinds.add("default")
    # A composition is as freely chosen as its freest part.
    kind = next((k for k in ("swept", "given", "default", "recommended") if k in kinds), "none")
    return Selection(kind, strengths, provenance)


def _as_validated(spec: RunSpec) -> bool:
    """Whether everything but the strength and the seeds is as where recommended strengths are looked for (docs/recommend.py):
    one method with its defaults, the benchmark with its own and the training that it suggests, no budgets."""
    method, training = spec.method, catalogue().benchmark(spec.benchmark).training
    if len(method.parts) > 1 or spec.gradient_samples is not None or spec.memory_bytes is not None:
        return False
    (card,) = method.cards
    usual = RunSpec(
        benchmark=spec.benchmark, scenario=spec.scenario, method=MethodChoice(name=method.name),
        network=NetworkChoice(hidden=training.hidden), optimizer=OptimizerChoice(name=training.optimizer, lr=training.lr),
        epochs=training.epochs, batch_size=training.batch_size,
    )  # fmt: skip
    fixed = [knob.name for knob in card.knobs if not knob.axis]
    ours, theirs = (run.method.part_settings(card.name) for run in (spec, usual))
    same_memory = not card.uses_memory or spec.grid.memories == usual.grid.memories
    same_settings = all(ours[name] == theirs[name] for name in fixed)
    ours, theirs = (conditions(run) | {"seeds": None} for run in (spec, usual))
    return same_memory and same_settings and ours == theirs


def protocol(
    spec: RunSpec, *, device: str, versions: dict[str, str], commit: dict[str, str | bool] | None = None
) -> dict[str, Any]:
    """The protocol as it stands in a result: how many seeds, what ± means, how strengths were chosen, by what code, where.

    commit  as `provenance.commit` found it when the run started
    """
    chosen = selection(spec)
    return {
        "seeds": len(spec.grid.seeds),
        "interval": INTERVAL,
        "selection": {
            "kind": chosen.kind, "strengths": chosen.strengths, "configurations": chosen.configurations,
            "provenance": chosen.provenance,
        },
        "budgets": {"gradient_samples": spec.gradient_samples, "memory_bytes": spec.memory_bytes},
        "code_version": versions.get("clcore", ""), "versions": versions, "commit": commit, "device": device,
    }  # fmt: skip


# ---- what may be ranked together ------------------------------------------------------------------------------------


def conditions(spec: RunSpec) -> dict[str, Any]:
    """Everything beside the method that decides a number, by name. The device and the live evaluation do not."""
    return {
        "benchmark": spec.benchmark,
        "options": spec.benchmark_options,
        "scenario": spec.scenario,
        "network": spec.network.model_dump(mode="json"),
        "optimizer": spec.optimizer.model_dump(mode="json"),
        "epochs": None if isinstance(spec.gradient_samples, int) else spec.epochs,
        "batch size": spec.batch_size,
        "active classes": spec.active_classes if spec.scenario == "class" else None,
        "optimizer state": spec.optimizer_state,
        "seeds": sorted(spec.grid.seeds),
        "equal compute": spec.gradient_samples,
        "memory budget": spec.memory_bytes,
    }


def conditions_key(spec: RunSpec) -> str:
    """Equal for runs under equal conditions, whatever their methods."""
    return json.dumps(conditions(spec), sort_keys=True)


def comparability_key(spec: RunSpec) -> str:
    """Equal for runs that may be ranked together as far as their specs tell; what was reached is compared beside it.

    A method that has nothing to choose is not differently selected than one whose strength was fixed beforehand, by its
    default or on validation data: for none of them did anybody look at the results. A strength that was given or swept may
    have been chosen by them.
    """
    return json.dumps(conditions(spec) | {"selection": _selected(spec)}, sort_keys=True)


def _selected(spec: RunSpec) -> str:
    kind = selection(spec).kind
    return "beforehand" if kind in ("none", "default", "recommended") else kind


@dataclass(frozen=True)
class Entry:
    """A line of a table: a run's spec, and of the settings that the line is about the bytes by kind, and the gradient
    samples that a network took (none: not known yet)."""

    spec: RunSpec
    footprints: tuple[dict[str, int], ...] = ()
    reached: tuple[float, ...] = ()

    @property
    def bytes(self) -> list[tuple[int, int]]:
        """(parameters, everything kept beside them) of every setting."""
        parameters = [footprint.get("parameters", 0) for footprint in self.footprints]
        return [(p, sum(f.values()) - p) for p, f in zip(parameters, self.footprints, strict=True)]


def _alike(a: Entry, b: Entry) -> bool:
    return _same_memory(a, b) and _same_compute(a, b)


def _same_memory(a: Entry, b: Entry) -> bool:
    """Whether both keep to the same budget in bytes, or their bytes agree within 5 %, setting by setting."""
    ours, theirs, budget = a.bytes, b.bytes, a.spec.memory_bytes
    if budget is not None and budget == b.spec.memory_bytes and ours and theirs:
        plain = min(parameters for parameters, _ in ours + theirs)
        if all(parameters + kept - plain <= budget for parameters, kept in ours + theirs):
            return True
    return len(ours) == len(theirs) and all(
        _close(x, y) for one, other in zip(ours, theirs, strict=True) for x, y in zip(one, other, strict=True)
    )


def _same_compute(a: Entry, b: Entry) -> bool:
    """Whether, under equal compute, both came to the same gradient samples within 5 %, setting by setting.

    A method that trains in whole epochs may miss a budget by more, and then results are not comparable.
    """
    if a.spec.gradient_samples is None or b.spec.gradient_samples is None:
        return True
    return len(a.reached) == len(b.reached) > 0 and all(map(_close, a.reached, b.reached))


def _close(x: float, y: float) -> bool:
    return abs(x - y) <= SAME * max(x, y)


def rank_marks(entries: Sequence[Entry]) -> list[str]:
    """A letter per line: only lines with the same letter may be ranked. A line joins the first that it is like."""
    firsts: dict[str, list[tuple[Entry, str]]] = {}
    marks: list[str] = []
    letters = (_letters(n) for n in itertools.count())
    for entry in entries:
        alike = firsts.setdefault(comparability_key(entry.spec), [])
        mark = next((letter for first, letter in alike if _alike(entry, first)), None)
        if mark is None:
            mark = next(letters)
            alike.append((entry, mark))
        marks.append(mark)
    return marks


def differences(entries: Sequence[Entry]) -> list[str]:
    """What keeps lines from being ranked together, by name: "epochs", "memory bytes", "selection of strengths", …"""
    found = []
    each = [conditions(entry.spec) for entry in entries]
    for name in each[0] if each else ():
        if any(values[name] != each[0][name] for values in each):
            found.append(name)
    if any(not _same_memory(entry, entries[0]) for entry in entries):
        found.append("memory bytes")
    if any(not _same_compute(entry, entries[0]) for entry in entries):
        found.append("gradient samples")
    if len({_selected(entry.spec) for entry in entries}) > 1:
        found.append("selection of strengths")
    return found


def _letters(n: int) -> str:
    """A … Z, AA, AB, …"""
    text = ""
    n += 1
    while n:
        n, rest = divmod(n - 1, 26)
        text = chr(65 + rest) + text
    return text


# ---- cost -----------------------------------------------------------------------------------------------------------


class RelativeCost(NamedTuple):
    """Training time as a multiple of fine-tuning's."""

    wall: float
    cpu: float


class Measured(NamedTuple):
    """A run and what it measured, as far as it is over. `experiment` groups runs that were asked for together."""

    spec: RunSpec
    result: dict[str, Any] | None
    experiment: str = ""


class FineTuning:
    """The fine-tuning runs among `runs`, by the conditions under which they ran."""

    def __init__(self, runs: Iterable[Measured]):
        self._runs: dict[str, list[Measured]] = {}
        for run in runs:
            if run.spec.method.name == "finetune" and not run.spec.method.settings:
                self._runs.setdefault(conditions_key(run.spec), []).append(run)

    def relative_cost(self, run: Measured) -> RelativeCost | None:
        """A finished run's training time against fine-tuning's; None where there is nothing to compare with.

        Fine-tuning must have run under the same conditions, by the same code on the same device, and as many networks side
        by side: forty cost less than eight times five. One of the same experiment is taken first, then the first.
        """
        ours = _seconds(run.result)
        if ours is None:
            return None
        plain = self._runs.get(conditions_key(run.spec), ())
        for other in sorted(plain, key=lambda other: other.experiment != run.experiment):
            theirs = _seconds(other.result)
            if theirs and _circumstances(run.result) == _circumstances(other.result):
                return RelativeCost(ours[0] / theirs[0], ours[1] / theirs[1])
        return None


def _seconds(result: dict[str, Any] | None) -> tuple[float, float] | None:
    if not result or result["status"] != "finished":
        return None
    wall, cpu = result["train_seconds"], result["train_cpu_seconds"]
    return (wall, cpu) if wall > 0 and cpu > 0 else None


def _circumstances(result: dict[str, Any]) -> tuple:
    stated = result.get("protocol") or {}
    return stated.get("device"), stated.get("code_version"), len(result["replicas"])


def mean_of(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def readable_bytes(n: float) -> str:
    """890 B, 14.4 kB, 3.2 MB: three digits, SI units."""
    return _scaled(n, ("B", "kB", "MB", "GB", "TB"))


def readable_count(n: float) -> str:
    """890, 14.4 k, 3.2 M: three digits."""
    return _scaled(n, ("", "k", "M", "G", "T"))


def _scaled(n: float, units: Sequence[str]) -> str:
    at = 0
    while round(n, 1 if at and n < 99.95 else 0) >= 1000 and at + 1 < len(units):
        n, at = n / 1000, at + 1
    return f"{n:.{1 if at and n < 99.95 else 0}f} {units[at]}".rstrip()
