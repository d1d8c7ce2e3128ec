"""Hidden nodes: their activity, and what is done to them as a whole, against closed forms."""

import math

import pytest
import torch

from clcore import registry
from clcore.methods.parts.nodes import activity, draw_share, hidden_layers
from clcore.networks.mlp import MLP
from clcore.randomness import Generators
from clcore.spec import NetworkChoice, make
from tests.training_cases import digits_run, learner_for

pytestmark = pytest.mark.usefixtures("one_thread")
K = 3


def network(hidden=(9, 5), inputs=8, outputs=6):
    return MLP((inputs,), outputs, hidden, list(Generators(range(K), "w")))


def with_group(values):
    """A layer whose node 0 has two incoming numbers, one weight and its bias; the rest is untouched."""
    (layer,) = hidden_layers(network(hidden=(4,), inputs=1))
    with torch.no_grad():
        layer.own.weight[:, 0, 0], layer.own.bias[:, 0] = values
    return layer


def origin(layer):
    return [torch.zeros_like(p) for p in layer.incoming]


def group(layer, node=0):
    return torch.stack([layer.own.weight[0, 0, node], layer.own.bias[0, node]]).detach()


def reach(layer, value):
    return torch.full_like(layer.own.bias, value)


def test_the_graph_leaves_out_the_head():
    net = network()
    layers = hidden_layers(net)
    assert [(a.own, a.next) for a in layers] == [(net.layers[0], net.layers[1]), (net.layers[1], net.head)]
    assert [a.nodes for a in layers] == [9, 5] and [a.parameter_count for a in layers] == [9 * 9, 10 * 5]
    assert layers[1].own.width == 8 and layers[1].real.tolist() == [True] * 5 + [False] * 3
    assert hidden_layers(network(hidden=())) == []


def test_a_pull_is_the_closed_form():
    layer = with_group((3.0, 4.0))
    layer.pull(origin(layer), reach(layer, 2.0))
    torch.testing.assert_close(group(layer), torch.tensor([1.8, 2.4]))


@pytest.mark.parametrize("tau", [5.0, 7.0, math.inf])
def test_a_pull_beyond_the_group_ends_exactly_at_its_centre(tau):
    layer = with_group((3.0, 4.0))
    layer.pull(origin(layer), reach(layer, tau))
    assert group(layer).tolist() == [0.0, 0.0]
    layer = with_group((3.0, 4.0))
    centre = [torch.full_like(p, 0.1) for p in layer.incoming]
    layer.pull(centre, reach(layer, tau))
    assert all(torch.equal(p.detach(), c) for p, c in zip(layer.incoming, centre, strict=True))


def test_a_pull_of_reach_0_moves_no_bit():
    net = network()
    for layer in hidden_layers(net):
        before = [p.detach().clone() for p in layer.incoming]
        layer.pull([torch.rand_like(p) for p in layer.incoming], reach(layer, 0.0))
        assert all(torch.equal(p, b) for p, b in zip(layer.incoming, before, strict=True))


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_a_group_that_is_at_its_centre_stays(tau):
    layer = with_group((0.0, 0.0))
    layer.pull(origin(layer), reach(layer, tau))
    assert group(layer).tolist() == [0.0, 0.0]


def test_each_node_of_each_replica_has_a_reach_of_its_own():
    layer = with_group((3.0, 4.0))
    before = [p.detach().clone() for p in layer.incoming]
    tau = reach(layer, 0.0)
    tau[1, 0] = 2.0
    layer.pull(origin(layer), tau)
    assert [p[1, ..., 0].flatten().tolist() for p in layer.incoming] == [[pytest.approx(1.8)], [pytest.approx(2.4)]]
    for p, b in zip(layer.incoming, before, strict=True):
        assert torch.equal(p[[0, 2]], b[[0, 2]]) and torch.equal(p[1, ..., 1:], b[1, ..., 1:])


def test_a_pull_is_the_minimum_of_its_objective_and_brings_points_no_further_apart():
    g = torch.Generator().manual_seed(0)
    for tau in (0.1, 1.0, 3.0):
        starts, ends = [], []
        for _ in range(2):
            start = torch.randn(2, generator=g) * 2
            layer = with_group(start.tolist())
            layer.pull(origin(layer), reach(layer, tau))
            end = group(layer)
            objective = [
                (v - start).square().sum(-1) / 2 + tau * v.norm(dim=-1)
                for v in (end, end + 0.05 * torch.randn(200, 2, generator=g))
            ]
            assert objective[0] <= objective[1].min() + 1e-6
            starts.append(start)
            ends.append(end)
        assert (ends[0] - ends[1]).norm() <= (starts[0] - starts[1]).norm() + 1e-6


