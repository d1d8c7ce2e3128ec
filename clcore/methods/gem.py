"""GEM, gradient episodic memory: ask every past task before taking a step.

Lopez-Paz & Ranzato, NeurIPS 2017, eq. 8–11: a few examples of every task are kept. At each step the gradient g of the
current batch is compared with every past task's gradient g_k, of the mean loss over all of its memory. If none of the
angles exceeds 90° the step is taken as it is; else it becomes the nearest z with ⟨z, g_k⟩ ≥ 0 for all k, by the dual
problem in parts/projection.py. To first order no past loss rises. γ ("memory strength") is the lower bound of the dual
variables, as in the paper's experiments: with γ > 0 a violating step also moves towards the memories' own minima, which
is where GEM's backward transfer comes from. γ = 0 is the pure projection.

Choices: the memory takes the last examples of a task (`ring`, as the paper does) and a task's share is M/T from the
beginning (`reserved`), or all of M, shrinking as tasks come (`shrinking`, for an unknown number of tasks). Each
example's softmax runs over its own task's units. Nothing is added to the problem's matrix unless `ridge` asks for it: the
authors' code adds 10⁻³, which stops the projection once gradients are short. With Mammoth's few examples a task that is the
better choice (docs/results.md).

In a composition the projected gradient is the whole one as it stands, with the replayed examples' and explicit
penalties' in it; an implicit penalty step comes after the projection and is not bound by it. The same holds for
momentum, weight decay and Adam: what they add is not asked for permission, so the guarantee is plain SGD's.
"""

from __future__ import annotations

from typing import Literal

from clcore.batch import Batch
from clcore.benchmarks.base import Task
from clcore.knobs import Knobs, knob
from clcore.methods.base import Method
from clcore.methods.parts.memory import Memory
from clcore.methods.parts.projection import Conflicts, Gradients, dual_variables

# Memory examples of a task, and tasks, that go through the network at once. Fixed sizes, because a replica's numbers may not
# depend on its neighbours' budgets; usual budgets per task are multiples of 50.
_ROWS, _TASKS = 50, 8


class GEM(Method):
    title = "GEM"
    summary = (
        "Before every step it asks each earlier task, by a few stored examples, whether the step would hurt. "
        "If one objects, it takes the nearest step that hurts none."
    )
    family = "rehearsal"
    boundary_reason = "it needs a constraint for every task, and nobody says which one an example is from"
    paper = "Lopez-Paz & Ranzato, NeurIPS 2017"
    formula = r"\min_z\ \tfrac12\lVert z-g\rVert^2\quad\text{s.t.}\quad \langle z,\,g_k\rangle\ge 0\ \ \text{for all } k<t"
    stores = "the memory's examples, and one gradient per past task while it trains"
    needs_boundaries = True
    uses_memory = True
    sweep = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)

    class Hyper(Knobs):
        strength: float = knob(
            0.5, ge=0, le=100, axis=True, symbol="γ",
            help="memory strength: the least weight of every past task's gradient in a step that would hurt one of them; "
            "0 only removes what hurts",
        )  # fmt: skip
        policy: Literal["ring", "reservoir", "balanced", "herding", "k-center"] = knob(
            "ring",
            help="which examples of a task stay: the last ones (ring), a uniform sample (reservoir), as many of every class "
            "(balanced), those nearest to their class's mean (herding), or those that cover it (k-center)",
        )
        division: Literal["reserved", "shrinking"] = knob(
            "reserved",
            help="each task's share of the memory: M/T from the beginning, or all of it, shrinking as tasks come",
        )

        ridge: float = knob(
            0.0, ge=0, le=1, symbol="ε",
            help="added to every past gradient's squared length before the projection is worked out; published code adds "
            "0.001, which lets go of constraints whose gradients are short",
        )  # fmt: skip

    def setup(self) -> None:
        hyper, context = self.hyper, self.context
        by = "task" if hyper.policy in ("ring", "reservoir") else "task_class"
        self.memory = Memory(context, hyper.policy, by=by, division=hyper.division)
        self.conflicts = Conflicts(context.replicas, len(context.stream.tasks), context.device)
        self.restored()

    def restored(self) -> None:
        self._blocks: list[tuple[range, list[Batch]]] | None = None
        self._gradients: Gradients | None = None

    def begin(self, task: Task) -> None:
        self.conflicts.clear()

    def edit_gradients(self, batch: Batch) -> None:
        past = self.classifier.learning
        if past == 0 or not bool(self.memory.counts.any()):
            return
        if self._blocks is None:
            self._gradients = Gradients(self.classifier.network, past + 1)
            together = _TASKS if self._gradients.separable else 1
            self._blocks = [
                (tasks, list(self.memory.everything(_ROWS, tasks=tasks)))
                for tasks in (range(k, min(k + together, past)) for k in range(0, past, together))
            ]
        self.context.charge(self.memory.counts)
        gradients = self._gradients
        for tasks, blocks in self._blocks:
            gradients.record(tasks, self.classifier, blocks)
        gradients.read(past)
        products = gradients.products()
        v = dual_variables(products, self.hyper.strength, self.hyper.ridge)
        gradients.add(v)
        self.conflicts.saw(products, v)

    def end(self, task: Task) -> None:
        self.memory.fill(task)
        self.restored()

    def footprint(self):
        past = self.classifier.learning * (self.memory.counts > 0)
        return {**self.memory.footprint(), "gradients": 4 * self.classifier.network.parameter_count * past}

    def insight(self):
        return {**self.memory.insight(), **self.conflicts.insight()}
