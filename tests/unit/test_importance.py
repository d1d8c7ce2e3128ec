"""Importance by outer products of what enters and what leaves a layer: MAS and its local form, against closed forms.

The estimators of the Fisher information, which share the pass over examples, are tested in test_parts.py.
"""

import pytest
import torch

from clcore.methods.parts.importance import fisher_diagonal, input_output_correlation, output_sensitivity
from clcore.networks.classifier import Classifier
from clcore.networks.mlp import MLP
from clcore.randomness import Generators
from tests.training_cases import digits_run, learner_for, trained

pytestmark = pytest.mark.usefixtures("one_thread")
K = 3
MEASURES = pytest.mark.parametrize("measure", [output_sensitivity, input_output_correlation])
HIDDEN = pytest.mark.parametrize("hidden", [(), (9, 5), (32, 32)], ids=["linear", "odd", "deep"])


def draws(replicas=K):
    return Generators(range(replicas), "importance")


def untrained(**case):
    """Digits of mean 0, so that inputs have both signs, and networks nobody has trained."""
    case = {"tasks": 2, "options": {"standardise": True}, **case}
    learner = learner_for(digits_run("finetune", seeds=range(K), **case))
    return learner.classifier, learner.stream.tasks[0].train


def everything(split):
    assert len(set(split.lengths.tolist())) == 1
    x, _ = split.gather(torch.arange(split.width).expand(K, -1))
    return x.flatten(2)


def assert_close(found, expected, rtol=1e-4, atol=1e-6):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def logical(network, vector):
    """Every tensor without dead units."""
    shapes = [s for layer in network.layers for s in ((layer.inputs, layer.outputs), (layer.outputs,))]
    return [t[(slice(None), *(slice(n) for n in shape))] for t, shape in zip(vector, shapes, strict=True)]


@MEASURES
def test_of_a_linear_map_it_is_the_closed_form(measure):
    """Ω_W = 1/N Σ 2|x||y| and Ω_b = 1/N Σ 2|y|, with inputs and outputs of both signs."""
    classifier, split = untrained(hidden=())
    x = everything(split)
    y = classifier(x).detach()
    assert (x < 0).any() and (x > 0).any() and (y < 0).any() and (y > 0).any()
    n = x.shape[1]
    expected = [2 / n * torch.einsum("kni,kno->kio", x.abs(), y.abs()), 2 * y.abs().mean(1)]
    found = measure(classifier, split, 0, generators=draws())
    assert_close(logical(classifier.network, found), expected)


@HIDDEN
def test_sensitivity_is_the_mean_size_of_every_examples_gradient(hidden):
    """Against one autograd call per example: the size is taken before the mean, where signs would cancel."""
    classifier, split = untrained(hidden=hidden)
    network = classifier.network
    found = output_sensitivity(classifier, split, 0, samples=6, generators=draws())
    again = zip(split.lengths, draws(), strict=True)
    x, _ = split.gather(torch.stack([torch.randperm(int(n), generator=g)[:6] for n, g in again]))
    sizes = [torch.zeros_like(p) for p in network.parameters()]
    means = [torch.zeros_like(p) for p in network.parameters()]
    for n in range(6):
        norm = classifier(x[:, n : n + 1]).square().sum()
        for size, mean, g in zip(sizes, means, torch.autograd.grad(norm, list(network.parameters())), strict=True):
            size += g.abs() / 6
            mean += g / 6
    assert_close(found, sizes)
    assert sizes[0].sum() > 1.2 * means[0].abs().sum()


def test_correlation_is_every_layers_own_sensitivity():
    """One Linear + ReLU layer at a time, its input a constant: local MAS is MAS of that layer alone."""
    classifier, split = untrained(hidden=(9, 5))
    network = classifier.network
    found = iter(input_output_correlation(classifier, split, 0, samples=6, generators=draws()))
    again = zip(split.lengths, draws(), strict=True)
    x, _ = split.gather(torch.stack([torch.randperm(int(n), generator=g)[:6] for n, g in again]))
    h = x.flatten(2)
    for layer in network.layers:
        expected = [torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)]
        for n in range(6):
            y = layer(h[:, n : n + 1])
            y = y[..., : network.outputs] if layer is network.head else y.relu()
            for total, g in zip(
                expected, torch.autograd.grad(y.square().sum(), [layer.weight, layer.bias]), strict=True
            ):
                total += g.abs() / 6
        assert_close([next(found), next(found)], expected)
        h = layer(h).relu().detach()


def test_local_and_global_agree_on_one_layer_only():
    for hidden, same in (((), True), ((32,), False)):
        classifier, split = untrained(hidden=hidden)
        found = [m(classifier, split, 0, generators=draws()) for m in (output_sensitivity, input_output_correlation)]
        pairs = list(zip(*found, strict=True))
        assert all(torch.allclose(a, b, rtol=1e-5) for a, b in pairs[-2:])
        assert all(torch.allclose(a, b, rtol=1e-5) for a, b in pairs) == same


@MEASURES
@HIDDEN
def test_it_does_not_depend_on_the_chunks_it_is_computed_in(measure, hidden):
    classifier, split = untrained(hidden=hidden)
    found = [measure(classifier, split, 0, samples=50, generators=draws(), chunk=c) for c in (1, 7, 64, 500)]
    for other in found[1:]:
        assert_close(found[0], other)


