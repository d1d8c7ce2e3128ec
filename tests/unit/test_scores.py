"""Masks learned by scores: the gradient, the rules, one bit a weight."""

from __future__ import annotations

import copy

import pytest
import torch

from clcore.methods.parts.scores import (
    KeptMasks,
    above,
    largest,
    looking_through,
    masked_layers,
    packed,
    unpacked,
)
from clcore.networks.mlp import MLP
from clcore.randomness import Generators

pytestmark = pytest.mark.usefixtures("one_thread")
SEEDS = (3, 4, 5)


def network(hidden=(9, 5), outputs=3):
    return MLP((7,), outputs, hidden, list(Generators(SEEDS, "weights")))


def scored(net, *, head=True, rule=None):
    """Its layers, masked, with scores drawn at random."""
    layers = masked_layers(net, head=head)
    drawn = torch.Generator().manual_seed(1)
    for layer in layers:
        with torch.no_grad():
            layer.scores.normal_(generator=drawn)
        layer.rule = rule
    return layers


def inputs(rows=8):
    return torch.randn(len(SEEDS), rows, 7, generator=torch.Generator().manual_seed(2))


def test_without_a_rule_or_with_every_weight_on_it_is_the_plain_network_bit_for_bit():
    plain, net = network(), network()
    layers = scored(net)
    assert torch.equal(net(inputs()), plain(inputs()))
    for layer in layers:
        layer.rule = above(-100.0)
        assert bool(layer.current_mask().all())
    assert torch.equal(net(inputs()), plain(inputs()))
    assert net.head is net.layers[-1] is layers[-1]


def test_the_head_is_masked_only_if_asked():
    net = network()
    layers = masked_layers(net, head=False)
    assert layers == list(net.layers)[:2] and type(net.head).__name__ == "Linear"


def test_masks_are_boolean_like_the_weights_and_switch_weights_off():
    net = network()
    layers = scored(net, rule=above(0.0))
    for layer in layers:
        mask = layer.current_mask()
        assert mask.dtype == torch.bool and mask.shape == layer.weight.shape
        assert torch.equal(layer.effective_weight(), layer.weight * mask)
        assert 0 < mask.double().mean() < 1


def test_scores_get_the_gradient_of_the_mask_and_weights_their_own_part():
    """∂L/∂S = W ⊙ G and ∂L/∂W = m ⊙ G, with G the gradient of a weight that is W ⊙ m by itself."""
    net = network()
    layers = scored(net, rule=above(0.0))
    (net(inputs()) ** 2).sum().backward()
    effective = network()
    with torch.no_grad():
        for layer, own in zip(effective.layers, layers, strict=True):
            layer.weight.copy_(own.effective_weight())
    (effective(inputs()) ** 2).sum().backward()
    for layer, own in zip(effective.layers, layers, strict=True):
        assert torch.equal(own.scores.grad, own.weight * layer.weight.grad)
        assert torch.equal(own.weight.grad, own.current_mask() * layer.weight.grad)
        assert own.scores.grad[~own.current_mask()].any(), "what is off must be able to come back"


def test_frozen_weights_get_no_gradient():
    net = network()
    for layer in scored(net, rule=above(0.0)):
        layer.weight.requires_grad_(False)
    net(inputs()).sum().backward()
    assert all(layer.weight.grad is None and layer.scores.grad is not None for layer in net.layers)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 1.0])
