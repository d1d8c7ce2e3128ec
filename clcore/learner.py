"""One group of replicas: its networks, its method, and the textbook loop (`Learner._steps`)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clcore import registry
from clcore.batch import Batch
from clcore.benchmarks.base import Benchmark, Task
from clcore.control import Control
from clcore.errors import RequestError
from clcore.evaluation import Evaluator
from clcore.events import Diverged, Event, Insight, PhaseStarted
from clcore.methods.base import Method, Phase, PhaseResult, Plan, Terms
from clcore.methods.composition import Composition
from clcore.methods.context import Context
from clcore.methods.parts.guard import Guard
from clcore.minibatches import MiniBatches
from clcore.networks.classifier import Classifier
from clcore.optimizers import make_optimizer, steps_of
from clcore.pictures import Pictures
from clcore.probe import Probe
from clcore.randomness import Generators
from clcore.recorded_step import FEWEST_STEPS, RecordedStep, make_capturable, training_stream
from clcore.settings import settings
from clcore.spec import Replica, RunSpec
from clcore.state import StandStill, Stateful, drop_caches, leaves
from clcore.watch import Watch

Rows = list[list[float | None]]
_INSIGHT_NUMBERS = 1 << 15  # of one array in one event


@dataclass
class Counters:
    """What a group's training cost. Its clock stands still while somebody evaluates, and leaves out time spent holding.

    train_samples      examples of the stream that entered a gradient step, over all replicas
    replayed_samples   replayed examples that did
    gradient_samples   (K) both, and what the method charged for its own passes, per replica (see accounting.py)
    """

    train_samples: int = 0
    replayed_samples: int = 0
    gradient_samples: list[int] = field(default_factory=list)
    train_seconds: float = 0.0
    train_cpu_seconds: float = 0.0
    evaluation_seconds: float = 0.0

    def add(self, trained: Tensor, replayed: Tensor) -> None:
        """Examples (K,) of the stream and from memories that entered a gradient step."""
        self.train_samples += int(trained.sum())
        self.replayed_samples += int(replayed.sum())
        self.charge(trained + replayed)

    def charge(self, samples: Tensor) -> None:
        """Gradient samples (K,)."""
        self.gradient_samples = [n + int(m) for n, m in zip(self.gradient_samples, samples.tolist(), strict=True)]

    def clock(self, control: Control) -> _Clock:
        return _Clock(self, control)


class _Clock:
    """Adds the time between `start` and `stop` to a group's counters, as training or as evaluation."""

    def __init__(self, counters: Counters, control: Control):
        self._counters, self._control = counters, control
        self._running = False

    def start(self) -> None:
        self._running = True
        self._wall, self._cpu = self._now(), time.process_time()

    def stop(self) -> None:
        if self._running:
            self._running = False
            self._counters.train_seconds += self._now() - self._wall
            self._counters.train_cpu_seconds += time.process_time() - self._cpu

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Counts the block as evaluation, in the middle of training or beside it."""
        interrupted = self._running
        self.stop()
        started = self._now()
        try:
            yield
        finally:
            self._counters.evaluation_seconds += self._now() - started
            if interrupted:
                self.start()

    def _now(self) -> float:
        return time.perf_counter() - self._control.held_seconds


class Learner:
    """Trains the replicas `members` (positions in the run's list) side by side, task by task."""

    def __init__(
        self,
        run: RunSpec,
        members: Sequence[int],
        benchmark: Benchmark,
        report: Callable[[Event], Any],
        control: Control,
        overall: Callable[[Learner, float], tuple[float, int, float]] | None = None,
        epochs: float | None = None,
    ):
        """`overall` turns a group's position into the whole run's, and says what all groups have trained (samples, seconds).
        `epochs` replace the run's: equal compute may cut the last one short (see fitting.py)."""
        self.run, self.members, self.report, self.control = run, list(members), report, control
        self.epochs = run.epochs if epochs is None else epochs
        self.overall = overall or (
            lambda learner, position: (position, learner.counters.train_samples, learner.counters.train_seconds)
        )
        self.device = benchmark.device
        replicas = [run.replicas[i] for i in self.members]
        self.seeds = [r.seed for r in replicas]
        self.stream = benchmark.stream(self.seeds)
        weights = list(Generators(self.seeds, "weights"))
        design = registry.design(run.network)
        network = design.build(self.stream.input_shape, self.stream.outputs, weights).to(self.device)
        self.classifier = Classifier(network, self.stream.groups, run.scenario, run.active_classes)
        self.counters = Counters(gradient_samples=[0] * len(replicas))
        self.alive = torch.ones(len(replicas), dtype=torch.bool)
        self._batches: MiniBatches | None = None
        self._charges = torch.zeros(len(replicas), device=self.device)
        self.method = _make_method(
            run, self.epochs, replicas, self.classifier, self.stream, self.device, control.at_step, self._charge
        )
        self.classifier.network = self.method.adapt(network).to(self.device)
        self.method.setup()
        promised = self.method.promises_old_logits()
        self.probe = Probe(self.method, self.classifier, self.stream, len(replicas)) if promised else None
        self.generators = Generators(self.seeds, "batches")
        self.evaluator = Evaluator(self.method, self.classifier, self.stream, run.live_examples, control.at_step)
        self.clock = self.counters.clock(control)
        self.pictures = Pictures(self, benchmark.facts.class_names)
        self._last_step = 0
        self._passing = -1  # the task of which `_passed` tells
        self._records = self.device.type == "cuda" and self.method.static_step and settings().cuda_graphs
        self._kept_optimizers: list[torch.optim.Optimizer] | None = None

    def learn(self, task: Task) -> None:
        """Begins, trains and ends one task; or goes through the next part of a stream without boundaries."""
        course = self.stream.course
        if course is not None:
            task = replace(task, train=course.part(task.index, self.run.epochs))
        told = course is None  # of beginning and end
        self.clock.start()
        try:
            self.classifier.learning = task.index
            if told:
                self.method.begin(task)
            elif task.index == 0 and self.method.needs_boundaries:
                self.method.begin(self._update(0, passed=False))
            plan, result = self.method.phases(task), None
            while (phase := _advance(plan, result)) is not None:
                result = self._train(task, phase)
            if told:
                self.method.end(task)
        finally:
            self.settle_charges()
            self.clock.stop()
        if self.probe is not None:
            with self.clock.evaluating():
                self.probe.learned(task.index)
        if insight := self.method.insight():
            arrays = {name: _small(values) for name, values in insight.items()}
            self.report(Insight(task=task.index + 1, replicas=self.members, arrays=arrays))

    def _train(self, task: Task, phase: Phase) -> PhaseResult:
        network = self.classifier.network
        active = self.alive if phase.active is None else self.alive & phase.active.cpu()
        members = [self.members[k] for k in active.nonzero().flatten().tolist()]
        self.report(PhaseStarted(task=task.index + 1, name=phase.name, replicas=members))
        passing = self.stream.course is not None and phase.tasks is None and phase.splits is None
        batches = MiniBatches(
            self.stream,
            (task.index,) if phase.tasks is None else phase.tasks,
            batch_size=self.run.batch_size,
            epochs=1 if passing else phase.epochs or self.epochs,
            generators=self.generators,
            active=active,
            widths=network.widths,
            splits=(task.train,) if passing else phase.splits,
            in_order=passing,
            present=task.index,
            known=self._passed_in(task),
        )
        drop_caches(self.method)
        self._batches = batches
        watch = Watch(self, task, phase, batches)
        try:
            guard = Guard(self._frozen(task, phase, batches.tasks))
            optimizers, strokes = self._optimizers(phase), self._strokes(task) if passing else {}
            with training_stream(self.device) if self._records else nullcontext():
                self._steps(batches, optimizers, guard, watch, strokes)
        finally:
            if phase.watched:
                self._passed = self._passed | active
            watch.settle()
            self._batches = None
            self._last_step = watch.total
        return PhaseResult(watch.mean_loss(), lambda: self._validation_accuracy(task))

    def _passed_in(self, task: Task) -> Tensor:
        """(K,) bool: replicas that have been through the task's examples in an earlier phase of it."""
        if self._passing != task.index:
            self._passing, self._passed = task.index, torch.zeros(len(self.seeds), dtype=torch.bool)
        return self._passed

    def _validation_accuracy(self, task: Task) -> Tensor:
        if task.validation is None:
            raise RequestError(
                f"{self.run.method.name} decides on validation data, but {self.run.benchmark}.validation is 0; "
                "give a share above 0."
            )
        with self.clock.evaluating():
            return self.evaluator.accuracy(task.index, task.validation)

    def _strokes(self, task: Task) -> dict[int, list[int]]:
        """Of a part of a stream without boundaries: the steps after which the clock strikes, and which strokes these are.

        A stroke falls on the step with which the examples passed reach a multiple of the period.
        """
        course, epochs, size = self.stream.course, self.run.epochs, self.run.batch_size
        if not self.method.needs_boundaries:
            return {}
        period, length = course.period(epochs), course.length(epochs)
        start, end = task.index * length, len(self.stream.tasks) * length
        found: dict[int, list[int]] = {}
        for stroke in range(start // period, (start + length) // period):
            at = (stroke + 1) * period
            if at < end:
                found.setdefault((at - start - 1) // size, []).append(stroke)
        return found

    def _update(self, stroke: int, *, passed: bool) -> Task:
        """What a method is told when the clock strikes, in place of a task: the examples `passed` since the stroke before, or
        of what begins none."""
        course, epochs = self.stream.course, self.run.epochs
        period = course.period(epochs)
        start = stroke * period
        examples = course.between(start, start + period if passed else start, epochs)
        return Task(stroke, f"update {stroke + 1}", examples, None, examples)

    def _strike(self, strokes: Sequence[int]) -> None:
        """The method consolidates, and goes on."""
        for stroke in strokes:
            self.method.end(self._update(stroke, passed=True))
            self.method.begin(self._update(stroke + 1, passed=False))
        drop_caches(self.method)

    def _steps(
        self, batches: MiniBatches, optimizers: list[torch.optim.Optimizer], guard: Guard, watch: Watch,
        strokes: dict[int, list[int]],
    ) -> None:  # fmt: skip
        """The textbook loop. On a stream without boundaries `strokes` are the steps after which a method consolidates."""
        method, control = self.method, self.control
        parameters = list(self.classifier.network.parameters())
        take_steps, lr = steps_of(optimizers), optimizers[0].param_groups[0]["lr"]
        still = StandStill(len(self.seeds))
        state = (parameters, self.classifier.network.statistics, method, self.generators, _Moments(optimizers))

        def learn_from(batch: Batch) -> Terms:
            terms = method.differentiate(batch)
            for take_step in take_steps:
                take_step()
            method.after_step(batch, lr)
            if watch.phase.watched:
                method.observe(batch)
            if guard:
                guard.restore()
            return terms

        repeats = self._records and watch.total >= FEWEST_STEPS
        recorded = RecordedStep(learn_from)
        for step, batch in enumerate(batches):
            control.at_step()
            if step == watch.next_end:
                still.hold(watch.through(step), *state)
            batch = method.mix(batch)
            terms = (recorded if repeats and step + 1 < watch.total and step not in strokes else learn_from)(batch)
            watch.saw(batch, terms)
            if step in strokes:
                self._strike(strokes[step])
                recorded = RecordedStep(learn_from)  # what a method consolidates lies elsewhere now
            if watch.due(step):
                if len(lost := watch.diverged(step, terms, lr, parameters)):
                    self._park(lost, *state)
                    still.hold(lost, *state)
                still.put_back(*state)
                watch.look(step, terms)
            elif watch.switching(step):
                still.put_back(*state)
                watch.evaluate(step)
        still.put_back(*state)

    def row(self, seen_tasks: int, which: str) -> Rows | None:
        """Row `seen_tasks` of the test or validation matrices; None where a cell has no meaning."""
        with self.clock.evaluating():
            row = self.evaluator.row(seen_tasks, which)
        for k in (self.evaluator.unsound & self.alive).nonzero().flatten().tolist():
            # The last step ruined it, and no later loss could show that.
            self.alive[k] = False
            lost = Diverged(replica=self.members[k], task=max(1, seen_tasks), step=self._last_step, term="outputs")
            self.report(lost)
        return None if row is None else self.readable(row)

    def verdicts(self) -> list[dict[str, Any] | None]:
        """Per replica, what the proof of zero forgetting says so far; None without a promise, and where training blew up."""
        if self.probe is None:
            return [None] * len(self.seeds)
        return [v if alive else None for v, alive in zip(self.probe.verdicts(), self.alive.tolist(), strict=True)]

    def readable(self, accuracy: Tensor) -> Rows:
        """`(K, T)` as numbers; None for NaN and for replicas that diverged."""
        return [
            [None if not alive or value != value else value for value in values]
            for alive, values in zip(self.alive.tolist(), accuracy.tolist(), strict=True)
        ]

    def _charge(self, samples: Tensor | int) -> None:
        """A method's own passes (see Context.charge), of the replicas that take part now. Waits for no device."""
        active = self.alive if self._batches is None else self.alive & self._batches.stepping
        self._charges += torch.as_tensor(samples, device=self.device) * active.to(self.device)

    def settle_charges(self) -> None:
        """Adds what the method charged to the group's counters."""
        self.counters.charge(self._charges.cpu())
        self._charges.zero_()

    def footprint(self) -> list[dict[str, int]]:
        """Bytes by kind, per replica: the network's parameters and what the method keeps."""
        network = self.classifier.network
        kinds = {"parameters": 4 * (network.parameter_count + network.statistic_count), **self.method.footprint()}
        per_replica = {
            kind: size.tolist() if isinstance(size, Tensor) else [size] * len(self.seeds)
            for kind, size in kinds.items()
        }
        return [{kind: int(sizes[k]) for kind, sizes in per_replica.items()} for k in range(len(self.seeds))]

    def state_dict(self) -> dict[str, Any]:
        """Everything that training on needs, at a task's end."""
        kept = self._kept_optimizers or []
        return {
            "network": self.classifier.network.state_dict(),
            "method": self.method.state_dict(),
            "generators": self.generators.state_dict(),
            "alive": self.alive,
            "counters": asdict(self.counters),
            "optimizers": [optimizer.state_dict() for optimizer in kept],
            "probe": None if self.probe is None else self.probe.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.classifier.network.load_state_dict(state["network"])
        self.method.load_state_dict(state["method"])
        self.generators.load_state_dict(state["generators"])
        self.alive = state["alive"].cpu()
        self.counters = Counters(**state["counters"])
        if self.probe is not None:
            self.probe.load_state_dict(state["probe"])
        if state["optimizers"]:
            self._kept_optimizers = self._fresh_optimizers(Phase())
            for optimizer, saved in zip(self._kept_optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)

    def _optimizers(self, phase: Phase) -> list[torch.optim.Optimizer]:
        """Fresh ones for every phase: stale momentum moves frozen weights. `keep` is for protocols that do otherwise, and
        where there is no boundary there is nothing to start afresh at."""
        keep = self.run.optimizer_state == "keep" or self.stream.course is not None
        if not keep or phase.optimizers is not None or phase.fresh:
            return self._fresh_optimizers(phase)
        if self._kept_optimizers is None:
            self._kept_optimizers = self._fresh_optimizers(phase)
        return self._kept_optimizers

    def _fresh_optimizers(self, phase: Phase) -> list[torch.optim.Optimizer]:
        parameters = list(self.classifier.network.parameters())
        found = phase.optimizers(parameters) if phase.optimizers else [make_optimizer(self.run.optimizer, parameters)]
        if self._records:
            for optimizer in found:
                make_capturable(optimizer)
        return found

    def _frozen(self, task: Task, phase: Phase, trained: tuple[int, ...]) -> dict[torch.nn.Parameter, Tensor]:
        """The phase's frozen entries, and in the task scenario the output units of tasks that are not trained on.

        Those have a zero gradient, so only weight decay and moments from other tasks could move them. Earlier tasks'
        are trained by the replicas of which the method says so: those that replay, or distil.
        """
        frozen = dict(phase.frozen)
        drifts = self.run.optimizer.weight_decay > 0 or self.run.optimizer_state == "keep"
        head = self.classifier.network.head
        if self.run.scenario == "task" and drifts and head is not None:
            groups = self.stream.groups
            units = groups[list(trained)].any(0).expand(len(self.seeds), -1)
            trains_old = self.method.trains_old_heads().to(self.device).unsqueeze(1)
            units = units | (trains_old & groups[: task.index].any(0))
            mask = torch.ones(len(self.seeds), head.width, dtype=torch.bool, device=self.device)
            mask[:, : units.shape[1]] = ~units
            for parameter, own in ((head.weight, mask.unsqueeze(1)), (head.bias, mask)):
                frozen[parameter] = frozen[parameter] | own if parameter in frozen else own
        return frozen

    @torch.no_grad()
    def _park(self, which: Tensor, *roots: Any) -> None:
        """Makes the rows of replicas that diverged finite, so that nothing downstream meets a NaN; they are never read."""
        for _, leaf in leaves(list(roots)):
            if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == len(self.seeds) and leaf.is_floating_point():
                rows = which.to(leaf.device)
                leaf[rows] = leaf[rows].nan_to_num(0, 0, 0)


class _Moments(Stateful):
    """The optimizers' state as rows of replicas."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]):
        self._optimizers = optimizers

    def state_fields(self) -> dict[str, Any]:
        return {
            f"{i}.{j}": dict(state)
            for i, optimizer in enumerate(self._optimizers)
            for j, state in enumerate(optimizer.state.values())
        }


def _small(values: Tensor) -> list:
    """`values` (K, …) as nested lists of four significant digits, None for what is not finite; at most the first rows."""
    rows = max(1, _INSIGHT_NUMBERS // max(1, values[0].numel()))
    numbers = values[:rows].detach().cpu().double().numpy()
    # Pictures hold few different numbers: each is rounded once.
    different, which = np.unique(numbers, return_inverse=True)
    rounded = [float(f"{v:.4g}") if math.isfinite(v) else None for v in different.tolist()]
    return np.array(rounded, dtype=object)[which].reshape(numbers.shape).tolist()


def _advance(plan: Plan, result: PhaseResult | None) -> Phase | None:
    """The plan's next phase, told how the last one went; None at its end."""
    try:
        return plan.send(result)
    except StopIteration:
        return None


def _make_method(
    run: RunSpec, epochs: float, replicas: Sequence[Replica], classifier: Classifier, stream, device, pulse, charge
) -> Method:
    """The run's method, or the composition of its parts; strengths go to the first part that has one."""
    context = Context(
        classifier=classifier,
        design=registry.design(run.network),
        stream=stream,
        scenario=run.scenario,
        seeds=[r.seed for r in replicas],
        strengths=None,
        memories=torch.tensor([r.memory or 0 for r in replicas]),
        optimizer=run.optimizer,
        batch_size=run.batch_size,
        epochs=epochs,
        device=device,
        pulse=pulse,
        charge=charge,
    )
    swept = run.method.swept_part
    strengths = None if swept is None else torch.tensor([r.strength for r in replicas], device=device)
    parts = [
        (name, registry.find("method", name, registry.methods()), run.method.part_settings(name),
         strengths if swept is not None and name == swept.name else None)
        for name in run.method.parts
    ]  # fmt: skip
    if len(parts) > 1:
        return Composition(context, parts)
    _, build, settings, own = parts[0]
    return build(replace(context, strengths=own), settings)
