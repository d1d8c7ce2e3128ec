"""Growing networks: reserved units that nobody sees, dates of birth, and the search for units that matter."""

from __future__ import annotations

import math

import pytest
import torch

from clcore.methods.parts.growth import UNBORN, GrowingMLP, clear, connections, draw_incoming, duplicate, reached
from clcore.networks.mlp import MLP
from clcore.randomness import Generators

pytestmark = pytest.mark.usefixtures("one_thread")
K, TASKS, CLASSES = 3, 4, 3


def plain(hidden=(9, 6), inputs=8):
    return MLP((inputs,), TASKS * CLASSES, hidden, list(Generators(range(K), "w")))


def growing(hidden=(9, 6), room=(5, 7), inputs=8) -> GrowingMLP:
    groups = torch.eye(TASKS, dtype=torch.bool).repeat_interleave(CLASSES, dim=1)
    return GrowingMLP(plain(hidden, inputs), groups, room)


def grown(**shape) -> GrowingMLP:
    """Other numbers of units in every replica, born in tasks 1 and 2; every weight between existing units is random."""
    network = growing(**shape)
    network.growth.switch_on(torch.tensor([2, 0, 5]), 1)
    network.growth.switch_on(torch.tensor([1, 3, 9]), 2)
    fill(network)
    return network


@torch.no_grad()
def fill(network: GrowingMLP, share: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(3)
    units = network.growth.existing()
    rows = [torch.ones(K, network.layers[0].inputs, dtype=torch.bool), *units]
    outputs = torch.arange(network.head.width).expand(K, -1) < network.outputs
    for layer, a, b in zip(network.layers, rows, [*units, outputs], strict=True):
        drawn = torch.randn(layer.weight.shape, generator=generator)
        kept = torch.rand(layer.weight.shape, generator=generator) < share
        layer.weight.copy_(drawn * kept * connections(a, b))
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * b)


def x(n=16, inputs=8):
    return torch.rand(K, n, inputs, generator=torch.Generator().manual_seed(9))


def slice_of(network: GrowingMLP, task: int, k: int, inputs: torch.Tensor) -> torch.Tensor:
    """The logits of one replica from matrices cut to the units that a task sees."""
    rows, h = torch.arange(network.layers[0].inputs), inputs
    for layer, on in zip(network.layers[:-1], network.growth.visible(task), strict=True):
        columns = on[k].nonzero().flatten()
        h = torch.relu(h @ layer.weight[k][rows][:, columns] + layer.bias[k][columns])
        rows = columns
    return h @ network.head.weight[k][rows][:, : network.outputs] + network.head.bias[k][: network.outputs]


@pytest.mark.parametrize("shape", [{}, {"hidden": (9, 6), "room": (0, 0)}, {"hidden": (5,), "room": (3,), "inputs": 7}])
def test_before_it_grows_it_is_the_plain_network(shape):
    network, inputs = growing(**shape), shape.get("inputs", 8)
    ours = plain(shape.get("hidden", (9, 6)), inputs)
    torch.testing.assert_close(network(x(inputs=inputs)), ours(x(inputs=inputs)))
    assert network.parameter_count.tolist() == [ours.parameter_count] * K


@pytest.mark.parametrize("shape", [{}, {"hidden": (5,), "room": (3,), "inputs": 7}])
def test_a_task_is_computed_as_if_cut_out(shape):
    network = grown(**shape)
    inputs = x(inputs=shape.get("inputs", 8))
    for task in range(TASKS):
        logits = network(inputs, task)
        for k in range(K):
            torch.testing.assert_close(logits[k], slice_of(network, task, k, inputs[k]), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network(inputs, 0), network(inputs, 1))


@pytest.mark.parametrize("task", [0, 1])
def test_what_a_task_does_not_see_does_not_reach_it_by_a_bit(task):
    network = grown()
    network.growth.left[1][:, 1, 2] = True
    before = network(x(), task)
    for (own, following), on in zip(
        zip(network.layers[:-1], network.layers[1:], strict=True), network.growth.visible(task), strict=True
    ):
        with torch.no_grad():
            for weight, hidden in ((own.weight, ~on.unsqueeze(1)), (following.weight, ~on.unsqueeze(2))):
                weight.copy_(torch.where(hidden, torch.randn_like(weight) * 100, weight))
            own.bias.copy_(torch.where(on, own.bias, 100.0))
    assert torch.equal(network(x(), task), before)


