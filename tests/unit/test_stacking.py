"""Several mini-batches through an affine map at once: each has the numbers that it would have alone."""

import pytest
import torch

from clcore.networks import stacking
from clcore.networks.layers import recording
from clcore.networks.mlp import MLP
from clcore.networks.stacking import Agreement, affine, agreement

NEVER = Agreement(outputs=False, to_inputs=False, to_weights=False)
SHAPES = [
    (1, (64, 64), 784, 256),
    (8, (64, 64), 256, 12),
    (3, (10, 10), 64, 100),
    (3, (16, 16, 16), 100, 100),
    (2, (2, 2), 32, 12),  # products of two rows are not made like those of more
    (3, (200, 64), 784, 128),  # nor are long sums
    (5, (12, 4), 17, 36),
]


def maps(replicas, rows, inputs, outputs):
    generator = torch.Generator().manual_seed(1)
    shapes = ((sum(rows), inputs), (inputs, outputs), (outputs,), (sum(rows), outputs))
    x, weight, bias, delta = (torch.randn(replicas, *shape, generator=generator) for shape in shapes)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), delta


def alone(x, weight, bias, delta):
    """Output and gradients of one part, by torch's own layer."""
    x = x.detach().contiguous().requires_grad_()
    y = torch.baddbmm(bias.unsqueeze(1), x, weight)
    return y, *torch.autograd.grad(y, (x, weight, bias), delta.contiguous())


@pytest.mark.parametrize(("replicas", "rows", "inputs", "outputs"), SHAPES)
def test_parts_without_weight_change_no_bit_of_the_first(replicas, rows, inputs, outputs):
    x, weight, bias, delta = maps(replicas, rows, inputs, outputs)
    first = rows[0]
    delta[:, first:] = 0
    y = affine(x, weight, bias, rows)
    found = (y, *torch.autograd.grad(y, (x, weight, bias), delta))
    expected = alone(x[:, :first], weight, bias, delta[:, :first])
    for which, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert torch.equal(a[:, :first] if which < 2 else a, b), ("outputs", "inputs", "weights", "biases")[which]


@pytest.mark.parametrize("never", [False, True])
@pytest.mark.parametrize(("replicas", "rows", "inputs", "outputs"), SHAPES)
def test_it_is_the_affine_map_of_every_part(replicas, rows, inputs, outputs, never, monkeypatch):
    if never:
        monkeypatch.setattr(stacking, "agreement", lambda *shape: NEVER)
    x, weight, bias, delta = maps(replicas, rows, inputs, outputs)
    y = affine(x, weight, bias, rows)
    found = (y, *torch.autograd.grad(y, (x, weight, bias), delta))
    parts = [alone(a, weight, bias, d) for a, d in zip(x.split(rows, 1), delta.split(rows, 1), strict=True)]
    ys, to_x, to_weight, to_bias = zip(*parts, strict=True)
    expected = (torch.cat(ys, 1), torch.cat(to_x, 1), sum(to_weight), sum(to_bias))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_asking_the_library_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    agreement.cache_clear()
    agreement((7, 5), 2, 6, 8, torch.get_num_threads())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_disagreement_is_seen(monkeypatch):
    """A library whose products depend on the number of rows is found out."""
    exact = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b: exact(a, b) * (1 + 1e-6 * a.shape[1]))
    agreement.cache_clear()
    try:
        assert agreement((16, 16), 2, 64, 32, torch.get_num_threads()) == (True, False, True)
    finally:
        agreement.cache_clear()


def test_a_network_gives_each_input_its_logits():
    generators = [torch.Generator().manual_seed(s) for s in (0, 1, 2)]
    network = MLP((5,), 3, (7, 6), generators)
    xs = [torch.randn(3, rows, 5) for rows in (4, 8, 4)]
    found = network.several(xs)
    assert [tuple(y.shape) for y in found] == [(3, 4, 3), (3, 8, 3), (3, 4, 3)]
    for x, y in zip(xs, found, strict=True):
        torch.testing.assert_close(y, network(x))


def test_who_listens_hears_all_inputs_in_one_pass():
    network = MLP((5,), 3, (7,), [torch.Generator().manual_seed(0)])
    xs = [torch.randn(1, rows, 5) for rows in (4, 8)]
    quiet = network.several(xs)
    with recording(network) as tape:
        heard = network.several(xs)
    assert [record.layer for record in tape] == list(network.layers)
    assert all(record.outputs.shape[1] == 12 for record in tape) and torch.equal(tape[0].inputs, torch.cat(xs, 1))
    assert all(torch.equal(a, b) for a, b in zip(quiet, heard, strict=True))
