"""Trains a run: all its replicas, task by task, from the first event to the result."""

from __future__ import annotations

import os
import pickle
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.serialization import default_restore_location as restored

import clcore
from clcore import accounting, capacity, metrics, provenance, registry
from clcore.allocator import keep_freed_memory
from clcore.benchmarks.base import Benchmark, Stream
from clcore.control import Control
from clcore.errors import Cancelled, LabError, RequestError, TrainingError
from clcore.events import Event, Preparing, ReplicaInfo, Resumed, RunFinished, RunStarted, TaskFinished
from clcore.fitting import Fitted, fitted
from clcore.learner import Learner, Rows
from clcore.pictures import unit_names
from clcore.spec import Replica, RunSpec, from_json

Report = Callable[[Event], Any]
Announce = Callable[[str, float | None], None]
_CHECKPOINT_VERSION = 3
_WORTH_SAYING = 50_000_000  # bytes of a data set on the device


def train(
    run: RunSpec,
    *,
    data_dir: Path,
    report: Report = lambda event: None,
    control: Control | None = None,
    checkpoint: Path | None = None,
    announce: Announce = lambda message, share: None,
    fit: Fitted | None = None,
) -> dict[str, Any]:
    """Trains `run` and returns its result, which is also reported as `RunFinished`.

    `report` receives every event and returns its sequence number (used by checkpoints; None where nobody counts). With a
    `checkpoint` path, training can be interrupted anywhere and resumes at the last task end with the same results. `fit`:
    what the run's budgets came to, where that was measured before. Raises LabError with one sentence; `Cancelled` carries the
    result so far.
    """
    keep_freed_memory()
    session = _Session(run, Path(data_dir), report, control or Control(), checkpoint, announce, fit)
    try:
        return session.run_all()
    except Cancelled as stop:
        stop.result = session.result("cancelled")
        raise


