"""Random crops and flips of a mini-batch as one operation on the device: each image gets a *view* of its own.

A view is three small numbers (top, left, flipped), drawn per replica on the CPU, so that devices agree. The image with a border
of zeros on every side is cut at (top, left) and mirrored where it says so (He et al., CVPR 2016: 4 zeros around 32×32).

What is augmented: the mini-batches of the stream and the examples that a memory draws for replay, each draw anew. What is not:
evaluation, importance, herding, teachers' statistics, and anything that goes through a memory as a whole (GEM's constraints,
iCaRL's means): those look at the examples themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """`padding` zeros on every side to crop from; `flip`: every other image is mirrored left to right."""

    flip: bool
    padding: int = 4

    def draw(self, images: int, generator: torch.Generator) -> Tensor:
        """Views (images, 3) as bytes: top and left, from 0 to twice the padding, and whether to mirror."""
        views = torch.empty(images, 3, dtype=torch.uint8)
        views[:, :2] = torch.randint(2 * self.padding + 1, (images, 2), generator=generator)
        views[:, 2] = torch.randint(2 if self.flip else 1, (images,), generator=generator)
        return views

    def __call__(self, flat: Tensor, views: Tensor, shape: Sequence[int]) -> Tensor:
        """Images (K, B, d) of `shape` (C, H, W), black at 0, as their `views` (K, B, 3) show them: (K, B, d)."""
        channels, height, width = shape
        bordered = F.pad(flat.reshape(-1, channels, height, width), (self.padding,) * 4).flatten(2)  # (n, C, d')
        top, left, flipped = views.to(flat.device).long().view(-1, 3, 1).unbind(1)  # (n, 1) each
        columns = torch.arange(width, device=flat.device)
        columns = torch.where(flipped > 0, columns.flip(0), columns) + left  # (n, W)
        rows = torch.arange(height, device=flat.device) + top  # (n, H)
        pixels = rows.unsqueeze(2) * (width + 2 * self.padding) + columns.unsqueeze(1)  # (n, H, W)
        return bordered.gather(2, pixels.flatten(1).unsqueeze(1).expand(-1, channels, -1)).view_as(flat)
