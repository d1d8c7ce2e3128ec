"""Who owns which weight: exact pruning, conservation, and the network through a task's eyes."""

import itertools

import pytest
import torch

from clcore.benchmarks.base import output_groups
from clcore.methods.parts.ownership import FREE, RESERVED, Ownership, equal_share, gradual, smallest
from clcore.networks.mlp import MLP
from clcore.randomness import Generators

pytestmark = pytest.mark.usefixtures("one_thread")
K, TASKS = 3, 4


def owned(hidden=(33, 17), tasks=TASKS, inputs=10):
    network = MLP((inputs,), 2 * tasks, hidden, list(Generators(range(K), "weights")))
    return Ownership(network, output_groups(tasks, 2, "task"))


def sizes(ownership):
    return [layer.inputs * layer.outputs for layer in ownership.layers]


@pytest.mark.parametrize("count", [0, 1, 2, 499, 500, 1000])
def test_exactly_as_many_as_asked_for_are_smallest_ties_or_not(count):
    values = torch.rand(K, 1000, generator=torch.Generator().manual_seed(0))
    values[:, 150:850] = 0  # a threshold at the 500th smallest would take all 700
    chosen = smallest(values, torch.ones(K, 1000, dtype=torch.bool), torch.full((K,), count))
    assert chosen.sum(1).tolist() == [count] * K
    largest_in = values.masked_fill(~chosen, -1).amax(1)
    smallest_out = values.masked_fill(chosen, 2).amin(1)
    assert bool((largest_in <= smallest_out).all())


def test_of_equal_sizes_those_that_come_first_go_and_others_are_never_touched():
    candidates = torch.tensor([[False, True, True, False, True, True]])
    chosen = smallest(torch.zeros(1, 6), candidates, torch.tensor([2]))
    assert chosen.tolist() == [[False, True, True, False, False, False]]
    assert smallest(torch.zeros(1, 6), candidates, torch.tensor([9])).equal(candidates)  # all there are
    assert not smallest(torch.zeros(1, 6), candidates, torch.tensor([-3])).any()
    assert smallest(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), torch.tensor([1])).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_pruning_frees_exactly_the_rounded_share_of_every_layer_and_sets_it_to_zero(share):
    ownership = owned()
    before = [layer.weight.detach().clone() for layer in ownership.layers]
    ownership.claim(0)
    ownership.prune(0, share)
    for layer, owner, n, was in zip(ownership.layers, ownership.owner, sizes(ownership), before, strict=True):
        free = owner == FREE
        assert free.flatten(1).sum(1).tolist() == [round(share * n)] * K
        assert bool((layer.weight[free] == 0).all()) and torch.equal(layer.weight[~free], was[~free])
        if 0 < share < 1:
            assert was[0][free[0]].abs().max() <= was[0][owner[0] == 0].abs().min()


def test_replicas_may_be_pruned_by_different_shares():
    ownership = owned()
    ownership.claim(0)
    ownership.prune(0, torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64))
    counts = ownership.counts(TASKS)
    for at, n in enumerate(sizes(ownership)):
        assert counts[:, at, -1].tolist() == [0, round(0.25 * n), n]


def test_shares_in_a_rising_series_count_what_was_freed_before():
    ownership = owned()
    ownership.claim(0)
    for share in (0.2, 0.5, 0.5, 0.4, 0.9):
        ownership.prune(0, share)
        expected = [round(min(0.9, max(share, 0.5 if share == 0.4 else 0)) * n) for n in sizes(ownership)]
        assert ownership.counts(TASKS)[0, :, -1].tolist() == expected


def test_owners_are_conserved_and_those_of_earlier_tasks_never_change():
    ownership = owned()
    seen = []
    for task, share in enumerate((0.7, 0.5, 0.3, 0.0)):
        ownership.claim(task)
        assert not ownership.counts(TASKS)[..., -1].any()
        ownership.prune(task, share)
        counts = ownership.counts(TASKS)
        assert counts.sum(2).tolist() == [sizes(ownership)] * K and bool((counts >= 0).all())
        for earlier, before in enumerate(seen):
            assert torch.equal(counts[..., earlier], before)
        seen.append(counts[..., task])
    assert not ownership.counts(TASKS)[..., -1].any()


