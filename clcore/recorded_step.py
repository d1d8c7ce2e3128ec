"""A training step recorded once as a CUDA graph, and repeated from the recording.

A small network leaves a GPU idle: the kernels of a step take less time than Python takes to ask for them, one after another
(docs/speed.md). A CUDA graph asks for all of them at once. It repeats the very same operations on the very same memory, so a
method has to say that its step is of that kind (`Method.static_step`); each mini-batch is copied to where the recorded one lay.

The first steps of a phase are taken by Python, because that is when caches are filled and an optimizer makes its moments. So is
the last, which leaves Python's own state as any step leaves it, and so are steps that are unlike the recorded one.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from clcore.batch import Batch
from clcore.errors import TrainingError
from clcore.methods.base import Terms

Step = Callable[[Batch], Terms]
FIRST_BY_PYTHON = 3
FEWEST_STEPS = 30  # of a phase: a recording costs about as much as ten steps


class CudaGraph:
    """What a function does on the GPU, once recorded."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._terms: Terms = {}

    def record(self, function: Callable[[], Terms]) -> None:
        """Runs `function` without doing what it asks of the GPU. On a stream of its own, and no other than training's."""
        torch.cuda.synchronize()
        collecting = gc.isenabled()
        gc.disable()  # freeing memory of the GPU would end up in the recording
        try:
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._terms = function()
            finally:
                self._graph.capture_end()
        except RuntimeError as error:
            why = " ".join(str(error).split())[:200]
            raise TrainingError(
                f"The training step could not be recorded as a CUDA graph ({why}); set CLCORE_CUDA_GRAPHS=0 and start again."
            ) from error
        finally:
            if collecting:
                gc.enable()

    def replay(self) -> Terms:
        self._graph.replay()
        return self._terms


class RecordedStep:
    """Takes steps of one phase: by Python where it must, from the recording where it can."""

    def __init__(self, step: Step, graph: Callable[[], CudaGraph] = CudaGraph):
        self._step, self._make_graph = step, graph
        self._graph: CudaGraph | None = None
        self._taken = 0
        self._held: Batch | None = None

    def __call__(self, batch: Batch) -> Terms:
        if self._graph is None:
            self._taken += 1
            if self._taken <= FIRST_BY_PYTHON:
                return self._step(batch)
            self._held, self._graph = _copy(batch), self._make_graph()
            self._graph.record(self._recorded)
        elif _kind(batch) != _kind(self._held):
            return self._step(batch)
        torch._foreach_copy_(_tensors(self._held), _tensors(batch))
        # The next step writes its terms to the same place.
        terms = self._graph.replay().items()
        return {name: term.clone() if isinstance(term, Tensor) else term for name, term in terms}

    def _recorded(self) -> Terms:
        terms = self._step(self._held)
        for part in self._held.parts:
            part.kept.clear()
        return {name: term.detach() if isinstance(term, Tensor) else term for name, term in terms.items()}


@contextmanager
def training_stream(device: torch.device) -> Iterator[None]:
    """A stream for a phase's steps: graphs cannot be recorded on the default one, nor with tensors that wait for it."""
    before = torch.cuda.current_stream(device)
    own = torch.cuda.Stream(device)
    own.wait_stream(before)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        before.wait_stream(own)


def make_capturable(optimizer: torch.optim.Optimizer) -> None:
    """Adam counts its steps on the device, where a recording can go on counting."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True


def _copy(batch: Batch) -> Batch:
    """A batch of the same numbers elsewhere. It knows no epoch: a step that asked for it would not be repeatable."""
    names = ("x", "y", "weight", "count", "task", "ids", "fresh", "slots")
    values = {name: getattr(batch, name) for name in names}
    return replace(
        batch,
        **{name: value.clone() if isinstance(value, Tensor) else value for name, value in values.items()},
        stored={name: value.clone() for name, value in batch.stored.items()},
        replay=tuple(_copy(part) for part in batch.replay),
        epoch=(), ends=(), passes=(),
    )  # fmt: skip


def _tensors(batch: Batch) -> list[Tensor]:
    """All that a step may read of a batch, in a fixed order."""
    own = [batch.x, batch.y, batch.weight, batch.count, batch.ids, batch.task, batch.fresh, batch.slots]
    own += [batch.stored[name] for name in sorted(batch.stored)]
    return [t for t in own if isinstance(t, Tensor)] + [t for part in batch.replay for t in _tensors(part)]


def _kind(batch: Batch) -> tuple:
    """What the operations of a step depend on, beside the numbers."""
    shapes = tuple(tensor.shape for tensor in _tensors(batch))
    return shapes, *((part.padded, part.task if isinstance(part.task, int) else None) for part in batch.parts)
