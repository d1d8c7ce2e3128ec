"""Made-up but plausible events of a run, the same every time: enough to fill a real store without training anything."""

from __future__ import annotations

import math

from clcore import accounting, metrics
from clcore import events as ev
from clcore.spec import ExperimentSpec, Grid, MethodChoice, Replica, RunSpec, make

KEPT = {"finetune": 0.55, "ewc": 0.78, "l2": 0.7, "er": 0.95, "joint": 1.0, "single": 1.0}


def experiment(
    *methods: str, benchmark="permuted-digits", scenario="domain", seeds=3, strengths=(), memories=(200,), **more
) -> tuple[RunSpec, ...]:
    choices = tuple(
        make(MethodChoice, name=name, strengths=tuple(strengths) if name == "ewc" else ())
        for name in methods or ("finetune",)
    )
    grid = Grid(seeds=tuple(range(seeds)), memories=tuple(memories))
    return make(ExperimentSpec, benchmark=benchmark, scenario=scenario, methods=choices, grid=grid, **more).runs()


def noise(*key: float) -> float:
    """A fixed number in -0.5..0.5 for a key."""
    return (math.sin(sum((i + 1) * 12.9898 * k for i, k in enumerate(key)) + 1) * 43758.5453) % 1 - 0.5


def accuracy(spec: RunSpec, replica: int, position: float, task: int) -> float:
    """On task `task` (1-based) with `position` tasks trained."""
    r = spec.replicas[replica]
    kept, learns = KEPT[spec.method.parts[0]], 0.97
    if r.strength is not None:
        stiff = math.log10(1 + r.strength) / 3
        kept, learns = 0.55 + 0.4 * min(stiff, 1), 0.97 - 0.35 * max(0.0, stiff - 0.5)
    level = min(1.0, (position - (task - 1)) * 2) * learns
    for _ in range(int(max(0.0, position - task) * 4)):
        level = 0.1 + (level - 0.1) * kept**0.25
    return min(1.0, max(0.0, level + 0.03 * noise(r.seed, task, round(position * 10))))


def recording(
    spec: RunSpec, *, points: int = 4, tasks: int = 5, until: float | None = None, diverged: tuple[int, ...] = ()
):
    """The events of a run, in order. `until`: tasks trained when it stops; `diverged` replicas blow up in task 2."""
    K = len(spec.replicas)
    infos = [
        ev.ReplicaInfo(seed=r.seed, strength=r.strength, memory=r.memory, digest=spec.digest(r)) for r in spec.replicas
    ]
    yield ev.RunStarted(
        method=spec.method.name, benchmark=spec.benchmark, scenario=spec.scenario,
        tasks=[f"task {j}" for j in range(1, tasks + 1)],
        replicas=infos,
        epochs=spec.epochs, chance=[[0.1] * tasks for _ in range(tasks + 1)],
        test_examples=[450] * tasks, train_examples=[1200] * tasks, device="cpu",
    )  # fmt: skip
    yield _row(spec, 0, tasks, diverged)
    end = tasks if until is None else until
    for k in range(1, tasks + 1):
        yield ev.PhaseStarted(task=k, name="train", replicas=list(range(K)))
        for n in range(1, spec.watch_switches + 1):
            if (at := k - 1 + n / 1000) <= end:
                yield ev.Evaluated(
                    task=k, position=at, step=n, switch=True, replicas=list(range(K)),
                    accuracy=[
                        [_value(spec, i, at, j, diverged) if j <= k else None for j in range(1, tasks + 1)]
                        for i in range(K)
                    ],
                )  # fmt: skip
        for p in range(1, points + 1):
            at = k - 1 + p / points
            if at > end:
                return
            if k == 2 and p == 2:
                for i in diverged:
                    yield ev.Diverged(replica=i, task=2, step=7, term="task")
            yield ev.Evaluated(
                task=k, position=at, step=p * 10, replicas=list(range(K)),
                accuracy=[
                    [_value(spec, i, at, j, diverged) if j <= k else None for j in range(1, tasks + 1)]
                    for i in range(K)
                ],
            )  # fmt: skip
        yield ev.Progress(
            task=k, position=float(k), replicas=list(range(K)), losses={}, train_samples=1200 * k * K,
            train_seconds=_seconds(spec) * k / tasks,
        )  # fmt: skip
        yield _row(spec, k, tasks, diverged)
    yield ev.RunFinished(result=result(spec, tasks, diverged))


def result(spec: RunSpec, tasks: int = 5, diverged: tuple[int, ...] = ()) -> dict:
    replicas = []
    for i, r in enumerate(spec.replicas):
        R = [_row(spec, k, tasks, diverged).test[i] for k in range(tasks + 1)]
        replicas.append({
            "seed": r.seed, "strength": r.strength, "memory": r.memory, "digest": spec.digest(r),
            "status": "diverged" if i in diverged else "finished", "accuracy_matrix": R, "validation_matrix": None,
            "footprint": footprint(r), "bytes": sum(footprint(r).values()), "footprint_per_task": [],
            "gradient_samples": 12_000 + 60 * (r.memory or 0), **metrics.summary(R, spec.scenario),
        })  # fmt: skip
    seconds = _seconds(spec)
    return {
        "method": spec.method.name, "status": "finished", "train_samples": 1200 * tasks * len(replicas),
        "train_seconds": seconds,
        "train_cpu_seconds": seconds, "gradient_samples": sum(r["gradient_samples"] for r in replicas),
        "protocol": accounting.protocol(spec, device="cpu", versions={"clcore": "0"}),
        "evaluation_seconds": 0.1, "replayed_samples": 0, "replicas": replicas,
    }  # fmt: skip


def _seconds(spec: RunSpec) -> float:
    return 1.0 + 0.5 * spec.method.uses_memory


def footprint(replica: Replica) -> dict[str, int]:
    return {"parameters": 70_000, "memory_samples": 72 * (replica.memory or 0)}


def play(store, spec: RunSpec, *, experiment: str | None = None, state: str = "running", **how) -> str:
    """Puts a recorded run into a store; returns its id."""
    run_id = store.add([spec], experiment=experiment, state=state)[0]
    store.append(run_id, list(enumerate(recording(spec, **how), start=1)))
    return run_id


def _row(spec: RunSpec, k: int, tasks: int, diverged: tuple[int, ...]) -> ev.TaskFinished:
    K = len(spec.replicas)
    test = [
        [0.1 if j > k else _value(spec, i, k, j, diverged) for j in range(1, tasks + 1)]
        if not (i in diverged and k >= 2) else [None] * tasks
        for i in range(K)
    ]  # fmt: skip
    blown = list(diverged) if k >= 2 else []
    return ev.TaskFinished(task=k, test=test, validation=None, footprint=[{"parameters": 1}] * K, diverged=blown)


def _value(spec, replica, at, task, diverged) -> float | None:
    return None if replica in diverged and at > 1.25 else accuracy(spec, replica, at, task)