@pytest.mark.parametrize("tasks", range(1, 12))
def test_equal_shares_differ_from_the_mean_by_at_most_one_weight(tasks):
    ownership = owned(tasks=tasks)
    for task in range(tasks):
        ownership.claim(task)
        ownership.prune(task, equal_share(task, tasks))
    counts = ownership.counts(tasks)
    for at, n in enumerate(sizes(ownership)):
        assert bool(((counts[:, at, :-1] - n / tasks).abs() <= 1).all()) and not counts[:, at, -1].any()


def test_a_task_keeps_one_weight_of_every_layer_that_has_one_left():
    ownership = owned(hidden=(2, 2), tasks=10)
    for task in range(10):
        ownership.claim(task)
        claimed = ownership.counts(10)[..., task]
        ownership.prune(task, equal_share(task, 10))
        kept = ownership.counts(10)[..., task]
        assert bool(((kept > 0) == (claimed > 0)).all())
    assert kept[:, 0].tolist() == [2] * K and not kept[:, 1].any()  # four weights do not suffice for ten tasks
    ownership = owned(hidden=(2, 2))
    ownership.claim(0)
    for share in (0.5, 0.9, 0.99):
        ownership.prune(0, torch.full((K,), share, dtype=torch.float64))
    assert ownership.counts(TASKS)[:, 1, 0].tolist() == [1] * K


def test_dead_units_belong_to_nobody_and_stay_zero():
    ownership = owned()
    assert any(layer.width > layer.outputs for layer in ownership.layers)
    ownership.claim(0)
    ownership.prune(0, 0.5)
    ownership.claim(1, Generators(range(K), "fresh"))
    for layer, owner in zip(ownership.layers, ownership.owner, strict=True):
        real = torch.zeros_like(owner, dtype=torch.bool)
        real[:, : layer.inputs, : layer.outputs] = True
        assert bool((owner[~real] == RESERVED).all()) and bool((owner[real] != RESERVED).all())
        assert bool((layer.weight[~real] == 0).all())


def test_fresh_weights_are_drawn_where_nobody_owns_them_whoever_draws_beside():
    ownership = owned()
    ownership.claim(0)
    ownership.prune(0, torch.tensor([0.9, 0.5, 0.0], dtype=torch.float64))
    before = [layer.weight.detach().clone() for layer in ownership.layers]
    draws = Generators(range(K), "fresh")
    ownership.claim(1, draws)
    for layer, owner, was in zip(ownership.layers, ownership.owner, before, strict=True):
        new = owner == 1
        assert bool((layer.weight[new] != 0).all()) and torch.equal(layer.weight[~new], was[~new])
        assert layer.weight[new].abs().max() <= layer.inputs**-0.5
    states = draws.state_dict()["states"]
    again = Generators(range(K), "fresh")
    ownership.claim(2, again)  # nothing is free any more: as much is drawn
    assert torch.equal(states, again.state_dict()["states"])


def test_masks_are_boolean_and_have_the_weights_shape():
    ownership = owned()
    for layer, owner, visible in zip(ownership.layers, ownership.owner, ownership.visible(0), strict=True):
        assert owner.dtype == torch.uint8 and visible.dtype == torch.bool
        assert owner.shape == visible.shape == layer.weight.shape


def test_an_answer_depends_on_nothing_that_the_task_does_not_see():
    ownership = owned()
    x = torch.randn(K, 8, 10, generator=torch.Generator().manual_seed(1))
    for task, share in enumerate((0.7, 0.5, 0.5)):
        ownership.claim(task, Generators(range(K), "fresh"))
        ownership.prune(task, share)
    before = [ownership.logits(x, task) for task in range(3)]
    network = ownership.network
    with torch.no_grad():
        for layer, hidden in zip(ownership.layers, ownership.visible(1), strict=True):
            layer.weight[~hidden] = torch.inf
        for parameter in (network.head.weight, network.head.bias):
            parameter[..., 4:] = torch.nan
    for task in range(2):
        assert torch.equal(ownership.logits(x, task), before[task])
    assert not torch.equal(ownership.logits(x, 2), before[2])
    with torch.no_grad():
        ownership.layers[0].weight[ownership.owner[0] == 1] += 0.1
    assert torch.equal(ownership.logits(x, 0), before[0]) and not torch.equal(ownership.logits(x, 1), before[1])


