"""Normal numbers for every step of training: drawn on the CPU, many steps ahead, from one generator per replica."""

from __future__ import annotations

import torch
from torch import Tensor

from clcore.randomness import Generators, normals
from clcore.state import Stateful

_PREDRAWN = 1 << 17  # numbers drawn at once for one replica


class Normals(Stateful):
    """Standard normal numbers (K, rows, width), new ones at every `draw`."""

    context_fields = frozenset({"width", "device"})

    def __init__(self, generators: Generators, width: int, device: torch.device):
        self.generators = generators
        self.width, self.device = width, device
        self.restored()

    def restored(self) -> None:
        self._decks: dict[int, list[Tensor]] = {}

    def draw(self, rows: int) -> Tensor:
        if not self._decks.get(rows):
            # How many draws are made at once decides how far generators run: the group must not matter.
            ahead = max(1, _PREDRAWN // (rows * self.width))
            drawn = normals(self.generators, ahead * rows, self.width, self.device)
            self._decks[rows] = list(drawn.split(rows, 1))
        return self._decks[rows].pop()
