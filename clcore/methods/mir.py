"""MIR: replay the old examples that the step about to be taken would harm most.

Aljundi et al., "Online Continual Learning with Maximally Interfered Retrieval", NeurIPS 2019. Before every step a virtual one
is taken on the current mini-batch alone, θᵛ = θ − α∇L(B_t). Of C candidates drawn at random from the memory, the R whose loss
it would raise most are replayed beside the mini-batch:

    s(x, y) = ℓ(θᵛ; x, y) − ℓ(θ; x, y)

The virtual step is plain SGD whatever the run's optimizer, with the run's learning rate unless `virtual_lr` says otherwise;
the network itself is not touched. Retrieval costs one more forward and backward pass of the mini-batch and two forward passes
of the candidates. With C = R nothing is left to choose and the method is experience replay, bit for bit.

Choices: as in `er`, the loss is the mean over all examples unless `loss = sum` (the authors' code), and the memory is filled
at the end of a task, so that what is retrieved is old. Filled `online` it also holds the present task's examples. The authors'
code keeps these out of retrieval, by task identity, and `exclude_current` does that; switched off, an online memory needs no
task identity. The authors' variant that compares with the best loss an example ever had is left out. The paper's Split MNIST
protocol is `memory_update = online`, `loss = sum`, `candidates = 50`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, mean_loss, sum_of_means
from clcore.methods.parts.memory import Memory, Policy
from clcore.networks.layers import aligned_rows


class MIR(Method):
    title = "Maximally interfered retrieval"
    summary = (
        "Keeps a few old examples in a small memory. "
        "Before every step it tries the step out and rehearses the old examples that would suffer most from it."
    )
    family = "rehearsal"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Aljundi et al., NeurIPS 2019"
    formula = (
        r"R=\operatorname{top}_R\big[\ell(\theta^v;x,y)-\ell(\theta;x,y)\big]_{(x,y)\in C\subset M},\quad "
        r"\theta^v=\theta-\alpha\nabla_\theta\mathcal L(B_t)"
    )
    stores = "the memory's examples"
    uses_memory = True

    class Hyper(Knobs):
        replay_batch: int | None = knob(
            None, ge=1, le=65536, help="remembered examples per step; none means the batch size"
        )
        candidates: int = knob(
            50, ge=1, le=65536, symbol="C", unit="examples", help="drawn from the memory at each step, to choose from"
        )
        virtual_lr: float | None = knob(
            None, ge=0, le=100, symbol="α", help="size of the step that is tried out; none means the run's learning rate"
        )
        policy: Policy = knob("reservoir", help="which examples stay in the memory (as in er)")
        loss: Literal["concat", "sum"] = knob("concat", help="mean over all examples, or the sum of the two means")
        memory_update: Literal["task_end", "online"] = knob(
            "task_end",
            help="fill the memory when a task ends, or while the stream passes (always so on a stream without boundaries)",
        )
        exclude_current: bool = knob(True, help="never retrieve examples of the present task (from an online memory)")

    def setup(self) -> None:
        self.memory = Memory(self.context, self.hyper.policy)
        self.online = self.boundless or self.hyper.memory_update == "online"
        if self.online:
            self.memory.check_streaming()
        self.retrieved = torch.zeros(
            self.context.replicas, len(self.context.stream.tasks), device=self.context.device
        )

    @property
    def static_step(self) -> bool:  # type: ignore[override]
        return not self.online

    def mix(self, batch: Batch) -> Batch:
        size = self.hyper.replay_batch or self.context.batch_size
        only_old = self.online and self.hyper.exclude_current and not self.boundless  # nobody says which are old
        before = self.classifier.learning if only_old else None
        candidates = self.memory.draw(max(size, self.hyper.candidates), ahead=1 if self.online else 32, before=before)
        if candidates is None:
            return batch
        self.context.charge(batch.count * (candidates.count > 0))
        worst = self._most_interfered(batch, candidates, size)
        self.retrieved = self.retrieved.scatter_add(1, self.context.stream.task_of(worst.task), worst.weight)
        return batch.with_replay(worst)

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
        share = self.retrieved / self.retrieved.sum(1, keepdim=True).clamp_min(1)
        return {**self.memory.insight(), "retrieved_by_task": share}

    def interference(self, batch: Batch, candidates: Batch) -> Tensor:
        """(K, C) how much each candidate's loss would rise if a plain step were taken on the mini-batch; −∞ for padding."""
        moved = self._virtual_step(batch)
        with torch.no_grad():
            before = self.classifier.sample_losses(candidates)
            logits = functional_call(self.classifier.network, moved, (candidates.x,), tie_weights=False)
            after = self.classifier.cross_entropy(logits, candidates)
        return (after - before).masked_fill(candidates.weight == 0, -torch.inf)

    def _virtual_step(self, batch: Batch) -> dict[str, Tensor]:
        """The parameters after θ − α∇L(B_t), of all replicas at once, beside the real ones."""
        network, lr = self.classifier.network, self.hyper.virtual_lr
        lr = self.context.optimizer.lr if lr is None else lr
        named = {name: p for name, p in network.named_parameters() if p.requires_grad}
        with self.classifier.trying_out():
            loss = mean_loss(self.classifier, batch)
        gradients = torch.autograd.grad(loss.sum(), list(named.values()), allow_unused=True, materialize_grads=True)
        return {name: p.detach() - lr * g for (name, p), g in zip(named.items(), gradients, strict=True)}

    def _most_interfered(self, batch: Batch, candidates: Batch, size: int) -> Batch:
        """The `size` candidates with the largest interference, in the order in which they were drawn."""
        worst = self.interference(batch, candidates).topk(size, dim=1).indices.sort(dim=1).values
        rows = aligned_rows(size, self.classifier.network.widths)
        return candidates.take(worst, rows)