def test_a_share_is_exact_per_layer_and_replica_also_with_ties(share):
    net = network()
    layers = scored(net)
    for layer in layers:
        mask = largest(share)(layer)
        assert mask.flatten(1).sum(1).tolist() == [max(1, int(share * layer.mask_bits + 0.5))] * 3
        chosen, left = layer.scores.abs()[mask], layer.scores.abs()[:, : layer.inputs, : layer.outputs]
        left = left[~mask[:, : layer.inputs, : layer.outputs]]
        if 0 < share < 1 and len(chosen):
            for k in range(3):
                inside = layer.scores[k].abs()[mask[k]].min()
                outside = layer.scores[k].abs()[: layer.inputs, : layer.outputs]
                assert inside >= outside[~mask[k, : layer.inputs, : layer.outputs]].max()
        with torch.no_grad():
            layer.scores.zero_()
        assert largest(share)(layer).flatten(1).sum(1).tolist() == [max(1, int(share * layer.mask_bits + 0.5))] * 3


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (3, 5), (13, 17), (2, 4)])
def test_packing_is_reversible_and_takes_a_bit_each(shape):
    mask = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)) > 0.4
    bits = packed(mask)
    n = mask[0].numel()
    assert bits.dtype == torch.uint8 and bits.shape == (3, -(-n // 8))
    assert torch.equal(unpacked(bits, n).view(mask.shape), mask)


def kept(hidden=(9, 5)):
    net = network(hidden)
    layers = scored(net, rule=above(0.0))
    masks = KeptMasks(layers, 3, len(SEEDS), torch.device("cpu"))
    return net, layers, masks


def test_kept_masks_are_those_that_were_learned_and_survive_a_checkpoint():
    net, layers, masks = kept()
    answers, learned = [], []
    for _ in range(2):
        for layer in layers:
            with torch.no_grad():
                layer.scores.copy_(layer.scores.roll(1, dims=2) * 1.1)
        answers.append(net(inputs()).detach())
        learned.append([layer.current_mask()[:, : layer.inputs, : layer.outputs] for layer in layers])
        masks.keep()
    state = copy.deepcopy(masks.state_dict())
    other = KeptMasks(layers, 3, len(SEEDS), torch.device("cpu"))
    other.load_state_dict(state)
    for held in (masks, other):
        for task in (0, 1, 0):
            with looking_through(layers, held.of(task)):
                assert torch.equal(net(inputs()), answers[task])
            for mask, layer, then in zip(held.of(task), layers, learned[task], strict=True):
                assert mask.dtype == torch.bool and mask.shape == layer.weight.shape
                assert torch.equal(mask[:, : layer.inputs, : layer.outputs], then)
                assert not mask[:, layer.inputs :].any() and not mask[..., layer.outputs :].any()
    assert not torch.equal(answers[0], answers[1])
    assert torch.equal(masks.common, other.common)


def test_density_and_overlap_count_weights():
    net, layers, masks = kept()
    sizes = torch.tensor([63, 45, 15])
    for layer in layers:
        layer.rule = None
    masks.keep()  # the first task uses all weights
    for layer in layers:
        layer.rule = above(0.0)
    masks.keep()
    for layer in layers:
        layer.rule = above(0.5)
    masks.keep()
    pictures = masks.insight()
    assert pictures["mask_density"].shape == (3, 3, 3) and pictures["mask_overlap"].shape == (3, 3, 3)
    every = [torch.cat([(x.scores > t)[:, : x.inputs, : x.outputs].flatten(1) for x in layers], 1) for t in (-9, 0, 0.5)]
    for s, a in enumerate(every):
        for t, b in enumerate(every):
            expected = (a & b).sum(1).double() / (a | b).sum(1)
            torch.testing.assert_close(pictures["mask_overlap"][:, s, t], expected)
        per_layer = torch.stack([part.sum(1) for part in a.split(sizes.tolist(), 1)], 1)
        torch.testing.assert_close(pictures["mask_density"][:, s], per_layer / sizes.double())
    assert masks.footprint() == {"masks": 2 * (8 + 6 + 2)}  # ⌈63/8⌉ + ⌈45/8⌉ + ⌈15/8⌉, twice; all weights cost nothing


def test_looking_through_a_mask_ends_even_after_an_error():
    net, layers, masks = kept()
    masks.keep()
    before = net(inputs())
    with pytest.raises(RuntimeError), looking_through(layers, None):
        assert not torch.equal(net(inputs()), before)
        raise RuntimeError
    assert torch.equal(net(inputs()), before)


def test_what_is_switched_off_may_be_anything():
    net, layers, masks = kept()
    masks.keep()
    with looking_through(layers, masks.of(0)):
        before = net(inputs())
        with torch.no_grad():
            for layer, mask in zip(layers, masks.of(0), strict=True):
                layer.weight[~mask] = torch.nan
        assert torch.equal(net(inputs()), before) and bool(before.isfinite().all())
