"""Gradients that must not hurt the past: gradients on memory, and the nearest gradient that none of them objects to.

For memory gradients g_1 … g_n (rows of G) the gradient g becomes z = g + Gᵀv, where v solves GEM's dual problem

    min_v  ½ vᵀ(GGᵀ)v + (Gg)ᵀv   subject to  v ≥ γ            (Lopez-Paz & Ranzato, NeurIPS 2017, eq. 11)

only if some ⟨g, g_k⟩ < 0; else z is g, bit for bit. With γ = 0 that is the least-squares projection of g onto the cone
Gz ≥ 0; with γ > 0 every step that violates something adds at least γ·Σg_k. γ bounds the dual variables, as in the
paper's experiments: it does not mean ⟨z, g_k⟩ ≥ γ.

The problem has as many unknowns as there are past tasks, so it is solved exactly, by Lawson & Hanson's active-set
method for u = v − γ ≥ 0, for all replicas at once, in double precision, with all gradients scaled to length 1. So the
result is equivariant to the scale of the gradients. Published code adds an absolute ridge to GGᵀ (10⁻³), which
switches the projection off, down to the margin, once gradients are short; `ridge` does the same, and is 0 unless
asked for. Why our own: quadprog is GPL and fails when GGᵀ is singular (two tasks with the same data), and one call a
replica from Python costs more than the whole batch here.

Memory gradients are not differentiated one by one either. A linear layer's gradient is XᵀΔ for its inputs X and output
gradients Δ, so after one forward and backward pass over blocks of several tasks' examples each task's gradient is a product
of its own rows, left in its row of G without touching the parameters' own gradients. Other layers' gradients are asked of
torch, of one task at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from clcore.batch import Batch
from clcore.methods.parts.distillation import batch_mean
from clcore.methods.parts.vectors import per_replica
from clcore.networks.classifier import Classifier
from clcore.networks.layers import Linear, Recorded, recording
from clcore.state import Stateful

_LINE = 16  # floats: parameters start at multiples of a cache line, so no replica's block is misaligned
_PIECE = 1 << 14  # of long vectors: inner products are summed up in single precision within a piece, in double between them
_LONG_PIECE = 1 << 17  # of two alone, where every piece is a call; BLAS adds up several sums side by side
_RIDGE = 1e-10  # of the gradients' Gram matrix, scaled to ones on its diagonal
_SATISFIED = 1e-9  # a constraint violated by less (as a cosine) is satisfied


class Gradients:
    """`count` gradients of K replicas as rows of one tensor, `rows` (K, count, P). Working space: not part of any state."""

    def __init__(self, network: nn.Module, count: int):
        self.network = network
        self._spans: list[tuple[int, int]] = []
        end = 0
        for parameter in network.parameters():
            size = parameter[0].numel()
            self._spans.append((end, end + size))
            end += -(-size // _LINE) * _LINE
        # A Gaussian layer (bayesian.py) has further ones, which no product of inputs and output gradients gives.
        of_linear = {p for module in network.modules() if isinstance(module, Linear) for p in (module.weight, module.bias)}
        self._others = [p for p in network.parameters() if p not in of_linear]
        first = next(network.parameters())
        self.rows = torch.zeros(first.shape[0], count, end, device=first.device)

    def views(self, row: int) -> dict[nn.Parameter, Tensor]:
        """Row `row`, by parameter, in the parameters' shapes."""
        return self._shaped(self.rows[:, row])

    def _shaped(self, rows: Tensor) -> dict[nn.Parameter, Tensor]:
        """Rows (n, P) by parameter, in the parameters' shapes, of n replicas."""
        return {
            p: rows[:, start:stop].view(-1, *p.shape[1:])
            for p, (start, stop) in zip(self.network.parameters(), self._spans, strict=True)
        }

    @torch.no_grad()
    def read(self, row: int) -> None:
        """Copies the network's gradients into a row."""
        for parameter, view in self.views(row).items():
            if parameter.grad is None:
                view.zero_()
            else:
                view.copy_(parameter.grad)

    @property
    def separable(self) -> bool:
        """Whether the gradients of several sets of examples can be told apart after one pass: layers are `Linear`."""
        return not self._others

    def record(self, rows: Sequence[int], classifier: Classifier, batches: Iterable[Batch]) -> None:
        """Writes into each of n rows the gradient of the mean loss over all examples of one of n sets; zero where it is empty.

        A batch (K, n·R, …) has R examples of every set, or their padding, one set's below another's; n is 1 where gradients
        are not `separable`. Every example's softmax runs over its own task's units.
        """
        batches, others, sets = list(batches), self._others, (len(rows), -1)
        counts = sum(batch.weight.unflatten(1, sets).sum(2) for batch in batches)
        views = [self.views(row) for row in rows]
        for row in rows:
            self.rows[:, row].zero_()
        passed: dict[Linear, list[tuple[Tensor, Tensor]]] = {}
        for batch in batches:
            with recording(self.network, Linear) as tape:
                losses = classifier.sample_losses(batch)
            total = ((losses * batch.weight).unflatten(1, sets).sum(2) / counts.clamp_min(1)).sum()
            found = torch.autograd.grad(total, [record.outputs for record in tape] + others)
            for parameter, gradient in zip(others, found[len(tape) :], strict=True):
                views[0][parameter].add_(gradient)
            for record, delta in zip(tape, found[: len(tape)], strict=True):
                own = (record.inputs.detach().unflatten(1, sets), delta.unflatten(1, sets))
                passed.setdefault(record.layer, []).append(own)
        # All that is added to one place comes one after another, while the processor's cache still has it.
        for n, view in enumerate(views):
            for layer, products in passed.items():
                for inputs, delta in products:
                    view[layer.weight].baddbmm_(inputs[:, n].transpose(1, 2), delta[:, n])
                    view[layer.bias].add_(delta[:, n].sum(1))

    @torch.no_grad()
    def products(self) -> Tensor:
        """(K, count, count) the inner products of all rows, in double precision where the device has it."""
        precise = torch.float32 if self.rows.device.type == "mps" else torch.float64
        total: Tensor | None = None
        for piece in self.rows.split(_PIECE, dim=2):
            part = torch.bmm(piece, piece.transpose(1, 2)).to(precise)
            total = part if total is None else total + part
        return total

    @torch.no_grad()
    def add(self, shares: Tensor) -> None:
        """Adds shares·rows, `shares` (K, count − 1) of all rows but the last, to the network's gradients.

        A replica without shares keeps its gradients bit for bit, as long as its rows are finite.
        """
        shares = shares.to(self.rows)
        on_cpu = shares.device.type == "cpu"  # asking a GPU whether there is anything to add would wait for it
        for row, share in enumerate(shares.T):
            if on_cpu and not bool(share.any()):
                continue
            for parameter, view in self.views(row).items():
                if parameter.grad is not None:
                    parameter.grad.addcmul_(view, per_replica(share, view))


