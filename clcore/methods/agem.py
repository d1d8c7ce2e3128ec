"""A-GEM, averaged GEM: ask the average of the past before taking a step.

Chaudhry et al., ICLR 2019, eq. 11: one reference gradient g_ref, of the mean loss over a random batch of the memory,
stands for all past tasks. If the batch's gradient g points against it, the part that does is removed,

    z = g − ⟨g, g_ref⟩ / ‖g_ref‖² · g_ref      if ⟨g, g_ref⟩ < 0,      else z = g, bit for bit,

so ⟨z, g_ref⟩ = 0: the loss over the memory does not rise to first order, though a single task's may. It costs one more
pass over the reference batch where GEM needs one over every task's memory. A reference gradient of zero objects to
nothing.

Choices: the memory keeps the last examples of every class of every task (`ring`, as the paper does), and a task's share
of M is set aside from the beginning (`reserved`) or shrinks as tasks come; examples enter when their task ends. Each
example's softmax runs over its own task's units, and the mean is over the examples drawn. What is projected in a
composition, and what optimizers with momentum add, is said in gem.py. On a stream without boundaries the clock takes the
place of task ends: the memory is offered what has passed since it last struck. A ring of every class of every task cannot be
kept there, and one of every class would hold the latest task alone: the memory is a reservoir instead (A-GEM-R in Mammoth).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method, Terms
from clcore.methods.parts.memory import Memory, Policy
from clcore.methods.parts.projection import Conflicts, Gradients, Pairs, inner_product


class AGEM(Method):
    title = "A-GEM"
    summary = (
        "Before every step it compares the step with one that would help a random sample of the past. "
        "If they point apart, the part that hurts is removed."
    )
    family = "rehearsal"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "Chaudhry, Ranzato, Rohrbach & Elhoseiny, ICLR 2019"
    formula = (
        r"z=g-\frac{\min(0,\,\langle g,\,g_{\mathrm{ref}}\rangle)}{\lVert g_{\mathrm{ref}}\rVert^2}\,g_{\mathrm{ref}},\quad "
        r"g_{\mathrm{ref}}=\nabla\,\ell(\theta;\,S\subset M)"
    )
    stores = "the memory's examples, and one gradient while it trains"
    needs_boundaries = True
    uses_memory = True

    class Hyper(Knobs):
        reference_batch: int = knob(
            256, ge=1, le=65536, scale="log", symbol="|S|", help="memory examples that each reference gradient is made of"
        )
        policy: Policy = knob(
            "ring",
            help="which examples stay: the latest of every class of every task (ring), a uniform sample (reservoir), as many "
            "of every class (balanced), those nearest to their class's mean (herding), or those that cover it (k-center)",
        )
        division: Literal["reserved", "shrinking"] = knob(
            "reserved",
            help="each class's share of the memory: fixed from the beginning, or all of it, shrinking as tasks come",
        )

    def setup(self) -> None:
        context = self.context
        policy = "reservoir" if self.boundless and self.hyper.policy == "ring" else self.hyper.policy
        self.memory = Memory(context, policy, division=self.hyper.division)
        if self.boundless:
            self.memory.check_streaming()
        self.conflicts = Conflicts(context.replicas, 1, context.device)
        self.restored()

    def restored(self) -> None:
        self._gradients: Gradients | None = None
        self._pairs: Pairs | None = None

    def begin(self, task: Task) -> None:
        self.conflicts.clear()

    def differentiate(self, batch: Batch) -> Terms:
        """Where the network can take both batches through one pass: the same but for rounding, a tenth faster."""
        reference = self._reference() if self.classifier.network.stacks else None
        if reference is None:
            return super().differentiate(batch)
        return {"task": self._project(batch, reference)}

    def edit_gradients(self, batch: Batch) -> None:
        reference = self._reference()
        if reference is None:
            return
        if self.classifier.network.stacks:  # the same arithmetic as alone: a penalty of strength 0 changes no bit
            self._project(batch, reference, given=True)
            return
        if self._gradients is None:
            self._gradients = Gradients(self.classifier.network, 2)
        gradients = self._gradients
        gradients.record([0], self.classifier, [reference])
        gradients.read(1)
        products = gradients.products()
        norm, dot = products[:, 0, 0], products[:, 0, 1]
        v = torch.where((dot < 0) & (norm > 0), -dot / norm, 0).unsqueeze(1)
        gradients.add(v)
        self.conflicts.saw(products, v)

    def _project(self, batch: Batch, reference: Batch, *, given: bool = False) -> Tensor:
        """Leaves z with the network, made from the batch's gradient, or from the network's own where it is `given`: that has
        penalties in it. Returns the batch's mean loss (K,)."""
        if self._pairs is None:
            self._pairs = Pairs(self.classifier.network)
        products = torch.empty(self.context.replicas, 2, 2, dtype=torch.float64)
        v = torch.zeros(self.context.replicas, 1)
        loss, pairs = self._pairs.of(self.classifier, replace(batch, replay=(reference,)), given=given)
        for k, (g, g_ref) in enumerate(pairs):
            norm, dot = inner_product(g_ref, g_ref), inner_product(g, g_ref)
            products[k] = torch.tensor([[norm, dot], [dot, inner_product(g, g)]])
            if dot < 0 < norm:
                v[k] = -dot / norm
                g.add_(g_ref, alpha=-dot / norm)
        self.conflicts.saw(products, v)
        return loss

    def _reference(self) -> Batch | None:
        """The step's examples of the past; None while the memory is empty."""
        reference = self.memory.draw(self.hyper.reference_batch, ahead=8)
        if reference is not None:
            self.context.charge(reference.count)
        return reference

    def end(self, task: Task) -> None:
        self.memory.fill(task)

    def footprint(self):
        kept = (self.memory.counts > 0) * (4 * self.classifier.network.parameter_count)
        return {**self.memory.footprint(), "gradients": kept}

    def insight(self):
        found = self.conflicts.insight()
        return {**self.memory.insight(), **{name: values.flatten() for name, values in found.items()}}
