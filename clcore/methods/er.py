"""Experience replay: mix every mini-batch with examples remembered from before.

Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019; Rolnick et al., NeurIPS 2019. The memory is by
default a reservoir (a uniform sample of what was offered); its budget is for the whole stream. Each step takes B
current and R remembered examples through the network in two forwards; the loss is the mean over all of them (`concat`)
or the sum of the two means (`sum`), which doubles the step where there is something to replay.

Choices: by default the memory is filled at the end of a task, so it holds earlier tasks only; `online` fills it as the
stream passes (during the first pass over a task, after the step, so that on that pass a step never replays its own
examples). Other policies than the reservoir are explained in parts/memory.py; with about three examples a class or fewer a
uniform sample misses classes, and those that balance them do better.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, mean_loss, sum_of_means
from clcore.methods.parts.memory import Memory, Policy


class ER(Method):
    title = "Experience replay"
    summary = "Keeps a few old examples in a small memory and rehearses them beside the new ones."
    family = "rehearsal"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Chaudhry et al., 2019 (On Tiny Episodic Memories); Rolnick et al., NeurIPS 2019"
    formula = r"\frac{1}{B+R}\Big(\sum_{(x,y)\in B_t}\ell(x,y)+\sum_{(x,y)\in R\subset M}\ell(x,y)\Big)"
    stores = "the memory's examples"
    uses_memory = True

    class Hyper(Knobs):
        replay_batch: int | None = knob(
            None, ge=1, le=65536, help="remembered examples per step; none means the batch size"
        )
        policy: Policy = knob(
            "reservoir",
            help="which examples stay: a uniform sample (reservoir), as many of every class (balanced), the latest of every "
            "class of every task (ring), those nearest to their class's mean (herding), or those that cover it (k-center)",
        )
        loss: Literal["concat", "sum"] = knob("concat", help="mean over all examples, or the sum of the two means")
        memory_update: Literal["task_end", "online"] = knob(
            "task_end",
            help="fill the memory when a task ends, or while the stream passes (always so on a stream without boundaries)",
        )

    def setup(self) -> None:
        self.memory = Memory(self.context, self.hyper.policy)
        self.online = self.boundless or self.hyper.memory_update == "online"
        if self.online:
            self.memory.check_streaming()

    @property
    def static_step(self) -> bool:  # type: ignore[override]
        return not self.online

    def mix(self, batch: Batch) -> Batch:
        replayed = self.memory.draw(self.hyper.replay_batch or self.context.batch_size, ahead=1 if self.online else 32)
        return batch if replayed is None else batch.with_replay(replayed)

    def task_loss(self, batch: Batch) -> Tensor:
        return (mean_loss if self.hyper.loss == "concat" else sum_of_means)(self.classifier, batch)

    def observe(self, batch: Batch) -> None:
        if self.online:
            self.memory.observe(batch)

    def end(self, task: Task) -> None:
        if not self.online:
            self.memory.fill(task)

    def footprint(self):
        return self.memory.footprint()

    def insight(self):
        return self.memory.insight()