def test_silence_cuts_what_a_node_feeds():
    net = network()
    first, second = hidden_layers(net)
    which = torch.zeros(K, first.own.width, dtype=torch.bool)
    which[1, 3] = True
    before = first.next.weight.detach().clone()
    first.silence(which)
    assert torch.all(first.next.weight[1, 3] == 0)
    before[1, 3] = 0
    assert torch.equal(first.next.weight, before)
    before = net.head.weight.detach().clone()
    which = torch.zeros(K, second.own.width, dtype=torch.bool)
    which[2, 4] = True
    second.silence(which, torch.tensor([False, False, True, True, False, False]))
    before[2, 4, 2:4] = 0
    assert torch.equal(net.head.weight, before)


def test_renewed_nodes_are_drawn_as_a_new_layer_is():
    layer = hidden_layers(network(hidden=(400, 5)))[0]
    before = [p.detach().clone() for p in layer.incoming]
    which = torch.zeros(K, 400, dtype=torch.bool)
    which[0, ::2] = which[2, :300] = True
    layer.renew(which, Generators(range(K), "fresh"))
    bound = 1 / math.sqrt(8)
    for p, b in zip(layer.incoming, before, strict=True):
        columns = which.unsqueeze(1).expand_as(p) if p.dim() == 3 else which
        assert torch.equal(p[~columns], b[~columns]) and torch.all(p[columns] != b[columns])
        assert p[columns].abs().max() <= bound
        assert p[columns].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert not torch.equal(layer.own.weight[0, :, 0], layer.own.weight[2, :, 0])


def test_renewing_leaves_dead_inputs_dead():
    second = hidden_layers(network(hidden=(9, 5), inputs=7))[1]
    assert second.own.weight.shape[1] > 9
    second.renew(second.real.expand(K, -1), Generators(range(K), "fresh"))
    assert torch.all(second.own.weight[:, 9:] == 0) and torch.all(second.own.weight[:, :9] != 0)


