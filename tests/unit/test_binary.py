"""Sigmoid and binary cross-entropy: torch's values, and the same bits wherever a replica's numbers lie."""

import pytest
import torch
import torch.nn.functional as F

from clcore.methods.parts import binary

pytestmark = pytest.mark.usefixtures("one_thread")


def numbers(*shape, seed=0):
    return 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_values_and_gradients_are_torchs():
    z, t = numbers(1000).requires_grad_(), numbers(1000, seed=1).sigmoid()
    torch.testing.assert_close(binary.sigmoid(z), z.sigmoid())
    ours, theirs = binary.cross_entropy(z, t), F.binary_cross_entropy_with_logits(z, t, reduction="none")
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss.sum(), z)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_far_from_zero_everything_is_finite():
    z = torch.tensor([-1e4, 1e4]).requires_grad_()
    assert binary.sigmoid(z).tolist() == [0, 1]
    loss = binary.cross_entropy(z, torch.tensor([1.0, 0.0]))
    loss.sum().backward()
    assert loss.tolist() == [1e4, 1e4] and z.grad.tolist() == [-1, 1]


@pytest.mark.parametrize("size", [12, 40, 70, 80, 120])
def test_bits_do_not_depend_on_what_follows(size):
    z, t = numbers(16, size), numbers(16, size, seed=1).sigmoid()

    def computed(z, t):
        z = z.clone().requires_grad_()
        loss = binary.cross_entropy(z, t)
        return binary.sigmoid(z), loss.detach(), torch.autograd.grad(loss.sum(), z)[0]

    together = computed(z, t)
    for k in range(16):
        for whole, alone in zip(together, computed(z[k : k + 1], t[k : k + 1]), strict=True):
            assert torch.equal(whole[k : k + 1], alone)
