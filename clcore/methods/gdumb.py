"""GDumb: store a balanced sample of everything, and learn from it alone, from the beginning, whenever there is an exam.

Prabhu, Torr & Dokania, "GDumb: A Simple Approach that Questions Our Progress in Continual Learning", ECCV 2020. The stream is
never trained on. A memory keeps as many examples of every class as fit; before each evaluation, which here is at the end of
each task, the network goes back to its initial weights and is trained on the memory. What a continual learner knows beyond
that, it knows from having learned continually. Its forgetting and its curve over tasks are those of networks that never
met: read its accuracy, not its transfer.

Choices: the paper's greedy sampler gives the same memory, in distribution, while classes come one after another; it keeps the
first examples of a class that fill its share. Ours keeps a uniform sample of each class, so in the domain scenario, where
every task brings the same classes, all tasks have their part. The optimizer is the run's, and its learning rate stays as it
is: the paper's cosine schedule with warm restarts, gradient clipping and CutMix are left out. The authors' code reports the
best epoch on test data; here the last epoch counts. Without a memory the network stays at its initial weights.
"""

from __future__ import annotations

from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Phase, Plan
from clcore.methods.parts.memory import Memory
from clcore.methods.parts.vectors import restore, snapshot


class GDumb(Method):
    title = "GDumb"
    summary = (
        "Not continual: it only collects a balanced sample of all classes. "
        "Before each test a fresh network is trained on that sample and nothing else."
    )
    family = "baseline"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Prabhu, Torr & Dokania, ECCV 2020"
    formula = (
        r"\theta_t=\mathrm{train}\big(\theta_0;\,M_t\big),\quad "
        r"M_t\subset\bigcup_{s\le t}D_s\ \text{with as many of every class as fit}"
    )
    stores = "the memory's examples"
    static_step = True
    uses_memory = True

    class Hyper(Knobs):
        memory_epochs: int = knob(
            128, ge=1, le=10_000, unit="epochs", help="passes over the memory each time a network is trained on it"
        )

    def setup(self) -> None:
        self.memory = Memory(self.context, "balanced")
        self.initial = snapshot(self.classifier.network)

    def phases(self, task: Task) -> Plan:
        """Without boundaries `task` is what the stream has brought since the last exam, which is at a fixed point there."""
        self.memory.fill(task)
        restore(self.classifier.network, self.initial)
        if self.boundless:
            yield Phase("memory", epochs=self.hyper.memory_epochs, fresh=True, splits=(self.memory.split(),))
            return
        tasks = tuple(range(task.index + 1))
        yield Phase("memory", tasks, epochs=self.hyper.memory_epochs, fresh=True, splits=self.memory.splits(tasks))

    def footprint(self):
        return self.memory.footprint()  # the initial weights could be drawn again from their seed

    def insight(self):
        return self.memory.insight()
