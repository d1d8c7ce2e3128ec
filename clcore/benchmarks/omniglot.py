"""Omniglot: every alphabet is a task (Lake et al., Science 2015; as a stream of 50 tasks: Schwarz et al., ICML 2018).

Alphabets have 14 to 55 characters. Every task takes the same number of them (`characters`, 10 unless asked otherwise), so
that tasks are equally hard, outputs are shared in the domain scenario and a budget of memory divides evenly; 14 is the most
that all alphabets have. Schwarz et al. give a task all characters of its alphabet and split the drawings at random; here the
last 4 of the 20 people who drew an alphabet are the test set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import torch

from clcore.benchmarks.base import Progress
from clcore.benchmarks.class_splits import SplitBenchmark
from clcore.benchmarks.omniglot_files import PEOPLE, SIDE, TRAIN_PEOPLE, alphabets, load_omniglot
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.catalogue import Training
from clcore.errors import RequestError
from clcore.knobs import knob
from clcore.randomness import generator


class Omniglot(SplitBenchmark):
    title = "Omniglot"
    summary = "Characters of 50 alphabets, drawn by 20 people each, 28×28 pixels; every task is another alphabet."
    default_scenario = "task"
    offline = False
    downloads = "Omniglot, 16 MB"
    training = Training(epochs=20, batch_size=16, lr=0.1, hidden=(256, 256))

    class Options(SplitBenchmark.Options):
        tasks: int = knob(10, ge=1, le=50, help="number of alphabets")
        characters: int = knob(10, ge=2, le=14, help="characters taken of each alphabet; the smallest has 14")
        order: Literal["natural", "seeded"] = knob(
            "natural",
            help="natural: alphabets by name, and their first characters; seeded: each seed shuffles the alphabets and draws "
            "the characters",
        )
        alphabets: Literal["all", "small1", "small2"] = knob(
            "all", help="all: 50 alphabets; small1, small2: the authors' two small selections of 5, 3 MB together"
        )

    @cached_property
    def facts(self) -> SourceFacts:
        names = tuple(
            f"{_readable(name)} {i + 1}" for name, n in alphabets(self.options.alphabets).items() for i in range(n)
        )
        return SourceFacts(
            shape=(1, SIDE, SIDE),
            train_counts=(TRAIN_PEOPLE,) * len(names),
            test_counts=(PEOPLE - TRAIN_PEOPLE,) * len(names),
            class_names=names,
        )

    @property
    def classes_per_task(self) -> int:
        return self.options.characters

    def check_classes(self) -> None:
        if self.options.tasks > (n := len(alphabets(self.options.alphabets))):
            raise RequestError(
                f"omniglot.tasks = {self.options.tasks} is not allowed: alphabets = {self.options.alphabets} has {n}; give a "
                f"whole number from 1 to {n}, or choose alphabets = all."
            )

    def class_order(self, seed: int) -> torch.Tensor:
        tasks, characters = self.options.tasks, self.options.characters
        counts = torch.tensor(list(alphabets(self.options.alphabets).values()))
        first = counts.cumsum(0) - counts  # of each alphabet's classes
        if self.options.order == "natural":
            return first[:tasks].unsqueeze(1) + torch.arange(characters)
        draw = generator(seed, "stream/order")
        chosen = torch.randperm(len(counts), generator=draw)[:tasks].tolist()
        return torch.stack([first[a] + torch.randperm(int(counts[a]), generator=draw)[:characters] for a in chosen])

    def _bound(self, counts: Sequence[int], task: int, choose: Callable) -> int:
        return counts[0] * self.options.characters  # every character has as many drawings

    def name_of_task(self, classes: list[int]) -> str:
        return self.facts.class_names[classes[0]].rpartition(" ")[0]

    def load(self, progress: Progress) -> Source:
        return load_omniglot(self.options.alphabets, self.data_dir, progress)


def _readable(name: str) -> str:
    return name.replace("_", " ").replace("Canadian Aboriginal Syllabics", "Canadian")
