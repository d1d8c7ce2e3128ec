"""The command that trains a run again."""

from __future__ import annotations

import shlex
from typing import Any

from clcore.spec import RunSpec


def command(spec: RunSpec) -> str:
    """`python -m clcore run …` for this run, with every setting that decides its numbers written out.

    The device and the live evaluation are left out: they do not change a final number.
    """
    words: list[tuple[str, str]] = [
        ("--benchmark", spec.benchmark),
        ("--scenario", spec.scenario),
        ("--method", spec.method.name),
        *(("--set", f"{name}={_word(value)}") for name, value in spec.method.settings.items()),
        *(("--option", f"{name}={_word(value)}") for name, value in spec.options.items()),
        ("--seeds", _words(spec.grid.seeds)),
        ("--epochs", str(spec.epochs)),
        ("--batch-size", str(spec.batch_size)),
        ("--network", spec.network.name),
        ("--hidden", _words(spec.network.hidden) or "none"),
        *(("--network-option", f"{name}={_word(value)}") for name, value in spec.network.settings.items()),
        ("--optimizer", spec.optimizer.name),
        ("--lr", _word(spec.optimizer.lr)),
    ]
    if spec.method.strengths:
        words.append(("--strengths", f"{spec.method.name}={_words(spec.method.strengths)}"))
    if spec.memory_bytes is not None:
        words.append(("--memory-bytes", str(spec.memory_bytes)))
    elif spec.method.uses_memory:
        words.append(("--memory", _words(spec.grid.memories)))
    if spec.gradient_samples is not None:
        exact = "" if spec.gradient_samples == "fine-tuning" else f"={spec.gradient_samples}"
        words.append(("--equal", f"gradient-samples{exact}"))
    for flag, value, usual in (
        ("--momentum", spec.optimizer.momentum, 0.0),
        ("--weight-decay", spec.optimizer.weight_decay, 0.0),
        ("--active-classes", spec.active_classes, "seen"),
        ("--optimizer-state", spec.optimizer_state, "reset"),
    ):
        if value != usual:
            words.append((flag, _word(value)))
    return " ".join(["python -m clcore run", *(f"{flag} {shlex.quote(value)}" for flag, value in words)])


def _words(values: Any) -> str:
    return ",".join(map(_word, values))


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)