def test_units_in_reserve_get_no_gradient():
    network = grown()
    network.look_at(2)
    network(x()).square().sum().backward()
    for layer, on in zip(network.layers[:-1], network.growth.existing(), strict=True):
        assert torch.all(layer.weight.grad[(~on).unsqueeze(1).expand_as(layer.weight)] == 0)
        assert torch.all(layer.bias.grad[~on] == 0) and bool((layer.bias.grad[on] != 0).any())
    last = network.growth.existing()[-1]
    assert torch.all(network.head.weight.grad[(~last).unsqueeze(2).expand_as(network.head.weight)] == 0)


def test_units_are_switched_on_one_after_another_as_far_as_they_go():
    growth = growing().growth
    assert growth.widths().tolist() == [[9, 6]] * K
    new = growth.switch_on(torch.tensor([0, 2, 6]), 3)
    assert [units.sum(1).tolist() for units in new] == [[0, 2, 5], [0, 2, 6]]
    assert growth.born[0][1].tolist() == [0] * 9 + [3, 3] + [UNBORN] * (len(growth.born[0][1]) - 11)
    assert growth.widths().tolist() == [[9, 6], [11, 8], [14, 12]]
    assert growth.widths(2).tolist() == [[9, 6]] * K and growth.widths(3).tolist() == growth.widths().tolist()
    again = growth.switch_on(torch.tensor([9, 9, 9]), 3)
    assert [units.sum(1).tolist() for units in again] == [[5, 3, 0], [7, 5, 1]]
    assert not any(bool((a & b).any()) for a, b in zip(new, again, strict=True))
    assert not any(bool(free.any()) for free in growth.free())
    growth.switch_off(again)
    assert growth.widths().tolist() == [[9, 6], [11, 8], [14, 12]]
    assert growth.by_birth(TASKS)[2].tolist() == [[9, 0, 0, 5], [6, 0, 0, 6]]


def test_the_closed_formulas():
    network = grown()
    widths, growth = network.growth.widths().tolist(), network.growth
    hidden = [9 * a + (a + 1) * b for a, b in widths]
    assert growth.hidden_parameters(8).tolist() == hidden
    heads = [sum((growth.widths(t)[k, 1].item() + 1) * CLASSES for t in range(TASKS)) for k in range(K)]
    assert network.parameter_count.tolist() == [h + e for h, e in zip(hidden, heads, strict=True)]
    bits = [math.ceil(a / 8) + math.ceil(b / 8) for a, b in widths]
    assert growth.stamp_bytes(3).tolist() == [a + b + 2 * n for (a, b), n in zip(widths, bits, strict=True)]
    assert growth.stamp_bytes(1).tolist() == [a + b for a, b in widths]


@pytest.mark.parametrize("share", [0.05, 0.15, 0.4])
@pytest.mark.parametrize("hidden, room", [((9, 6), (5, 7)), ((7, 6, 5), (3, 2, 4)), ((11,), (6,))])
def test_the_search_finds_what_brute_force_finds(share, hidden, room):
    """On random sparse networks with heads of several classes: a unit matters if some path from it to some output does."""
    network = growing(hidden=hidden, room=room)
    network.growth.switch_on(torch.tensor([1, 0, 4]), 1)
    fill(network, share)
    selected = 0
    for task in range(TASKS):
        outputs = torch.zeros(K, network.outputs, dtype=torch.bool)
        outputs[:, CLASSES * task : CLASSES * (task + 1)] = True
        found = reached(network.layers, outputs)
        for k in range(K):
            for at, units in enumerate(found):
                for unit in range(units.shape[1]):
                    assert bool(units[k, unit]) == _leads(network, at, unit, k, outputs[k])
        selected += sum(int(units.sum()) for units in found)
    assert 0 < selected < TASKS * int(network.growth.widths().sum())


