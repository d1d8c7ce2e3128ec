"""Split CIFAR-100: 100 classes of small photographs, dealt out to 10 tasks of 10, 20 of 5, or superclass by superclass.

10 tasks in a shuffled order are iCaRL's protocol (Rebuffi et al., CVPR 2017), 20 tasks of 5 A-GEM's (Chaudhry et al., ICLR
2019), and one superclass a task that of Split CIFAR-100 by superclass (Yoon et al., ICLR 2018 and 2020). Publications shuffle
with a seed of their own (iCaRL: 1993), so their order of classes is not any order here.
"""

from __future__ import annotations

from typing import Literal

import torch

from clcore.benchmarks.base import Progress
from clcore.benchmarks.cifar import CIFAR100, SUPERCLASSES, load_cifar
from clcore.benchmarks.colour import ColourSplit
from clcore.benchmarks.sources import Source
from clcore.catalogue import Training
from clcore.errors import RequestError
from clcore.knobs import knob


class SplitCIFAR100(ColourSplit):
    title = "Split CIFAR-100"
    summary = "60,000 colour photographs of 32×32 pixels in 100 classes; new classes arrive with every task."
    offline = False
    downloads = "CIFAR-100, 169 MB"
    training = Training(epochs=1, batch_size=32, lr=0.03, hidden=(256, 256))
    pictures = CIFAR100

    class Options(ColourSplit.Options):
        tasks: int = knob(
            10, ge=1, le=100, divides=100, help="number of tasks; the 100 classes are dealt out evenly: 10×10, 20×5, …"
        )
        order: Literal["natural", "seeded", "superclass"] = knob(
            "natural",
            help="natural: classes in the order of their names; seeded: each seed shuffles them; superclass: fish, flowers, "
            "trees …, so that 20 tasks are the 20 superclasses of 5 classes each",
        )

    def check_classes(self) -> None:
        tasks = self.options.tasks
        if self.options.order == "superclass" and len(SUPERCLASSES) % tasks:
            fitting = ", ".join(str(n) for n in range(1, 21) if len(SUPERCLASSES) % n == 0)
            raise RequestError(
                f"split-cifar100.tasks = {tasks} is not allowed with order = superclass: the 20 superclasses stay whole, so it "
                f"must divide 20: {fitting}."
            )

    def usual_order(self) -> torch.Tensor:
        if self.options.order != "superclass":
            return super().usual_order()
        label = {name: i for i, name in enumerate(self.facts.class_names)}
        return torch.tensor([label[name] for names in SUPERCLASSES.values() for name in names])

    def name_of_task(self, classes: list[int]) -> str:
        if self.options.order != "superclass":
            return super().name_of_task(classes)
        own = {self.facts.class_names[label] for label in classes}
        names = [name for name, members in SUPERCLASSES.items() if own & set(members)]
        return " · ".join(names) if len(names) <= 2 else f"{names[0]} … {names[-1]}"

    def images(self, progress: Progress) -> Source:
        return load_cifar("CIFAR100", CIFAR100, self.data_dir, progress)
