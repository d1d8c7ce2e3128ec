"""How many replicas train side by side, and whether a request fits into memory."""

from __future__ import annotations

import math

import psutil
import torch

from clcore import registry
from clcore.benchmarks.base import Benchmark, Stream
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.errors import RequestError, TooLarge
from clcore.spec import RunSpec

# Measured (docs/speed.md): beyond about this many bytes of weights side by side, a step falls out of the cache.
_CPU_CACHE_BYTES = 10 << 20
_IMPORTANCE_ROWS = 64  # that measures of importance look at together
_CPU_ACTIVATIONS_SHARE = 0.1  # of free memory
# Of the copies that a method declares (weights, gradients, two moments, importance, centre, two caches), those that any has.
_SHARED_COPIES = 4


def choose_device(wanted: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises RequestError for a device that this machine does not have."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if available[name]))
    if not available[wanted]:
        usable = ", ".join(name for name, there in available.items() if there)
        raise RequestError(f"This machine has no {wanted} device that torch can use; choose auto or one of: {usable}.")
    return torch.device(wanted)


def check_fits(run: RunSpec, benchmark: Benchmark, outputs: int, device: torch.device) -> None:
    """Raises TooLarge, with the estimate and what would fit, before the networks are allocated."""
    parameters = held_parameters(run, benchmark.facts.shape, outputs)
    replicas = len(run.replicas)
    data = benchmark.memory_estimate(replicas) + course_bytes(run, benchmark)
    fixed = data + activation_bytes(run, benchmark.facts.shape, outputs)  # of one: groups are as small as they have to be
    each = parameters * 4 * copies(run)
    free = free_bytes(device)
    if fixed + replicas * each <= free:
        return
    if data >= free:
        shrinking = benchmark.ways_to_shrink()
        raise TooLarge(
            f"The data of {run.benchmark} and the tables of its streams need about {data / 2**30:.1f} GiB, but "
            f"{free / 2**30:.1f} GiB are free on {device}: "
            + (f"it would take less with {shrinking}." if shrinking else "choose another device or benchmark.")
        )
    if fixed >= free:
        raise TooLarge(
            f"What a step of {run.batch_size} examples keeps of one network needs about {(fixed - data) / 2**30:.1f} GiB, but "
            f"{(free - data) / 2**30:.1f} GiB are free on {device} beside the data of {run.benchmark}: choose a smaller batch "
            "or network."
        )
    fitting = int((free - fixed) // each)
    advice = f"at most {fitting} replicas of this network would fit" if fitting else "choose a smaller network"
    raise TooLarge(
        f"{replicas} replicas of {parameters:,} parameters on {run.benchmark} need about "
        f"{(fixed + replicas * each) / 2**30:.1f} GiB, {data / 2**30:.1f} of them for its data, but {free / 2**30:.1f} GiB "
        f"are free on {device}: {advice}."
    )


def course_bytes(run: RunSpec, benchmark: Benchmark) -> int:
    """Of a stream without boundaries: the tables of the parts that are at hand at a time, for every seed."""
    if run.scenario != "task-free":
        return 0
    options = run.benchmark_options
    every = sum(benchmark.facts.train_counts)
    split = isinstance(benchmark, SplitBenchmark)
    examples = options["train_per_task"] or (every // options["tasks"] if split else every)
    parts = options["tasks"] if "joint" in run.method.parts else 1
    return len(run.grid.seeds) * parts * run.epochs * examples * (8 + 8 + 1)


def copies(run: RunSpec) -> int:
    """How many copies of its weights a replica needs at the most."""
    return _SHARED_COPIES + sum(registry.methods()[part].copies - _SHARED_COPIES for part in run.method.parts)


def parameter_count(run: RunSpec, input_shape: tuple[int, ...], outputs: int) -> int:
    return registry.design(run.network).count_parameters(input_shape, outputs)


def activation_bytes(run: RunSpec, input_shape: tuple[int, ...], outputs: int) -> int:
    """What one replica's forward passes of a step, or of an importance pass, keep for the backward pass."""
    passes = 2 if run.method.uses_memory else 1
    rows = max(passes * run.batch_size, _IMPORTANCE_ROWS)
    return 4 * rows * (math.prod(input_shape) + registry.design(run.network).count_activations(input_shape, outputs))


def held_parameters(run: RunSpec, input_shape: tuple[int, ...], outputs: int) -> int:
    """Numbers of one replica's network once its method has made room for what it will need."""
    design = registry.design(run.network)
    return max(
        registry.methods()[part].held_parameters(
            run.method.part_settings(part), design, input_shape, outputs, design.hidden, run.benchmark_options["tasks"]
        )
        for part in run.method.parts
    )


def free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def groups(run: RunSpec, stream: Stream, device: torch.device, vectorized: bool = True) -> list[list[int]]:
    """The run's replicas (by position) in the groups that train side by side. Results do not depend on it.

    torch's Adam counts steps once for all replicas; where its state is kept from task to task, replicas whose streams
    differ in length must not share a group.
    """
    everyone = list(range(len(run.replicas)))
    if not vectorized:
        return [[i] for i in everyone]
    clusters: dict[tuple[int, ...], list[int]] = {}
    for i in everyone:
        lengths = tuple(int(task.train.lengths[i]) for task in stream.tasks)
        uneven = run.optimizer_state == "keep" and run.optimizer.name != "sgd"
        clusters.setdefault(lengths if uneven else (), []).append(i)
    largest = _largest_group(run, stream, device)
    result = []
    for cluster in clusters.values():
        count = math.ceil(len(cluster) / largest)
        size = math.ceil(len(cluster) / count)
        result += [cluster[at : at + size] for at in range(0, len(cluster), size)]
    return result


def _largest_group(run: RunSpec, stream: Stream, device: torch.device) -> int:
    each = 4 * held_parameters(run, stream.input_shape, stream.outputs)
    activations = 2 * activation_bytes(run, stream.input_shape, stream.outputs)  # and their gradients
    if device.type == "cpu":
        return max(1, min(int(free_bytes(device) * _CPU_ACTIVATIONS_SHARE) // activations, 64, _CPU_CACHE_BYTES // each))
    return max(1, min(512, int(free_bytes(device) * 0.5) // (each * copies(run) + activations)))