def _leads(network, at, unit, k, outputs) -> bool:
    """Whether there is a path of non-zero weights, tried one by one."""
    following = network.layers[at + 1]
    for j in range(following.outputs):
        if following.weight[k, unit, j] != 0:
            if following is network.head:
                if outputs[j]:
                    return True
            elif _leads(network, at + 1, j, k, outputs):
                return True
    return False


def test_one_output_alone_is_not_enough_for_several_classes():
    network = growing()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.weight[:, 2, CLASSES + 1] = 1e-30
    for first, expected in ((CLASSES, {2}), (0, set())):
        outputs = torch.zeros(K, network.outputs, dtype=torch.bool)
        outputs[:, first : first + CLASSES] = True
        assert set(reached(network.layers, outputs)[1][0].nonzero().flatten().tolist()) == expected


def test_new_units_are_drawn_from_what_exists_by_each_replicas_own_generator():
    network, alone = growing(), growing()
    new = network.growth.switch_on(torch.tensor([2, 0, 4]), 1)
    below = network.growth.existing()[0]
    layer, before = network.layers[1], network.layers[1].weight.detach().clone()
    draw_incoming(layer, below, new[1], Generators(range(K), "new"))
    fresh = connections(below, new[1])
    assert torch.equal(layer.weight[~fresh], before[~fresh])
    assert torch.all(layer.weight[fresh] != 0) and torch.all(layer.bias[new[1]] == 0)
    for k, n in ((0, 11), (2, 13)):
        assert int(below[k].sum()) == n and layer.weight[k][fresh[k]].abs().max() <= 1 / math.sqrt(n)
    only = alone.growth.switch_on(torch.tensor([0, 0, 4]), 1)
    draw_incoming(alone.layers[1], alone.growth.existing()[0], only[1], Generators(range(K), "new"))
    assert torch.equal(alone.layers[1].weight[2], layer.weight[2])


def test_cleared_units_are_cut_off_on_both_sides():
    network = grown()
    gone = [torch.zeros_like(on) for on in network.growth.existing()]
    gone[0][0, 3] = gone[1][1, 7] = True
    before = [p.detach().clone() for p in network.parameters()]
    clear(network.layers, gone)
    before[0][0, :, 3] = before[1][0, 3] = before[2][0, 3] = 0
    before[2][1, :, 7] = before[3][1, 7] = before[4][1, 7] = 0
    assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


def test_copies_are_exact_and_the_furthest_come_first_where_room_is_short():
    network = grown()
    own, following = network.layers[0], network.layers[1]
    which = torch.zeros_like(network.growth.born[0], dtype=torch.bool)
    which[0, [1, 4, 8]] = True  # 2 free
    which[1, [0, 2]] = True  # 2 free
    which[2, [5]] = True  # none free
    order = torch.rand(which.shape, generator=torch.Generator().manual_seed(1))
    order[0, [1, 4, 8]] = torch.tensor([0.2, 0.9, 0.5])
    free = network.growth.free()[0]
    assert free.sum(1).tolist() == [2, 2, 0]
    before = [p.detach().clone() for p in (own.weight, own.bias, following.weight)]
    originals, copies = duplicate(own, following, which, order, free)
    assert [o.nonzero().flatten().tolist() for o in originals] == [[4, 8], [0, 2], []]
    assert bool((copies <= free).all()) and copies.sum(1).tolist() == [2, 2, 0]
    for k in range(K):
        pairs = {
            (before[0][k, :, a].tolist().__str__(), before[1][k, a].item(), before[2][k, a].tolist().__str__())
            for a in originals[k].nonzero().flatten().tolist()
        }
        made = {
            (own.weight[k, :, b].tolist().__str__(), own.bias[k, b].item(), following.weight[k, b].tolist().__str__())
            for b in copies[k].nonzero().flatten().tolist()
        }
        assert pairs == made
    for now, then, axis in ((own.weight, before[0], 1), (own.bias, before[1], None), (following.weight, before[2], 2)):
        untouched = ~copies if axis is None else (~copies).unsqueeze(axis).expand_as(now)
        assert torch.equal(now[untouched], then[untouched])


def test_growth_survives_saving():
    network, other = grown(), growing()
    other.growth.load_state_dict(network.growth.state_dict())
    other.load_state_dict(network.state_dict())
    assert all(torch.equal(network(x(), t), other(x(), t)) for t in range(TASKS))