def test_renewing_leaves_dead_units_dead():
    second = hidden_layers(network(hidden=(9, 5)))[1]
    assert second.own.width > 5
    second.renew(second.real.expand(K, -1), Generators(range(K), "fresh"))
    assert torch.all(second.own.weight[..., 5:] == 0) and torch.all(second.own.bias[:, 5:] == 0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_the_share_that_is_drawn(share):
    which = torch.zeros(K, 40, dtype=torch.bool)
    which[0], which[1, 5:18] = True, True
    drawn = draw_share(which, share, Generators(range(K), "draw"))
    assert not bool((drawn & ~which).any())
    assert drawn.sum(1).tolist() == [n - int(n * (1 - share)) for n in (40, 13, 0)]
    if 0 < share < 1:
        other = draw_share(which[[0, 0, 0]], share, Generators(range(K), "draw"))
        assert torch.equal(other[0], drawn[0]) and not torch.equal(other[0], other[1])


def activity_case(**case):
    learner = learner_for(digits_run("finetune", seeds=range(K), hidden=(9, 5), **case))
    return learner.classifier.network, learner.stream.tasks[0].train


@pytest.mark.parametrize("chunk", [7, 64, 5000])
def test_activity_is_the_mean_of_what_comes_out_of_the_relu(chunk):
    """Whatever the chunks, and although every replica has another number of examples."""
    net, split = activity_case(benchmark="split-digits", scenario="task", options={"order": "seeded"})
    assert len(set(split.lengths.tolist())) > 1
    found = activity(net, hidden_layers(net), split, chunk=chunk)
    for k, n in enumerate(split.lengths.tolist()):
        x, _ = split.gather((torch.arange(split.width) % n).expand(K, -1))
        h = x.flatten(2)[k, :n]
        for layer, own in zip(net.layers, found, strict=False):
            h = torch.relu(h @ layer.weight[k] + layer.bias[k])
            torch.testing.assert_close(own[k], h.mean(0).detach(), rtol=1e-5, atol=1e-6)


def test_a_silent_node_has_activity_exactly_0():
    net, split = activity_case()
    with torch.no_grad():
        net.layers[0].weight[:, :, 2], net.layers[0].bias[:, 2] = 0, 0
        net.layers[1].weight[:, :, 1], net.layers[1].bias[:, 1] = 0, -1
        net.layers[1].bias[:, 3] = 1
    first, second = activity(net, hidden_layers(net), split)
    assert torch.all(first[:, 2] == 0) and torch.all(second[:, 1] == 0) and torch.all(second[:, 3] > 0)
    assert torch.all(second[:, 5:] == 0)
    assert activity(network(hidden=()), [], split) == []


# ---- channels of convolutions ----------------------------------------------------------------------------------------


def convolutional(hidden=(6,)):
    """Two convolutions of 4 and 8 channels on 8×8 pictures; 2×2 pixels of each of the 8 reach the linear layers."""
    choice = make(NetworkChoice, name="cnn", hidden=hidden, settings={"channels": 4, "norm": "none"})
    return registry.design(choice).build((1, 8, 8), 6, list(Generators(range(K), "w")))


def changed(net, x, layer, node):
    """Outputs after everything that feeds one node of every replica has become something else."""
    with torch.no_grad():
        kept = [p.clone() for p in layer.incoming]
        which = torch.zeros_like(layer.own.bias)
        which[:, node] = 1
        layer.own.weight += layer.arriving(which) * torch.randn_like(layer.own.weight)
        layer.own.bias += which * 3
        found = net(x)
        for p, value in zip(layer.incoming, kept, strict=True):
            p.copy_(value)
    return found


def test_the_graph_of_a_convolutional_network():
    net = convolutional()
    layers = hidden_layers(net)
    assert [type(layer.own).__name__ for layer in layers] == ["Conv2d", "Conv2d", "Linear"]
    assert [layer.nodes for layer in layers] == [4, 8, 6] and layers[-1].next is net.head
    assert [layer.parameter_count for layer in layers] == [4 * 10, 8 * 37, 6 * 33]
    assert layers[0].real.tolist() == [True] * 4


def test_a_silenced_channel_is_heard_by_nobody():
    net = convolutional()
    x = torch.rand(K, 5, 1, 8, 8)
    for layer in hidden_layers(net):
        before = net(x)
        assert not torch.allclose(changed(net, x, layer, 1), before)
        which = torch.zeros_like(layer.own.bias, dtype=torch.bool)
        which[:, 1] = True
        layer.silence(which)
        silenced = net(x)
        assert torch.equal(changed(net, x, layer, 1), silenced)
        assert not torch.equal(changed(net, x, layer, 2), silenced)


def test_a_channel_is_pulled_as_a_group():
    layer = hidden_layers(convolutional())[1]
    with torch.no_grad():
        layer.own.weight[:, 3], layer.own.bias[:, 3] = 0.0, 4.0
        layer.own.weight[:, 3, 2, 1, 0] = 3.0
    other = layer.own.weight[:, 2].clone()
    reach = torch.zeros_like(layer.own.bias)
    reach[:, 3] = 2.0
    layer.pull([torch.zeros_like(p) for p in layer.incoming], reach)
    torch.testing.assert_close(layer.own.weight[:, 3, 2, 1, 0], torch.full((K,), 1.8))
    torch.testing.assert_close(layer.own.bias[:, 3], torch.full((K,), 2.4))
    assert torch.equal(layer.own.weight[:, 2], other)


def test_a_renewed_channel_starts_as_torchs_do_and_the_others_stay():
    layer = hidden_layers(convolutional())[1]
    which = torch.zeros(K, 8, dtype=torch.bool)
    which[:, 2] = True
    weight, bias = layer.own.weight.clone(), layer.own.bias.clone()
    layer.renew(which, Generators(range(K), "fresh"))
    assert torch.equal(layer.own.weight[~which], weight[~which]) and torch.equal(layer.own.bias[~which], bias[~which])
    assert not torch.equal(layer.own.weight[which], weight[which]) and layer.own.weight.abs().max() <= 1 / 6


def test_the_activity_of_a_channel_is_the_mean_of_its_picture():
    case = digits_run(
        "finetune", seeds=range(K), benchmark="split-digits", scenario="task", options={"train_per_task": 30},
        network=make(NetworkChoice, name="cnn", settings={"channels": 4, "norm": "none"}),
    )  # fmt: skip
    learner = learner_for(case)
    net, split = learner.classifier.network, learner.stream.tasks[0].train
    found = activity(net, hidden_layers(net), split, chunk=7)
    x, _ = split.gather(torch.arange(30).expand(K, -1))
    for k in range(K):
        own = net.convolutions[0]
        expected = torch.nn.functional.conv2d(x[k], own.weight[k], own.bias[k], padding=1).relu().mean((0, 2, 3))
        torch.testing.assert_close(found[0][k], expected, rtol=1e-4, atol=1e-5)