def test_other_tasks_outputs_are_zero_and_ones_own_are_the_networks():
    ownership = owned()
    ownership.claim(0)
    x = torch.randn(K, 8, 10, generator=torch.Generator().manual_seed(1))
    answer, plain = ownership.logits(x, 0), ownership.network(x)
    assert torch.equal(answer[..., :2], plain[..., :2]) and not answer[..., 2:].any()


def test_biases_that_were_kept_answer_for_their_task():
    ownership = owned()
    ownership.claim(0)
    x = torch.randn(K, 8, 10, generator=torch.Generator().manual_seed(1))
    before = ownership.logits(x, 0)
    ownership.keep_biases()
    with torch.no_grad():
        for layer in ownership.layers:
            layer.bias += 1
    assert torch.equal(ownership.logits(x, 0), before)
    assert torch.equal(ownership.logits(x, 1)[..., 2:4], ownership.network(x)[..., 2:4])  # the live ones


def test_footprint_is_the_closed_formula():
    ownership = owned(hidden=(33, 17))
    weights = 10 * 33 + 33 * 17
    assert [int(b) for b in ownership.footprint()["masks"]] == [-(-weights * 3 // 8)] * K  # 0 … 4 in three bits
    assert "biases" not in ownership.footprint()
    for _ in range(3):
        ownership.keep_biases()
    assert ownership.footprint()["biases"] == 2 * 4 * (33 + 17)
    assert owned(tasks=3).footprint()["masks"][0] == -(-weights * 2 // 8)
    assert owned(hidden=()).footprint() == {} and owned(hidden=()).insight() == {}


def test_the_ramp_starts_and_ends_where_it_should_and_only_rises():
    assert gradual(0.2, 0.8, 0.0) == pytest.approx(0.2) and gradual(0.2, 0.8, 1.0) == 0.8
    assert gradual(0.2, 0.8, -1.0) == pytest.approx(0.2) and gradual(0.2, 0.8, 7.0) == 0.8
    values = [gradual(0.2, 0.8, n / 50) for n in range(51)]
    assert all(a < b for a, b in itertools.pairwise(values))
    assert gradual(0.0, 1.0, 0.5) == pytest.approx(1 - 0.5**3)


def test_units_in_reserve_are_free_once_they_are_opened_replica_by_replica():
    network = MLP((10,), 8, (8, 6), list(Generators(range(K), "weights")))
    ownership = Ownership(network, output_groups(TASKS, 2, "task"), torch.tensor([[4, 3]] * K))
    assert ownership.counts(TASKS)[..., -1].tolist() == [[10 * 4, 4 * 3]] * K
    ownership.claim(0)
    ownership.open(torch.tensor([[4, 3], [6, 3], [8, 6]]))
    counts = ownership.counts(TASKS)
    assert counts[..., 0].tolist() == [[10 * 4, 4 * 3]] * K
    assert counts[..., -1].tolist() == [[0, 0], [10 * 2, 2 * 3], [10 * 4, 8 * 6 - 12]]
    assert not ownership.owner[1][1][:, 3:].ne(RESERVED).any()
    assert ownership.owner_bits().tolist() == [3 * 52, 3 * 78, 3 * 128]


def test_only_those_who_claim_get_weights_and_draw():
    ownership = owned()
    draws = Generators(range(K), "fresh")
    before = draws.state_dict()["states"]
    ownership.claim(0, draws, torch.tensor([True, False, True]))
    assert (ownership.counts(TASKS)[..., 0] > 0).all(1).tolist() == [True, False, True]
    after = draws.state_dict()["states"]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [False, True, False]
