"""Questions to start from. Each is a full experiment: what it does not set follows from its benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clcore.ui.text import _


@dataclass(frozen=True)
class Preset:
    """A question, one sentence about what to watch, and the values of the controls that it sets."""

    name: str
    question: str
    watch: str
    values: dict[str, Any] = field(default_factory=dict)


def presets() -> dict[str, Preset]:
    """All presets by their name in the URL; the first is what the Lab opens with."""
    found = (
        Preset(
            "forget",
            _("Why does a network forget?"),
            _("Watch the first task while others are learned: fine-tuning lets it go, springs and rehearsal hold it."),
            {
                "benchmark": "permuted-digits", "scenario": ["domain"], "seeds": 5,
                "method": ["finetune", "ewc", "er", "joint"], "memory": [200], "ewc.strength": 30.0,
            },
        ),
        Preset(
            "identity",
            _("What changes when nobody tells it the task?"),
            _("The same digits three times: the task named at test, not named, and all ten classes to choose from."),
            {
                "benchmark": "split-digits", "scenario": ["task", "domain", "class"], "seeds": 5,
                "method": ["finetune", "ewc", "er"], "memory": [50], "ewc.strength": 30.0,
            },
        ),
        Preset(
            "strength",
            _("How strong should the spring be?"),
            _("One network per strength, trained at once: too weak forgets the old tasks, too stiff learns no new one."),
            {
                "benchmark": "permuted-digits", "scenario": ["domain"], "seeds": 5, "method": ["ewc"],
                "ewc.sweep": True, "ewc.strengths": [0.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0], "ewc.strength": 30.0,
            },
        ),
        Preset(
            "stream",
            _("What if nobody says where a task ends?"),
            _("The same tasks twice: once with boundaries, and once as one stream in which each blends into the next. Replay "
              "needs no boundary; springs are tightened by a clock instead."),
            {
                "benchmark": "permuted-digits", "scenario": ["domain", "task-free"], "seeds": 5,
                "method": ["finetune", "online-ewc", "er", "der"], "memory": [200],
            },
        ),
        Preset(
            "later",
            _("Can learning more help what was learned before?"),
            _("Five tasks that overlap: digits turned a little further each time, 40 new ones a task. Fine-tuning loses task "
              "1; with replay the later tasks make it better than it was."),
            {
                "benchmark": "rotated-digits", "scenario": ["domain"], "seeds": 10,
                "method": ["finetune", "ewc", "er", "joint"], "memory": [100],
                "option.max_angle": 40.0, "option.train_per_task": 40, "epochs": 150,
            },
        ),
    )  # fmt: skip
    return {preset.name: preset for preset in found}
