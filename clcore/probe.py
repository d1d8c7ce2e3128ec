"""The proof that nothing was forgotten: the outputs for old tasks are the same bits as when each was learned.

Freezing is easy to get almost right: weight decay, old momentum or one unmasked bias move a weight that counts as frozen, and
no accuracy of the current task shows it. So every run of a method that promises not to forget keeps a few inputs of every
task with the logits they had when that task was learned, and compares them after each later task: same batch, same device, not
allowed to differ in a single bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clcore.benchmarks.base import Stream
from clcore.methods.base import Method
from clcore.networks.classifier import Classifier
from clcore.state import Stateful

EXAMPLES = 32  # of each task's test split


class Probe(Stateful):
    """Remembers the logits of every learned task, and says which replicas still give them.

    logits        one `(K, EXAMPLES, units)` per task learned, over the task's own output units
    changed_by    (K,) the 1-based task whose training first changed a logit of an earlier task; 0 while none did
    largest       (K,) the largest absolute change of a logit seen so far
    """

    context_fields = frozenset({"method", "classifier", "stream"})

    def __init__(self, method: Method, classifier: Classifier, stream: Stream, replicas: int):
        self.method, self.classifier, self.stream = method, classifier, stream
        self.logits: list[Tensor] = []
        self.changed_by = torch.zeros(replicas, dtype=torch.long)
        self.largest = torch.zeros(replicas, dtype=torch.float64)

    @torch.no_grad()
    def learned(self, task: int) -> None:
        """Compares the old tasks' logits and remembers those of 0-based `task`, which has just been learned."""
        for old, before in enumerate(self.logits):
            now = self._answers(old)
            # Compared as bits: a NaN that stays is no change, and 0.0 is not -0.0.
            changed = (now.view(torch.int32) != before.view(torch.int32)).flatten(1).any(1).cpu()
            self.changed_by = torch.where(changed & (self.changed_by == 0), task + 1, self.changed_by)
            difference = (now.double() - before.double()).abs().nan_to_num(0.0).flatten(1).amax(1).cpu()
            self.largest = torch.maximum(self.largest, difference)
        self.logits.append(self._answers(task))

    def verdicts(self) -> list[dict[str, float | int | bool | None]]:
        """Per replica: whether all old logits are `identical` (None before a second task), `changed_by`, `largest_change`."""
        known = len(self.logits) > 1
        return [
            {
                "identical": task == 0 if known else None,
                "changed_by": task or None,
                "largest_change": size,
            }
            for task, size in zip(self.changed_by.tolist(), self.largest.tolist(), strict=True)
        ]

    def _answers(self, task: int) -> Tensor:
        """(K, EXAMPLES, units) the logits of the task's first test examples, over its own units."""
        split = self.stream.tasks[task].test
        positions = torch.arange(EXAMPLES, device=split.indices.device).expand(len(split.lengths), EXAMPLES)
        lengths = split.lengths.to(split.indices.device).unsqueeze(1)
        x, _ = split.gather(torch.minimum(positions, lengths - 1))
        return self.method.known_task_logits(x, task)[..., self.classifier.groups[task]].contiguous().clone()