class _Session:
    def __init__(
        self,
        run: RunSpec,
        data_dir: Path,
        report: Report,
        control: Control,
        checkpoint: Path | None,
        announce: Announce,
        fit: Fitted | None,
    ):
        self.run, self.report, self.control, self.checkpoint = run, report, control, checkpoint
        self.test: list[Rows] = []
        self.validation: list[Rows | None] = []
        self.footprints: list[list[dict[str, int]]] = []
        self.learners: list[Learner] = []
        self.commit = provenance.this_process()
        self.device = capacity.choose_device(run.device)
        _wake(self.device)
        build = registry.find("benchmark", run.benchmark, registry.benchmarks())
        benchmark: Benchmark = build(dict(run.options), scenario=run.scenario, data_dir=data_dir, device=self.device)
        self._class_names = benchmark.facts.class_names
        capacity.check_fits(run, benchmark, benchmark.least_outputs, self.device)  # exactly once the stream is known
        announcer = _Announcer(report, announce, self.control)
        if (need := benchmark.memory_estimate(len(run.replicas))) >= _WORTH_SAYING:
            announcer(f"{run.benchmark} takes about {accounting.readable_bytes(need)} on {self.device.type}", None)
        benchmark.prepare(announcer)
        self.stream: Stream = benchmark.stream([r.seed for r in run.replicas])
        capacity.check_fits(run, benchmark, self.stream.outputs, self.device)
        self._saved = self._checkpoint()
        self.fitted = self._fit(benchmark, fit)
        vectorized = all(registry.methods()[part].vectorized for part in run.method.parts)
        planned = capacity.groups(self.fitted.run, self.stream, self.device, vectorized)
        groups = self._saved["groups"] if self._saved else planned
        for members in groups:
            self.control.at_step()
            learner = Learner(
                self.fitted.run, members, benchmark, report, self.control, self._overall, self.fitted.epochs
            )
            self.learners.append(learner)
        if run.optimizer_state == "keep" and self.learners[0].method.freezes:
            raise RequestError(
                f"{run.method.name} freezes weights and needs fresh optimizers; choose --optimizer-state reset."
            )

    def _fit(self, benchmark: Benchmark, known: Fitted | None) -> Fitted:
        """The run with the epochs and the memory that its budgets come to; a checkpoint remembers them."""
        if self.run.gradient_samples is None and self.run.memory_bytes is None:
            return Fitted(self.run, "", self.run.epochs)
        if self._saved:
            run = from_json(RunSpec, self._saved["fitted"])
            return Fitted(run, self._saved.get("note", ""), self._saved.get("epochs", run.epochs))  # as earlier versions did
        if known is not None:
            return known
        self.report(Preparing(message="Measuring what the budget allows", share=None))
        return fitted(self.run, benchmark, self.stream, self.control)

    @property
    def replicas(self) -> list[tuple[Replica, str]]:
        """The replicas as they are trained, with the digests of what was asked for."""
        asked = [self.run.digest(replica) for replica in self.run.replicas]
        return list(zip(self.fitted.run.replicas, asked, strict=True))

    def run_all(self) -> dict[str, Any]:
        done = self._resume(self._saved)
        if done is None:
            self.report(self._plan())
            self._finish_task(0)
            done = 0
        for task in self.stream.tasks[done:]:
            for learner in self.learners:
                learner.learn(learner.stream.tasks[task.index])
            self._finish_task(task.index + 1)
            if task.index + 1 < len(self.stream.tasks):
                self.control.at_task_end()
        result = self.result("finished")
        self.report(RunFinished(result=result))
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)
        return result

    def _finish_task(self, seen: int) -> None:
        """Fills row `seen` of the matrices, reports it, and saves a checkpoint."""
        self.test.append(self._gathered([learner.row(seen, "test") for learner in self.learners]))
        self.validation.append(self._gathered([learner.row(seen, "validation") for learner in self.learners]))
        self.footprints.append(self._gathered([learner.footprint() for learner in self.learners]))
        for learner in self.learners:
            learner.pictures.after(seen)
        seq = self.report(
            TaskFinished(
                task=seen, test=self.test[-1], validation=self.validation[-1], footprint=self.footprints[-1],
                diverged=self._diverged(), old_logits=self._old_logits(),
            )
        )  # fmt: skip
        if self.checkpoint is not None and 0 < seen < len(self.stream.tasks):
            self._save(seen, seq)

    def _gathered(self, per_group: list[list | None]) -> list | None:
        """Per-replica values of all groups, back in the run's order."""
        if any(values is None for values in per_group):
            return None
        result: list = [None] * len(self.run.replicas)
        for learner, values in zip(self.learners, per_group, strict=True):
            for member, value in zip(learner.members, values, strict=True):
                result[member] = value
        return result

    def _diverged(self) -> list[int]:
        return sorted(
            m for lr in self.learners for m, alive in zip(lr.members, lr.alive.tolist(), strict=True) if not alive
        )

    def _old_logits(self) -> list[dict[str, Any] | None] | None:
        """The proof of zero forgetting, per replica; None where the method promises nothing."""
        verdicts = self._gathered([learner.verdicts() for learner in self.learners])
        return None if all(v is None for v in verdicts) else verdicts

    def _note(self) -> str:
        """What a reader of the results should know: dropped axes, budgets, and what the method says of itself."""
        dropped = self.run.dropped_axes()
        return " ".join(filter(None, [
            f"{self.run.method.name} has no {' and '.join(dropped)} axis; its values are dropped." if dropped else "",
            self._clock_note(), self.fitted.note, self.learners[0].method.note(),
        ]))  # fmt: skip

    def _clock_note(self) -> str:
        """On a stream without boundaries: how often a method that would need them does what it does there."""
        if self.stream.course is None or not self.learners[0].method.needs_boundaries:
            return ""
        period = self.stream.course.period(self.fitted.run.epochs)
        return f"Without boundaries {self.run.method.name} does the work of a task's end every {period} examples."

    def _plan(self) -> RunStarted:
        return RunStarted(
            method=self.run.method.name,
            benchmark=self.run.benchmark,
            scenario=self.run.scenario,
            tasks=[task.name for task in self.stream.tasks],
            replicas=[
                ReplicaInfo(seed=r.seed, strength=r.strength, memory=r.memory, digest=digest)
                for r, digest in self.replicas
            ],
            epochs=self.fitted.epochs,
            chance=chance_levels(self.stream),
            test_examples=[int(task.test.lengths.min()) for task in self.stream.tasks],
            train_examples=[int(task.train.lengths.min()) for task in self.stream.tasks],
            device=self._device_name(),
            versions=self._versions(),
            note=self._note(),
            units=unit_names(self.stream, self._class_names),
        )  # fmt: skip

    def _device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def _versions(self) -> dict[str, str]:
        found = {"clcore": clcore.__version__, "torch": torch.__version__, "python": platform.python_version()}
        return found | ({"commit": provenance.commit_words(self.commit)} if self.commit else {})

    def _overall(self, learner: Learner, position: float) -> tuple[float, int, float]:
        """Groups take turns at every task: the run's position, and the examples and seconds trained by all of them."""
        finished = len(self.test) - 1
        turn = self.learners.index(learner)
        samples = sum(other.counters.train_samples for other in self.learners)
        seconds = sum(other.counters.train_seconds for other in self.learners)
        return finished + (turn + position - finished) / len(self.learners), samples, seconds

    def result(self, status: str) -> dict[str, Any] | None:
        """One entry of `runs` in the command line's JSON, None before row 0; unfinished rows are None."""
        if not self.test:
            return None
        counters = [learner.counters for learner in self.learners]
        tasks = len(self.stream.tasks)
        missing = tasks + 1 - len(self.test)
        lost = set(self._diverged())
        gradient_samples = self._gathered([c.gradient_samples for c in counters])
        verdicts = self._old_logits() or [None] * len(self.replicas)
        replicas = []
        for k, (replica, digest) in enumerate(self.replicas):
            matrix = [rows[k] for rows in self.test] + [[None] * tasks] * missing
            validation = None
            if all(rows is not None for rows in self.validation):
                validation = [rows[k] for rows in self.validation] + [[None] * tasks] * missing
            replicas.append(
                {
                    "seed": replica.seed, "strength": replica.strength, "memory": replica.memory,
                    "digest": digest,
                    "status": "diverged" if k in lost else status,
                    "accuracy_matrix": matrix, "validation_matrix": validation,
                    **metrics.summary(matrix, self.run.scenario),
                    "gradient_samples": gradient_samples[k],
                    "bytes": sum(self.footprints[-1][k].values()),
                    "footprint": self.footprints[-1][k],
                    "footprint_per_task": [f[k] for f in self.footprints[1:]],
                    "old_logits": verdicts[k],
                }
            )  # fmt: skip
        return {
            "method": self.run.method.name,
            "status": status,
            "epochs": self.fitted.epochs,
            "note": self._note(),
            "train_samples": sum(c.train_samples for c in counters),
            "train_seconds": sum(c.train_seconds for c in counters),
            "train_cpu_seconds": sum(c.train_cpu_seconds for c in counters),
            "evaluation_seconds": sum(c.evaluation_seconds for c in counters),
            "replayed_samples": sum(c.replayed_samples for c in counters),
            "gradient_samples": sum(gradient_samples),
            "protocol": accounting.protocol(
                self.run, device=self._device_name(), versions=self._versions(), commit=self.commit
            ),
            "replicas": replicas,
        }

    def _save(self, seen: int, seq: int | None) -> None:
        """Writes the checkpoint beside its place and moves it there, so that a crash leaves the old one whole."""
        state = {
            "version": _CHECKPOINT_VERSION,
            "spec": self.run.model_dump_json(),
            "fitted": self.fitted.run.model_dump_json(),
            "note": self.fitted.note,
            "epochs": self.fitted.epochs,
            "tasks": seen,
            "device": self.device.type,
            "groups": [learner.members for learner in self.learners],
            "seq": -1 if seq is None else seq,
            "learners": [learner.state_dict() for learner in self.learners],
            "test": self.test,
            "validation": self.validation,
            "footprints": self.footprints,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.checkpoint.with_suffix(".tmp")
        with open(fresh, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.checkpoint)

    def _checkpoint(self) -> dict[str, Any] | None:
        """What the checkpoint holds, if there is one. Tensors that live on the CPU stay there."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return None
        with self._refusing():
            place = lambda storage, where: storage if where == "cpu" else restored(storage, str(self.device))  # noqa: E731
            state = torch.load(self.checkpoint, map_location=place, weights_only=True)
            if state["version"] != _CHECKPOINT_VERSION or state["spec"] != self.run.model_dump_json():
                raise TrainingError("it belongs to another run or another version of the program")
            if state["device"] != self.device.type:
                raise TrainingError(f"it was written on {state['device']}, and this is {self.device.type}")
        return state

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turns whatever is wrong with a checkpoint into one sentence."""
        try:
            yield
        except (LabError, OSError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
            why = " ".join(str(error).split())[:200]
            raise TrainingError(
                f"The checkpoint {self.checkpoint.name} cannot be used ({why}); delete it and start the run again."
            ) from error

    def _resume(self, state: dict[str, Any] | None) -> int | None:
        """Tasks finished in the checkpoint, after loading it; None when there is none."""
        if state is None:
            return None
        with self._refusing():
            for learner, saved in zip(self.learners, state["learners"], strict=True):
                learner.load_state_dict(saved)
        self.test, self.validation, self.footprints = state["test"], state["validation"], state["footprints"]
        self.report(Resumed(from_seq=state["seq"], task=state["tasks"]))
        return state["tasks"]


def _wake(device: torch.device) -> None:
    """One step of a single number: what torch loads with a process's first step must not count as training time."""
    weight = torch.nn.Parameter(torch.zeros(1, 1, 1, device=device))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    torch.bmm(weight, weight).sum().backward()
    optimizer.step()


class _Announcer:
    """Passes on what a benchmark says while it loads, and reports it as events, a few per second."""

    _EVERY = 0.25  # seconds

    def __init__(self, report: Report, announce: Announce, control: Control):
        self._report, self._announce, self._control = report, announce, control
        self._last: tuple[str, float] = ("", 0.0)

    def __call__(self, message: str, share: float | None) -> None:
        self._control.at_step()
        self._announce(message, share)
        now = time.monotonic()
        if message != self._last[0] or now - self._last[1] >= self._EVERY or share == 1:
            self._last = (message, now)
            self._report(Preparing(message=message, share=share))


def chance_levels(stream: Stream) -> list[list[float | None]]:
    """(T+1, T): the accuracy of guessing, for each cell of the matrix. In the class scenario it falls as classes are seen."""
    tasks, classes = len(stream.tasks), stream.outputs if stream.course is not None else stream.classes_per_task
    if stream.scenario != "class":
        return [[1 / classes] * tasks for _ in range(tasks + 1)]
    return [[None] * tasks] + [
        [1 / (classes * seen) if j < seen else 0.0 for j in range(tasks)] for seen in range(1, tasks + 1)
    ]
