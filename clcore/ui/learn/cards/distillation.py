"""Distillation: hold the old network's answers."""

from __future__ import annotations

from clcore.ui.learn.cards.sheet import Sheet
from clcore.ui.text import _


def sheets() -> dict[str, Sheet]:
    return {
        "lwf": Sheet(
            strengths=(
                _("Keeps no example of the past, only one copy of the network."),
                _("Holds what the network says and not its weights: they may move as long as the answers stay."),
            ),
            weaknesses=(
                _("Works as far as new inputs look like old ones; on permuted inputs the old answers mean little."),
                _("Each task is imitated through the tasks after it, so errors add up along the stream."),
            ),
            steps=(
                "f_old ← copy of the network\n"
                "for x, y in task t:\n"
                "    p = softmax(f_old(x) / T);  q = softmax(f(x) / T)\n"
                "    loss = cross-entropy(f(x), y) − λ·Σ p·log q\n"
                "    θ ← θ − η·gradient of loss"
            ),
            bytes=r"4P",
            count=lambda s: 4 * s.P,
        ),
        "lwf-mc": Sheet(
            strengths=(
                _("Yes-or-no outputs do not compete: new classes do not push the old ones down."),
                _("No strength to choose, and no example of the past is kept."),
            ),
            weaknesses=(
                _("Old classes are learned only from how new inputs look to the old network."),
                _("Without a memory the outputs still lean: scores of classes that never met are hard to compare."),
            ),
            steps=(
                "f_old ← copy of the network\n"
                "for x, y in task t:\n"
                "    target = [class is y] for new classes, σ(f_old(x)) for old ones\n"
                "    loss = Σ over classes of binary cross-entropy(target, σ(f(x)))\n"
                "    θ ← θ − η·gradient of loss"
            ),
            bytes=r"4P",
            count=lambda s: 4 * s.P,
        ),
    }  # fmt: skip