@MEASURES
def test_padding_counts_for_nothing(measure):
    """Replicas with unequal streams: each one's importance is that of its own examples, as when it is alone."""
    run = digits_run(
        "finetune", seeds=range(4), benchmark="split-digits", scenario="class", options={"order": "seeded"}
    )
    learner = learner_for(run)
    split = learner.stream.tasks[0].train
    assert len(set(split.lengths.tolist())) > 1
    found = measure(learner.classifier, split, 0, generators=draws(4))
    for k in range(4):
        alone = learner_for(run, members=[k])
        own = measure(alone.classifier, alone.stream.tasks[0].train, 0, generators=draws(1))
        assert all(torch.equal(a[k], b[0]) for a, b in zip(found, own, strict=True))


@MEASURES
def test_labels_are_not_read(measure):
    learner = learner_for(digits_run("finetune", seeds=range(K)))
    split, labels = learner.stream.tasks[0].train, learner.stream.examples.labels

    def importances():
        fisher = fisher_diagonal(learner.classifier, split, 0, estimator="empirical", generators=draws())
        return measure(learner.classifier, split, 0, generators=draws()), fisher

    before, labelled_before = importances()
    labels.copy_(labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))])
    after, labelled_after = importances()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.equal(labelled_before.tensors[0], labelled_after.tensors[0])  # so they were shuffled


@MEASURES
@pytest.mark.parametrize(
    "scenario, task, units", [("task", 1, range(2, 4)), ("class", 1, range(4)), ("domain", 1, range(2))]
)
def test_it_is_never_negative_and_zero_where_nothing_flows(measure, scenario, task, units):
    """Pixels that are always off, dead units, and output units that are not active for the task."""
    run = digits_run("finetune", seeds=(0,), benchmark="split-digits", scenario=scenario, hidden=(33, 17))
    learner = trained(run, tasks=2)
    network, split = learner.classifier.network, learner.stream.tasks[task].train
    found = measure(learner.classifier, split, task, generators=draws(1)).tensors
    assert all(bool(torch.isfinite(t).all()) and t.min() >= 0 and t.sum() > 0 for t in found)
    x, _ = split.gather(torch.arange(int(split.lengths[0])).unsqueeze(0))
    off = (x[0].flatten(1) == 0).all(0)
    assert off.any() and torch.all(found[0][0][off] == 0) and torch.all(found[0][0][~off].sum(1) > 0)
    active = torch.zeros(network.head.width, dtype=torch.bool)
    active[list(units)] = True
    assert torch.all(found[-2][0][:, ~active] == 0) and torch.all(found[-1][0][~active] == 0)
    assert torch.all(found[-1][0][active] > 0)
    for layer, weight, bias in zip(network.layers, found[::2], found[1::2], strict=True):
        assert torch.all(weight[:, :, layer.outputs :] == 0) and torch.all(bias[:, layer.outputs :] == 0)
        assert torch.all(weight[:, layer.inputs :] == 0)
    assert network.layers[1].width > 17


def test_scaling_the_output_by_s_scales_sensitivity_by_s_squared():
    """And by s for the layer that does the scaling, whose own weights have grown by s."""
    classifier, split = untrained(hidden=(9, 5))
    before = output_sensitivity(classifier, split, 0, generators=draws()).copy().tensors
    with torch.no_grad():
        classifier.network.head.weight.mul_(3)
        classifier.network.head.bias.mul_(3)
    after = output_sensitivity(classifier, split, 0, generators=draws()).tensors
    assert_close(after[:-2], [9 * t for t in before[:-2]])
    assert_close(after[-2:], [3 * t for t in before[-2:]])


def test_scaling_a_layers_inputs_by_s_scales_correlation_by_s_squared():
    """Of a layer without bias: |sx|·|sWx|."""
    classifier, split = untrained(hidden=())
    with torch.no_grad():
        classifier.network.head.bias.zero_()
    before = input_output_correlation(classifier, split, 0, generators=draws()).copy().tensors
    split._examples.inputs.scale *= 3
    split._examples.inputs.shift *= 3
    after = input_output_correlation(classifier, split, 0, generators=draws()).tensors
    assert_close(after, [9 * before[0], 3 * before[1]])


@MEASURES
def test_active_units_need_not_be_neighbours(measure):
    _, split = untrained(hidden=())
    groups = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 1, 1]], dtype=torch.bool)
    classifier = Classifier(MLP((1, 8, 8), 5, (6,), list(draws())), groups, "task")
    bias = measure(classifier, split, 1, generators=draws()).tensors[-1]
    assert (bias[:, :5] > 0).tolist() == [groups[1].tolist()] * K


@MEASURES
def test_a_person_can_pause_between_chunks(measure):
    classifier, split = untrained(hidden=())
    pulses = []
    measure(classifier, split, 0, samples=50, chunk=16, generators=draws(), pulse=lambda: pulses.append(1))
    assert len(pulses) == 4


def test_correlation_takes_no_backward_pass(monkeypatch):
    classifier, split = untrained()
    monkeypatch.setattr(torch.autograd, "grad", None)
    input_output_correlation(classifier, split, 0, generators=draws())
    with pytest.raises(TypeError):
        output_sensitivity(classifier, split, 0, generators=draws())
