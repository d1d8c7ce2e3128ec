"""The convolutional networks: sizes, what they refuse, and how a spec describes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clcore import registry
from clcore.errors import RequestError
from clcore.networks.base import Design
from clcore.networks.layers import Layer
from clcore.spec import NetworkChoice, RunSpec, from_json, make
from tests.training_cases import digits_run

SHAPES = {"digits": (1, 8, 8), "grey": (28, 28), "colour": (3, 32, 32)}


def design(name: str, **choice) -> Design:
    return registry.design(make(NetworkChoice, name=name, **choice))


def generators(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k) for k in range(n)]


@pytest.mark.parametrize("outputs, parameters", [(100, 1_109_240), (10, 1_094_750)])
def test_the_reduced_resnet_has_the_published_number_of_parameters(outputs, parameters):
    network = design("resnet18-slim").build((3, 32, 32), outputs, generators(1))
    assert network.parameter_count == parameters == design("resnet18-slim").count_parameters((3, 32, 32), outputs)
    assert sum(p[0].numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("settings", [{}, {"norm": "batch"}, {"channels": 6}], ids=str)
@pytest.mark.parametrize("name, hidden", [("cnn", ()), ("cnn", (12, 7)), ("vgg-small", (256,)), ("resnet18-slim", ())])
def test_a_network_is_as_large_as_it_says(name, hidden, settings, shape):
    found = design(name, hidden=hidden, settings={"channels": 8} | settings)
    network = found.build(shape, 10, generators(2))
    assert network.parameter_count == found.count_parameters(shape, 10)
    assert network.parameter_count == sum(m.parameter_count for m in network.modules() if isinstance(m, Layer))
    x = torch.rand(2, 4, *shape)
    assert network(x).shape == (2, 4, 10)
    torch.testing.assert_close(network(x)[:, :1], network(x[:, :1]))


@pytest.mark.parametrize("name, settings", [
    ("cnn", {}), ("cnn", {"norm": "none"}), ("cnn", {"norm": "batch", "blocks": 3}),
    ("vgg-small", {}), ("vgg-small", {"norm": "none"}),
    ("resnet18-slim", {}), ("resnet18-slim", {"norm": "group"}),
], ids=str)  # fmt: skip
def test_the_estimate_of_what_a_pass_keeps_is_what_torch_keeps(name, settings):
    shape, rows = (3, 32, 32), 16
    found = design(name, settings=settings)
    network = found.build(shape, 10, generators(1))
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        logits = network(torch.rand(1, rows, *shape))
    kept = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved}
    measured = sum(size for place, size in kept.items() if place not in own)
    estimate = 4 * rows * (3 * 32 * 32 + found.count_activations(shape, 10))
    assert logits.requires_grad and 0.95 * measured < estimate < 1.05 * measured


def test_the_resnet_computes_what_torchs_layers_compute():
    network = design("resnet18-slim", settings={"channels": 4, "norm": "group"}).build((3, 16, 16), 5, generators(2))
    x = torch.rand(2, 3, 3, 16, 16)

    def convolution(layer, k, h):
        return nn.functional.conv2d(h, layer.weight[k], stride=layer.stride, padding=layer.size // 2)

    def norm(layer, k, h):
        return nn.functional.group_norm(h, layer.groups, layer.weight[k], layer.bias[k])

    for k in range(2):
        h = norm(network.stem_norm, k, convolution(network.stem, k, x[k])).relu()
        for block in network.blocks:
            through = norm(block.first_norm, k, convolution(block.first, k, h)).relu()
            through = norm(block.second_norm, k, convolution(block.second, k, through))
            past = h if block.shortcut is None else norm(block.shortcut_norm, k, convolution(block.shortcut, k, h))
            h = (through + past).relu()
        assert h.shape == (3, 32, 2, 2)
        head = network.head
        expected = h.mean((2, 3)) @ head.weight[k, :, :5] + head.bias[k, :5]
        torch.testing.assert_close(network(x)[k], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "benchmark, choice, sentence",
    [
        ("toy-2d", {"name": "cnn"}, "cnn needs pictures, and an input of toy-2d is 2 numbers"),
        ("split-digits", {"name": "cnn", "settings": {"blocks": 4}}, "must be 16×16 or larger"),
        ("split-digits", {"name": "resnet18-slim", "hidden": (10,)}, "resnet18-slim has no hidden layers to choose"),
        ("split-digits", {"name": "resnet18-slim", "settings": {"norm": "none"}}, "choose one of batch, group"),
        ("split-digits", {"name": "cnn", "settings": {"depth": 3}}, "cnn has no setting 'depth'. It has: channels"),
        ("split-digits", {"name": "mlp", "settings": {"norm": "batch"}}, "mlp has no setting 'norm'"),
        ("split-digits", {"name": "lenet"}, "lenet"),
    ],
)  # fmt: skip
def test_what_a_network_cannot_do_is_refused_with_a_sentence(benchmark, choice, sentence):
    with pytest.raises(RequestError, match=sentence):
        make(RunSpec, benchmark=benchmark, scenario="domain", method={"name": "finetune"}, network=choice)


def test_a_network_brings_its_own_widths_and_its_usual_settings_go_without_saying():
    assert make(NetworkChoice).hidden == (100, 100) and make(NetworkChoice, name="vgg-small").hidden == (256,)
    assert make(NetworkChoice, name="cnn").hidden == () and make(NetworkChoice, name="cnn", hidden=(9,)).hidden == (9,)
    said = make(NetworkChoice, name="cnn", settings={"norm": "group", "channels": 8})
    assert said == make(NetworkChoice, name="cnn", settings={"channels": 8})
    assert said.options == {"channels": 8, "blocks": 2, "norm": "group"}


def test_specs_written_before_networks_had_settings_stay_as_they_are():
    run = digits_run("finetune")
    assert run.network.model_dump() == {"name": "mlp", "hidden": (32, 32)}
    assert '"network":{"name":"mlp","hidden":[32,32]}' in run.model_dump_json()
    # The digest of this run as it was before there were convolutional networks.
    assert run.digest(run.replicas[0]) == "78cb2d29b706c05b"


def test_a_network_with_settings_goes_through_json_and_decides_the_digest():
    runs = [digits_run("finetune", network=make(NetworkChoice, name="cnn", settings=s)) for s in ({}, {"norm": "batch"})]
    assert [from_json(RunSpec, run.model_dump_json()) for run in runs] == runs
    assert len({run.digest(run.replicas[0]) for run in runs}) == 2
