"""Rotated streams: every task is the whole data set turned by one angle (Lopez-Paz & Ranzato, NeurIPS 2017).

Their code turns images with nearest-neighbour sampling; here a pixel is the bilinear mean of the four it falls between,
zero outside the image. That is a fixed linear map per (seed, task), four entries a pixel: a batch is four gathers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clcore.benchmarks.base import Inputs, StreamOptions
from clcore.benchmarks.sources import Source
from clcore.benchmarks.whole_sets import WholeSetBenchmark
from clcore.knobs import knob
from clcore.randomness import generator


def rotation_taps(height: int, width: int, degrees: float) -> tuple[Tensor, Tensor]:
    """The map that turns an image counter-clockwise about its centre, as taps into the image with a border of one zero.

    corners (d,): position, in the bordered image, of the upper left of the four pixels that make a pixel;
    weights (4, d): of upper left, upper right, lower left, lower right.
    """
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    right = column.flatten().double() - (width - 1) / 2
    up = (height - 1) / 2 - row.flatten().double()
    source_row = (height - 1) / 2 - (up * cos - right * sin)
    source_column = (width - 1) / 2 + (right * cos + up * sin)
    top, left = source_row.floor(), source_column.floor()
    low, beside = source_row - top, source_column - left
    inside = (top >= -1) & (top < height) & (left >= -1) & (left < width)
    corners = ((top + 1) * (width + 2) + left + 1).long()
    weights = torch.stack([(1 - low) * (1 - beside), (1 - low) * beside, low * (1 - beside), low * beside])
    return torch.where(inside, corners, 0), (weights * inside).float()


class RotatedInputs(Inputs):
    """Examples turned by their task's angle. `data` (N, (h + 2)·(w + 2)): images with a border of one zero."""

    def __init__(self, source: Source, shape: Sequence[int], rows: Tensor, corners: Tensor, weights: Tensor):
        """`corners` (S, T, d) and `weights` (S, T, 4, d) of `rotation_taps`."""
        super().__init__(source.data.flatten(1), shape, source.scale, rows, source.shift)
        border = self.shape[-1] + 2
        self.offsets = (0, 1, border, border + 1)
        self.corners = corners
        self.weights = weights * source.scale

    def fill(self, out: Tensor, task: int | Tensor, ids: Tensor) -> None:
        if isinstance(task, int):
            corners = self.corners[self.rows, task].unsqueeze(1)  # (K, 1, d)
            weights = self.weights[self.rows, task].unsqueeze(2)  # (K, 4, 1, d)
        else:
            corners = self.chosen(self.corners, task)  # (K, b, d)
            weights = self.chosen(self.weights, task).transpose(1, 2)  # (K, 4, b, d)
        examples = self.examples(ids)
        for tap, offset in enumerate(self.offsets):
            pixels = examples.gather(2, (corners + offset).expand(*ids.shape, -1))
            # Product and sum apart: fused, the last bit could depend on shapes, and so on the number of replicas.
            if tap == 0:
                torch.mul(pixels, weights[:, tap], out=out)
            else:
                out.add_(pixels * weights[:, tap])


class RotatedBenchmark(WholeSetBenchmark):
    """One angle per task in [0, max_angle), drawn from the stream's seed and the task's index.

    Without boundaries the stream may turn gradually: the angle grows with every example, from 0 to `max_angle`, in steps of at
    most a degree (a pixel at the edge of a 28 × 28 image moves a third of its width). No two of its tasks have a boundary then,
    and a task is only a place to test at: its test examples are turned as the stream has come to at the end of its T-th part.
    """

    scenarios = ("domain", "task", "task-free")
    default_scenario = "domain"

    class Options(StreamOptions):
        tasks: int = knob(5, ge=1, le=50, help="number of tasks, each with an angle of its own")
        angles: Literal["stratified", "uniform"] = knob(
            "stratified",
            help="stratified: task t draws from the t-th of T equal parts, angles grow; uniform: from the whole range",
        )
        max_angle: float = knob(180.0, ge=0, le=360, unit="°", help="angles lie between 0 and this")
        gradual: bool = knob(
            False, scenario="task-free",
            help="turn a little further with every example, from 0 to the largest angle, instead of changing from one angle to "
            "the next; there is nothing to blur then",
        )  # fmt: skip

    def arranged(self, source: Source) -> Source:
        return replace(source, data=F.pad(source.data, (1, 1, 1, 1)))

    @property
    def gradual(self) -> bool:
        return self.scenario == "task-free" and self.options.gradual

    def views(self) -> int:
        return max(1, math.ceil(self.options.max_angle / self.options.tasks)) if self.gradual else 1

    def angles(self, seed: int) -> list[float]:
        """The angle of every task, in degrees counter-clockwise; of every step of the turn where that is gradual."""
        if self.gradual:
            steps = self.options.tasks * self.views()
            return [self.options.max_angle * step / steps for step in range(1, steps + 1)]
        tasks, widest = self.options.tasks, self.options.max_angle
        draws = [
            torch.rand((), generator=generator(seed, f"stream/angle {t}"), dtype=torch.float64).item()
            for t in range(tasks)
        ]
        if self.options.angles == "uniform":
            return [widest * draw for draw in draws]
        return [widest * (t + draw) / tasks for t, draw in enumerate(draws)]

    def inputs(self, distinct: Sequence[int], rows: Tensor) -> Inputs:
        height, width = self.facts.shape[-2:]
        if self.gradual:  # every seed turns alike
            distinct, rows = distinct[:1], torch.zeros_like(rows)
        turns = {angle: rotation_taps(height, width, angle) for seed in distinct for angle in self.angles(seed)}
        taps = [[turns[angle] for angle in self.angles(seed)] for seed in distinct]
        corners = torch.stack([torch.stack([c for c, _ in row]) for row in taps]).to(self.device)
        weights = torch.stack([torch.stack([w for _, w in row]) for row in taps]).to(self.device)
        return RotatedInputs(self.source, self.facts.shape, rows, corners, weights)

    def task_names(self) -> list[str]:
        tasks, widest = self.options.tasks, self.options.max_angle
        if self.gradual:
            return [f"{widest * (t + 1) / tasks:.0f}°" for t in range(tasks)]
        if self.options.stream_seed is not None:
            return [f"{angle:.0f}°" for angle in self.angles(self.options.stream_seed)]
        if self.options.angles == "uniform":
            return [f"rotation {t + 1}" for t in range(tasks)]
        return [f"{widest * t / tasks:.0f}–{widest * (t + 1) / tasks:.0f}°" for t in range(tasks)]

    def input_bytes(self, rows: int) -> int:
        channels, height, width = self.facts.shape
        border = channels * ((height + 2) * (width + 2) - height * width)
        tables = rows * self.options.tasks
        if self.options.gradual:  # one for all seeds
            tables = self.options.tasks * max(1, math.ceil(self.options.max_angle / self.options.tasks))
        return self.facts.examples * border + (8 + 4 * 4) * tables * self.facts.numbers