class Pairs(Gradients):
    """The gradients of a batch and of its replayed part, which pass through the network together, one replica after another.

    Every replica's gradient on replayed examples lies where that of the replica before it lay: in the processor's cache.
    """

    def __init__(self, network: nn.Module):
        """The network must be one that `stacks`."""
        super().__init__(network, 1)
        self._other = torch.zeros_like(self.rows[:1, 0])

    def of(
        self, classifier: Classifier, batch: Batch, *, given: bool = False
    ) -> tuple[Tensor, Iterator[tuple[Tensor, Tensor]]]:
        """(K,) the mean loss of the current examples, and two flat gradients (P,) for every replica: of that loss, which is the
        network's gradient too and may be changed, and of the mean loss of the replayed ones, which the next one overwrites.

        `given`: the network has its gradients already, of more than that loss, and they stand in the first one's place.
        """
        network = self.network
        # All that is asked of torch are gradients of the layers' outputs: the inputs carry the graph, and no weight's gradient
        # is made on the way.
        network.requires_grad_(False)
        try:
            traced = replace(batch, x=batch.x.detach().requires_grad_())
            with recording(network, Linear) as tape:
                means = list(map(batch_mean, classifier.all_losses(traced), traced.parts))
        finally:
            network.requires_grad_(True)
        found = torch.autograd.grad(torch.stack(means).sum(), [record.outputs for record in tape])
        if given:
            self.read(0)
        for parameter, view in self.views(0).items():
            parameter.grad = view
        return means[0].detach(), self._in_turn(tape, found, batch.x.shape[1], given)

    @torch.no_grad()
    def _in_turn(
        self, tape: Sequence[Recorded], found: Sequence[Tensor], rows: int, given: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """`found` (K, B + R, out): the gradients of the outputs on the `tape`. The first `rows` are the current examples'."""
        others = self._shaped(self._other)
        weights, biases = [], []
        for record, delta in zip(tape, found, strict=True):
            weight, bias = record.layer.weight, record.layer.bias
            inputs = record.inputs.detach().transpose(1, 2)
            products = [(others[weight].expand_as(weight), inputs[..., rows:], delta[:, rows:])]
            if not given:
                products.append((weight.grad, inputs[..., :rows], delta[:, :rows]))
                torch.sum(delta[:, :rows], 1, out=bias.grad)
            weights += [[values.split(1) for values in product] for product in products]
            biases.append((others[bias], delta[:, rows:].sum(1).split(1)))
        for k, (own,) in enumerate(self.rows):
            for grad, x, d in weights:
                # Adding a product to zeros takes a tenth less time than writing it: the cache has the lines by then.
                grad[k].zero_().baddbmm_(x[k], d[k])
            for grad, sums in biases:
                grad.copy_(sums[k])
            yield own, self._other[0]


def inner_product(a: Tensor, b: Tensor) -> float:
    """⟨a, b⟩ of long vectors (P,), in double precision but for pieces of them."""
    pieces = zip(a.split(_LONG_PIECE), b.split(_LONG_PIECE), strict=True)
    return sum(float(torch.dot(x, y)) for x, y in pieces)


class Conflicts(Stateful):
    """What a task's steps came to, per replica: sums over steps, kept on the device and read when somebody asks.

    Entries are (K, n) for n gradients on memory; a step counts for a gradient where that is not zero.
    """

    def __init__(self, replicas: int, count: int, device: torch.device):
        self.steps, self.violated, self.angle = (torch.zeros(replicas, count, device=device) for _ in range(3))
        self.removed = torch.zeros(replicas, device=device)

    def clear(self) -> None:
        for total in (self.steps, self.violated, self.angle, self.removed):
            total.zero_()

    @torch.no_grad()
    def saw(self, products: Tensor, v: Tensor) -> None:
        """One step's inner products (K, n+1, n+1) and dual variables (K, n), of the first n gradients on memory."""
        n = v.shape[1]
        lengths = products.diagonal(dim1=1, dim2=2).sqrt()
        some = lengths[:, :-1] * lengths[:, -1:] > 0
        cosine = products[:, :-1, -1] / (lengths[:, :-1] * lengths[:, -1:])
        self.steps[:, :n] += some
        self.violated[:, :n] += (cosine < 0) & some
        self.angle[:, :n] += torch.where(some, cosine.clamp(-1, 1).acos().rad2deg(), 0)
        taken = (products[:, :-1, :-1] * v.unsqueeze(1)).sum(2).mul_(v).sum(1).clamp_min(0).sqrt()
        self.removed += torch.where(lengths[:, -1] > 0, taken / lengths[:, -1], 0)

    def insight(self) -> dict[str, Tensor]:
        """Means over the task's steps: angles in degrees and the share of steps that violated, (K, n) and NaN where there
        was no gradient on memory; the length of what the projection added, relative to the gradient's, (K,)."""
        return {
            "gradient_angle": self.angle / self.steps,
            "violated_share": self.violated / self.steps,
            "length_removed": self.removed / self.steps.amax(1),
        }


def dual_variables(products: Tensor, margin: Tensor | float = 0.0, ridge: float = 0.0) -> Tensor:
    """(K, n) v of the problem above, from the inner products (K, n+1, n+1) of g_1 … g_n, g; zeros where nothing is violated.

    `margin` is γ, one for all or (K,); `ridge` is added to the diagonal of GGᵀ. The result is where `products` is; it is
    found on the CPU, so a GPU waits once.
    """
    given, products = products, products.cpu().double()
    gram, slope = products[:, :-1, :-1], products[:, :-1, -1]
    violated = (slope < 0).any(1)
    margin = torch.as_tensor(margin, dtype=torch.float64, device="cpu").expand(len(gram))
    if not bool(violated.any()):
        return torch.zeros_like(slope).to(given)
    gram = gram + ridge * torch.eye(gram.shape[1], dtype=gram.dtype)
    lengths = gram.diagonal(dim1=1, dim2=2).sqrt()
    # With u = v − γ the gradient to project is g' = g + γΣg_k.
    slope = slope + margin.unsqueeze(1) * gram.sum(2)
    shifted = products[:, -1, -1] + margin * (products[:, :-1, -1] + slope).sum(1)
    scale = lengths * shifted.clamp_min(0).sqrt().unsqueeze(1)
    cosines = gram / _or_one(lengths.unsqueeze(2) * lengths.unsqueeze(1))
    u = nonnegative(cosines, slope / _or_one(scale), violated)
    u = u * shifted.clamp_min(0).sqrt().unsqueeze(1) / _or_one(lengths)
    return torch.where(violated.unsqueeze(1), u + margin.unsqueeze(1), 0).to(given)


def nonnegative(matrix: Tensor, slope: Tensor, which: Tensor) -> Tensor:
    """(K, n) argmin_{u ≥ 0} ½uᵀAu + bᵀu for A `(K, n, n)`, positive semi-definite with ones on its diagonal, b `(K, n)`.

    Lawson & Hanson's active-set method, all problems `which` (K,) in step; zeros for the others. A problem's numbers do
    not depend on the others. Double precision on the CPU.
    """
    n = slope.shape[1]
    ridge = _RIDGE * torch.eye(n, dtype=matrix.dtype)
    u, free = torch.zeros_like(slope), torch.zeros_like(slope, dtype=torch.bool)
    barred = torch.zeros_like(free)  # let in and thrown out at once: rounding, not descent
    for _ in range(3 * n + 10):
        descent = -((matrix * u.unsqueeze(1)).sum(2) + slope)
        best, enters = descent.masked_fill(free | barred, -torch.inf).max(1)
        moving = which & (best > _SATISFIED)
        if not bool(moving.any()):
            break
        free = free | (moving.unsqueeze(1) & (torch.arange(n) == enters.unsqueeze(1)))
        while True:
            both = free.unsqueeze(2) & free.unsqueeze(1)
            system = torch.where(both, matrix, 0) + torch.diag_embed((~free).double()) + ridge
            aim = torch.linalg.solve(system, torch.where(free, -slope, 0))
            beyond = free & (aim <= 0) & moving.unsqueeze(1)
            stopped = beyond.any(1)
            u = torch.where((moving & ~stopped).unsqueeze(1), torch.where(free, aim, 0), u)
            if not bool(stopped.any()):
                break
            # Go towards the aim until the first variable reaches zero, and let that one go.
            ratio = torch.where(beyond, u / _or_one(u - aim), torch.inf)
            share = ratio.amin(1, keepdim=True)
            leaves = beyond & (ratio <= share)
            u = torch.where(stopped.unsqueeze(1), (u + share.nan_to_num(0, 0, 0) * (aim - u)).clamp_min(0), u)
            u = u.masked_fill(leaves, 0)
            free = free & ~leaves
            barred = barred | (leaves & (torch.arange(n) == enters.unsqueeze(1)))
    return u


def _or_one(values: Tensor) -> Tensor:
    """`values` to divide by: 1 where they are 0 (a gradient that is exactly zero constrains nothing)."""
    return torch.where(values == 0, 1, values)
