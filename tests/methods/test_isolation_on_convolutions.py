"""The methods that keep tasks apart, on convolutional networks: nothing is forgotten, and everything is counted."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from clcore.errors import RequestError
from clcore.methods.base import PhaseResult
from clcore.methods.parts import reserve
from clcore.methods.parts.own_norms import norm_layers
from clcore.methods.parts.ownership import FREE, RESERVED
from clcore.methods.parts.pictures import weight_layers
from clcore.methods.parts.scores import looking_through
from clcore.networks.base import Design
from clcore.networks.cnn import CNN
from clcore.networks.convolution import conv_numbers
from clcore.networks.vgg_small import VGGSmall
from clcore.randomness import Generators
from clcore.spec import NetworkChoice, make
from tests.training_cases import (
    assert_keeps_old_logits,
    assert_proof_can_fail,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    trained,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# Ten and twenty channels are normalised in groups of two and four: what one of them does is felt by the others.
NETWORKS = {
    "cnn": make(NetworkChoice, name="cnn", settings={"channels": 10}),
    "vgg-small": make(NetworkChoice, name="vgg-small", hidden=(8,), settings={"channels": 5}),
    "cnn, batch": make(NetworkChoice, name="cnn", hidden=(8,), settings={"channels": 10, "norm": "batch"}),
    "resnet18-slim": make(NetworkChoice, name="resnet18-slim", settings={"channels": 2}),
}
CNN_GROUP, VGG, CNN_BATCH, RESNET = NETWORKS.values()
DECAY = dict(momentum=0.9, weight_decay=1e-3, lr=0.05)
QUICK = {
    "packnet": {},
    "piggyback": {"piggyback.mask_lr": 0.003},
    "supsup": {},
    "hat": {},
    "cpg": {"cpg.stages": 2, "cpg.slack": 0.0, "cpg.pick_lr": 0.003},
}
METHODS = pytest.mark.parametrize("method", QUICK)


def case(method: str, network: NetworkChoice, settings=None, **more):
    """What `digits_run` needs for a few steps of each of five tasks."""
    options = {"train_per_task": 32} | more.pop("options", {})
    mine = QUICK[method] | {f"{method}.{name}": value for name, value in (settings or {}).items()}
    usual = dict(benchmark="split-digits", scenario="task", seeds=(0, 1), options=options, live_points=0)
    return {"method": method, "network": network, "settings": mine, **usual, **more}


def run_of(method: str, network: NetworkChoice, settings=None, **more):
    return digits_run(**case(method, network, settings, **more))


def state_of(learner, row: int) -> list[torch.Tensor]:
    network = learner.classifier.network
    return [t.detach()[row].clone() for t in (*network.parameters(), *network.statistics)]


def probes(learner, task: int = 0, examples: int = 16) -> torch.Tensor:
    """The first test examples of a task, (K, examples, H, W)."""
    positions = torch.arange(examples).expand(len(learner.seeds), examples)
    return learner.stream.tasks[task].test.gather(positions)[0]


# --- the proof ---


@METHODS
@pytest.mark.parametrize("network", [CNN_GROUP, VGG], ids=["cnn", "vgg-small"])
def test_old_answers_stay_the_same_bits_with_every_optimizer(method, network):
    assert_keeps_old_logits(**case(method, network))


@pytest.mark.parametrize(
    "method, network, settings",
    [
        ("packnet", CNN_BATCH, {}),
        ("packnet", CNN_BATCH, {"biases": "task"}),
        ("packnet", VGG, {"biases": "task", "start": "zero"}),
        ("piggyback", CNN_BATCH, {}),
        ("supsup", CNN_BATCH, {}),
        ("hat", CNN_BATCH, {}),
        ("cpg", CNN_BATCH, {}),
        ("packnet", RESNET, {}),
        ("piggyback", RESNET, {}),
        ("supsup", RESNET, {"share": 0.5}),
    ],
)
def test_old_answers_stay_also_with_running_statistics_and_shortcuts(method, network, settings):
    learner = trained(run_of(method, network, settings, **DECAY))
    assert [v["identical"] for v in learner.verdicts()] == [True, True]
    assert_proof_can_fail(learner)


@METHODS
def test_looking_at_old_tasks_in_between_changes_nothing(method):
    plain, watched = (trained(run_of(method, CNN_BATCH, live_points=n), tasks=3) for n in (0, 2))
    assert all(identical(state_of(plain, k), state_of(watched, k)) for k in range(2))


@METHODS
def test_interrupted_and_resumed_it_ends_the_same(method, tmp_path):
    run = run_of(method, CNN_BATCH, options={"train_per_task": 20}, live_points=2)
    assert_resumes(run, tmp_path / "checkpoint")


@METHODS
def test_a_replica_alone_is_the_same_as_among_others(method, double_precision):
    run = run_of(method, CNN_GROUP, seeds=range(4))
    together = trained(run, tasks=2)
    for row in (0, 3):
        for a, b in zip(state_of(together, row), state_of(trained(run, members=[row], tasks=2), 0), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


# --- PackNet ---


def test_packnet_divides_every_kernel_into_equal_shares():
    learner = learner_for(run_of("packnet", VGG))
    ownership = learner.method.ownership
    sizes = torch.tensor([layer.inputs * layer.outputs * (9 if at < 6 else 1) for at, layer in enumerate(ownership.layers)])
    for task in learner.stream.tasks:
        learner.learn(task)
        counts, t = ownership.counts(5), task.index
        assert torch.equal(counts.sum(2), sizes.expand(2, 7))
        assert bool(((counts[..., : t + 1] - sizes.unsqueeze(1) / 5).abs() <= 1).all())
        for layer, owner in zip(ownership.layers, ownership.owner, strict=True):
            assert not layer.weight[owner == FREE].any() and bool(layer.weight[owner == t].any())
    shares = learner.method.insight()["ownership"]
    assert shares.shape == (2, 7, 6) and not shares[..., -1].any()


@pytest.mark.parametrize("biases", ["first", "task"])
def test_packnets_normalisations_go_with_the_biases(biases):
    learner = trained(run_of("packnet", CNN_BATCH, {"biases": biases}), tasks=1)
    network = learner.classifier.network
    own = [t for n in norm_layers(network) for t in (n.weight, n.bias, n.running_mean, n.running_var)]
    first = [t.detach().clone() for t in own]
    learner.learn(learner.stream.tasks[1])
    assert [torch.equal(a, b) for a, b in zip(first, own, strict=True)] == [biases == "first"] * 8
    kept = learner.method.ownership.norms.kept
    assert len(kept) == (2 if biases == "task" else 0)
    if kept:
        assert identical(list(kept[0].values()), first) and identical(list(kept[1].values()), own)


# --- Piggyback and SupSup ---


def test_piggybacks_backbone_never_moves_and_its_masks_are_those_of_single_weights():
    learner = trained(run_of("piggyback", CNN_BATCH), tasks=1)
    network, method = learner.classifier.network, learner.method
    backbone = [t for layer in method.layers for t in (layer.weight, layer.bias)]
    backbone += [t for n in norm_layers(network) for t in (n.weight, n.bias, n.running_mean, n.running_var)]
    before = [t.detach().clone() for t in backbone]
    for task in learner.stream.tasks[1:]:
        learner.learn(task)
    assert identical(before, backbone)
    for mask, layer in zip(method.masks.of(2), method.layers, strict=True):
        assert mask.dtype == torch.bool and mask.shape == layer.weight.shape and 0 < mask.double().mean() < 1
    kernels = method.masks.of(2)[1].flatten(3)
    assert bool((kernels.any(3) & ~kernels.all(3)).any())  # a part of a kernel
    density = method.insight()["mask_density"]
    assert density.shape == (2, 5, 3) and bool((density[:, 0] == 1).all()) and bool((density[:, 1:] < 1).any())


def test_a_convolutional_backbone_comes_from_a_file(tmp_path):
    state = trained(digits_run("joint", network=CNN_BATCH, benchmark="split-digits", scenario="class")).classifier.network
    held = {name: values[0].numpy() for name, values in state.state_dict().items()}
    np.savez(tmp_path / "backbone.npz", **held)
    learner = trained(run_of("piggyback", CNN_BATCH, {"backbone": str(tmp_path / "backbone.npz")}), tasks=2)
    names = {f"{m}.{at}.{t}" for m in ("convolutions", "norms") for at in (0, 1) for t in ("weight", "bias")}
    names |= {f"norms.{at}.{t}" for at in (0, 1) for t in ("running_mean", "running_var")}
    names |= {"fully_connected.0.weight", "fully_connected.0.bias"}
    now = learner.classifier.network.state_dict()
    for name in names:
        for k in range(2):
            assert torch.equal(now[name][k], torch.as_tensor(held[name])), name
    assert learner.method.masks.of(0) is not None
    np.savez(tmp_path / "other.npz", **held | {"convolutions.1.weight": np.zeros((20, 10, 5, 5))})
    with pytest.raises(RequestError, match=r"has the shape \(20, 10, 5, 5\); it must .* \(20, 10, 3, 3\), .* and 6 more"):
        learner_for(run_of("piggyback", CNN_BATCH, {"backbone": str(tmp_path / "other.npz")}))


@pytest.mark.parametrize("network", [CNN_GROUP, RESNET], ids=["cnn", "resnet18-slim"])
def test_supsups_slopes_are_the_derivatives_of_the_entropy_with_convolutions(network):
    settings = {"infer": "one-shot", "extra_outputs": 6}
    if network is RESNET:
        network = make(NetworkChoice, name="resnet18-slim", settings={"channels": 2, "norm": "group"})
    learner = trained(run_of("supsup", network, settings, scenario="domain"), tasks=3)
    method, x = learner.method, probes(learner, examples=8)
    shares = torch.full((3, 2, 8), 1 / 3)  # a share for every example: they are asked one by one
    expected = torch.zeros(3, 2, 8)
    for at in range(8):
        alpha = shares[..., at].clone().requires_grad_()
        together = [
            sum(alpha[t].view(2, *[1] * (masks[0].dim() - 1)) * masks[t] for t in range(3))
            for masks in zip(*(method._masks(t) for t in range(3)), strict=True)
        ]
        with looking_through(method.layers, together):
            log_p = learner.classifier(x[:, at : at + 1]).log_softmax(-1)
        expected[..., at] = torch.autograd.grad(-(log_p.exp() * log_p).sum(), alpha)[0]
    torch.testing.assert_close(method.slopes(x), expected, rtol=1e-3, atol=1e-5)
    assert learner.classifier(x).shape[-1] == learner.stream.outputs + 6


def test_superposed_masks_have_no_running_statistics():
    with pytest.raises(RequestError, match="choose norm = group, or infer = entropy"):
        learner_for(run_of("supsup", CNN_BATCH, {"infer": "one-shot"}, scenario="class"))
    learner = trained(run_of("supsup", CNN_BATCH, scenario="class"), tasks=2)
    assert [v["identical"] for v in learner.verdicts()] == [True, True]
    assert not any(p.requires_grad for n in norm_layers(learner.classifier.network) for p in n.parameters())


# --- HAT ---


@pytest.mark.parametrize("network", [CNN_GROUP, VGG, CNN_BATCH], ids=["cnn", "vgg-small", "cnn, batch"])
def test_hats_old_answers_depend_on_locked_weights_alone(network):
    learner = trained(run_of("hat", network, epochs=4), tasks=2)
    method, x = learner.method, probes(learner)
    before = [method.predict(x, task)[..., learner.classifier.groups[task]] for task in range(2)]
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter, locked in method._locked().items():
            free = (locked < 1).expand_as(parameter)
            assert 0 < free.double().mean() < 1
            parameter[free] += torch.randn(parameter[free].shape, generator=noise)
        for norm in norm_layers(learner.classifier.network):
            norm.weight += 1
    for task in range(2):
        assert torch.equal(method.predict(x, task)[..., learner.classifier.groups[task]], before[task])
    first = learner.classifier.network.convolutions[0].weight
    with torch.no_grad():
        first[method._locked()[first].expand_as(first) == 1] += 0.5
    assert not torch.equal(method.predict(x, 0)[..., :2], before[0])


def test_hat_has_one_gate_a_channel_which_stands_before_all_its_places():
    learner = trained(run_of("hat", VGG), tasks=2)
    method = learner.method
    assert [layer.units for layer in method.gated] == [5, 5, 10, 10, 20, 20, 8]
    pictures = method.insight()
    assert [pictures[f"gates_layer_{i}"].shape for i in (1, 4, 7)] == [(2, 2, 5), (2, 2, 10), (2, 2, 8)]
    assert pictures["capacity_used"].shape == (2, 7)
    flat = trained(run_of("hat", CNN_GROUP), tasks=1).method.gated[-1]
    assert (flat.units, flat.spread, flat.inputs) == (20, 4, 80)  # 2×2 pixels of each channel
    x = torch.ones(2, 3, 80)
    flat.gates = torch.zeros(2, 20).index_fill(1, torch.tensor([7]), 1.0)
    passed = flat.let_through(x).view(2, 3, 20, 4)
    assert bool((passed[:, :, 7] == 1).all()) and passed.sum() == 2 * 3 * 4


def test_hats_locks_join_the_channels_at_both_ends_of_a_kernel():
    learner = trained(run_of("hat", CNN_GROUP, epochs=2), tasks=1)
    method, (first, second, head) = learner.method, weight_layers(learner.classifier.network)
    locked, (below, above) = method._locked(), method.used
    assert torch.equal(locked[first.weight].expand(2, 10, 1, 1, 1)[:, :, 0, 0, 0], below)
    for k, o, i in ((0, 3, 2), (1, 11, 9)):
        assert locked[second.weight][k, o, i, 0, 0] == min(above[k, o], below[k, i])
    assert torch.equal(locked[second.bias], above) and head.weight not in locked


# --- CPG ---


def roomy(kind, settings, hidden, multiple, shape=(8, 8)):
    plain = Design(kind, hidden, settings).build(shape, 6, list(Generators(range(2), "weights")))
    groups = torch.eye(3, dtype=torch.bool).repeat_interleave(2, 1)
    return plain, reserve.roomy(plain, shape, multiple, groups)


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
@pytest.mark.parametrize("kind, hidden, count", [(CNN, (), {"blocks": 2}), (VGGSmall, (8,), {})])
def test_with_its_reserve_a_network_computes_what_it_did(kind, hidden, count, norm):
    plain, wide = roomy(kind, {"channels": 10, "norm": norm, **count}, hidden, 2.0)
    x = torch.rand(2, 5, 8, 8)
    torch.testing.assert_close(wide(x), plain(x))
    assert wide.parameter_count.tolist() == [plain.parameter_count] * 2
    assert [layer.outputs for layer in weight_layers(wide)[:2]] == ([14, 28] if kind is CNN else [14, 14])
    if norm == "group":
        sizes = [[n.channels // n.groups for n in norm_layers(x)] for x in (plain, wide)]
        assert sizes[0] == sizes[1]


def test_grown_networks_have_whole_groups_and_the_parameters_of_networks_of_that_size():
    _, wide = roomy(CNN, {"channels": 20, "blocks": 1, "norm": "group"}, (), 1.3)
    assert wide.units_at(1.3) == [24] == [layer.outputs for layer in weight_layers(wide)[:-1]]  # 23 in groups of four
    with torch.no_grad():
        wide.norms[0].weight.fill_(0.5)
    wide.widen(torch.tensor([[20], [24]]), 1)
    sizes = [CNN.count_parameters((8, 8), 2, (), channels=c, blocks=1, norm="group") for c in (20, 24)]
    heads = [(c * 16 + 1) * 2 for c in (20, 24)]  # of one task; the first task's sees the channels that there were
    assert wide.parameter_count.tolist() == [sizes[0] + 2 * heads[0], sizes[1] + heads[1] + heads[0]]
    assert wide.norms[0].weight[0].unique().tolist() == [0.5]
    assert wide.norms[0].weight[1].tolist() == [0.5] * 20 + [1.0] * 4


@pytest.mark.parametrize("network", [CNN_GROUP, CNN_BATCH], ids=["cnn", "cnn, batch"])
def test_cpg_grows_channels_and_old_answers_stay(network):
    learner = trained(run_of("cpg", network, {"largest": 1.5, "slack": 1.0}, **DECAY), tasks=2)
    method, wide, x = learner.method, learner.classifier.network, probes(learner)
    before = [layer.weight.detach().clone() for layer in method.ownership.layers]
    answers = [method.predict(x, task) for task in range(2)]
    method.begin(learner.stream.tasks[2])
    method._grow(2, torch.tensor([True, False]))
    assert method.size.tolist() == [1.5, 1.0]
    assert wide.units[0, :2].tolist() == [12, 24] and wide.units[1, :2].tolist() == [10, 20]
    for layer, owner, was in zip(method.ownership.layers, method.ownership.owner, before, strict=True):
        assert torch.equal(layer.weight, was)
        assert not (owner[0] == RESERVED).any() and (owner[1] == RESERVED).any()
    method.ownership.claim(2, method.draws)
    with torch.no_grad():
        wide.norms[0].bias += 1
        wide.convolutions[0].bias += 1
    assert all(torch.equal(method.predict(x, task), answers[task]) for task in range(2))


def test_cpgs_reference_has_running_statistics_of_its_own_and_leaves_none_behind():
    learner = trained(run_of("cpg", CNN_BATCH), tasks=1)
    method, statistics = learner.method, learner.classifier.network.statistics
    before = [values.clone() for values in statistics]
    plan = method.phases(learner.stream.tasks[1])
    assert next(plan).name == "reference"
    assert all(not mean.any() and bool((var == 1).all()) for mean, var in zip(statistics[::2], statistics[1::2], strict=True))
    for values in statistics:
        values += 1  # as if it had been trained
    goal = torch.ones(2, dtype=torch.float64)
    assert plan.send(PhaseResult(goal, lambda: goal)).name == "train" and identical(before, statistics)


def test_cpg_in_a_run_that_grows():
    learner = trained(run_of("cpg", CNN_GROUP, {"slack": 0.0, "largest": 2.0, "stages": 1}, epochs=2, **DECAY))
    assert float(learner.method.size.max()) > 1
    assert [v["identical"] for v in learner.verdicts()] == [True, True]
    for layer, owner in zip(learner.method.ownership.layers, learner.method.ownership.owner, strict=True):
        assert not layer.weight[(owner == RESERVED) | (owner == FREE)].any()
    again = learner_for(run_of("cpg", CNN_GROUP, {"slack": 0.0, "largest": 2.0, "stages": 1}, epochs=2, **DECAY))
    again.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert again.footprint() == learner.footprint()
    x = probes(learner)
    assert all(torch.equal(again.method.predict(x, t), learner.method.predict(x, t)) for t in range(5))


# --- what is kept ---

KERNELS = conv_numbers(1, 10, bias=False) + conv_numbers(10, 20, bias=False)
HIDDEN, UNITS, CHANNELS = KERNELS + 80 * 8, 38, 30  # of the network with batch statistics
NUMBERS = HIDDEN + UNITS + (8 + 1) * 10 + 4 * CHANNELS


@pytest.mark.parametrize(
    "method, settings, expected",
    [
        ("packnet", {}, {"masks": -(-HIDDEN * 3 // 8)}),
        (
            "packnet",
            {"biases": "task"},
            {"masks": -(-HIDDEN * 3 // 8), "biases": 2 * 4 * UNITS, "normalisations": 2 * 4 * 4 * CHANNELS},
        ),
        ("piggyback", {}, {"masks": 2 * (-(-90 // 8) + 1800 // 8 + 640 // 8)}),
        ("supsup", {}, {"masks": 3 * (-(-90 // 8) + 1800 // 8 + 640 // 8 + 80 // 8), "normalisations": 2 * 4 * 4 * CHANNELS}),
        ("hat", {}, {"masks": 3 * -(-UNITS // 8), "normalisations": 2 * 4 * 4 * CHANNELS}),
    ],
)
def test_footprints_are_closed_formulas(method, settings, expected):
    learner = trained(run_of(method, CNN_BATCH, settings, seeds=(0,)), tasks=3)
    assert learner.footprint() == [{"parameters": 4 * NUMBERS, **expected}]


def test_cpgs_footprint_is_a_closed_formula():
    learner = trained(run_of("cpg", CNN_BATCH, {"slack": 1.0}, seeds=(0,)), tasks=3)
    counts = learner.method.ownership.counts(5)[0]
    old = [int(counts[:, :t].sum()) for t in (1, 2)]
    assert counts.sum() == HIDDEN and learner.method.insight()["picked"].shape == (1, 5, 3)
    kept = {"masks": -(-HIDDEN * 3 // 8) + -(-sum(old) // 8), "biases": 2 * 4 * UNITS}
    assert learner.footprint() == [{"parameters": 4 * NUMBERS, **kept, "normalisations": 2 * 4 * 4 * CHANNELS}]
