"""K convolutions and normalisations side by side are K of torch's own, and replicas never mix."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clcore.networks.convolution import Conv2d
from clcore.networks.norms import BatchNorm2d, GroupNorm, learning
from clcore.networks.pictures import flattened, side_by_side

K, B, C, OUT, SIZE = 3, 6, 4, 8, 5


def generators(n: int = K) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(k) for k in range(n)]


def pictures(channels: int = C) -> torch.Tensor:
    return torch.randn(K, B, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(9))


def apart(x: torch.Tensor) -> torch.Tensor:
    """(B, K·C, H, W) → (K, B, C, H, W)"""
    return x.unflatten(1, (K, -1)).transpose(0, 1)


def test_pictures_lie_side_by_side_as_channels_and_are_flattened_one_by_one():
    x = pictures()
    assert torch.equal(apart(side_by_side(x)), x)
    assert torch.equal(flattened(side_by_side(x), K), x.flatten(2))
    grey = x[:, :, 0]
    assert torch.equal(side_by_side(grey), side_by_side(grey.unsqueeze(2)))


@pytest.mark.parametrize("size, stride, bias", [(3, 1, True), (3, 2, False), (1, 2, True)])
def test_convolutions_are_torchs(size, stride, bias):
    layer = Conv2d(C, OUT, generators(), size=size, stride=stride, bias=bias)
    x = pictures()
    mine = apart(layer(side_by_side(x)))
    mine.square().sum().backward()
    for k in range(K):
        plain = nn.Conv2d(C, OUT, size, stride, padding=size // 2, bias=bias)
        plain.weight.data.copy_(layer.weight[k])
        if bias:
            plain.bias.data.copy_(layer.bias[k])
        theirs = plain(x[k])
        theirs.square().sum().backward()
        torch.testing.assert_close(mine[k], theirs)
        torch.testing.assert_close(layer.weight.grad[k], plain.weight.grad, rtol=1e-4, atol=1e-4)
        if bias:
            torch.testing.assert_close(layer.bias.grad[k], plain.bias.grad, rtol=1e-4, atol=1e-4)
    assert layer.parameter_count == sum(p[0].numel() for p in layer.parameters())


def test_a_convolution_starts_as_torchs_and_a_replica_draws_alone():
    layer, alone = Conv2d(C, OUT, generators()), Conv2d(C, OUT, generators()[1:2])
    assert torch.equal(layer.weight[1], alone.weight[0]) and torch.equal(layer.bias[1], alone.bias[0])
    bound = (C * 9) ** -0.5
    wide = Conv2d(64, 64, generators(1))
    assert layer.weight.abs().max() <= bound
    torch.manual_seed(0)
    torch.testing.assert_close(wide.weight.std(), nn.Conv2d(64, 64, 3).weight.std(), rtol=0.02, atol=0)


def test_group_normalisations_are_torchs():
    layer = GroupNorm(C, K, groups=2)
    x = pictures()
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
    mine = apart(layer(side_by_side(x)))
    mine.pow(3).sum().backward()
    for k in range(K):
        plain = nn.GroupNorm(2, C)
        plain.weight.data.copy_(layer.weight[k])
        plain.bias.data.copy_(layer.bias[k])
        theirs = plain(x[k])
        theirs.pow(3).sum().backward()
        torch.testing.assert_close(mine[k], theirs)
        torch.testing.assert_close(layer.weight.grad[k], plain.weight.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.bias.grad[k], plain.bias.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels, groups", [(20, 5), (16, 8), (12, 6), (7, 7), (11, 1), (1, 1)])
def test_groups_divide_the_channels(channels, groups):
    assert GroupNorm(channels, 1).groups == groups


def batch_norm(k_weights: torch.Tensor) -> BatchNorm2d:
    layer = BatchNorm2d(C, K)
    with torch.no_grad():
        layer.weight.copy_(k_weights)
        layer.bias.copy_(k_weights - 1)
    return layer


def plain_batch_norm(layer: BatchNorm2d, k: int) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(C)
    plain.weight.data.copy_(layer.weight[k])
    plain.bias.data.copy_(layer.bias[k])
    plain.running_mean.copy_(layer.running_mean[k])
    plain.running_var.copy_(layer.running_var[k])
    return plain


@pytest.mark.parametrize("examples", [(6, 6, 6), (6, 2, 1)], ids=["all rows", "padded"])
def test_batch_normalisations_learn_as_torchs_on_the_rows_that_count(examples):
    layer = batch_norm(torch.rand(K, C, generator=torch.Generator().manual_seed(1)) + 0.5)
    rows = (torch.arange(B) < torch.tensor(examples).unsqueeze(1)).float()
    plain = [plain_batch_norm(layer, k) for k in range(K)]
    x = pictures() + 2
    mine_x = x.clone().requires_grad_()
    padded = min(examples) < B
    for _ in range(2):  # the running statistics go on from where they are
        layer.zero_grad()
        mine_x.grad = None
        with learning([layer], rows if padded else None):
            y = apart(layer(side_by_side(mine_x)))
        (y.pow(3) * rows[..., None, None, None]).sum().backward()
        for k, n in enumerate(examples):
            plain[k].zero_grad()
            theirs_x = x[k, :n].clone().requires_grad_()
            theirs = plain[k](theirs_x)
            theirs.pow(3).sum().backward()
            torch.testing.assert_close(y[k, :n], theirs, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(mine_x.grad[k, :n], theirs_x.grad, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(layer.weight.grad[k], plain[k].weight.grad, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(layer.running_mean[k], plain[k].running_mean)
            torch.testing.assert_close(layer.running_var[k], plain[k].running_var)
    for k in range(K):
        plain[k].eval()
        torch.testing.assert_close(apart(layer(side_by_side(x)))[k], plain[k](x[k]))


def test_what_stands_in_padded_rows_changes_nothing():
    rows = torch.ones(K, B)
    rows[:, 4:] = 0
    results = []
    for junk in (0.0, 1e4):
        layer, x = batch_norm(torch.ones(K, C)), pictures()
        x[:, 4:] = junk
        with learning([layer], rows):
            y = apart(layer(side_by_side(x)))[:, :4]
        results.append((y, layer.running_mean, layer.running_var))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_a_replica_without_examples_keeps_its_statistics_and_stays_finite():
    layer, rows = batch_norm(torch.ones(K, C)), torch.ones(K, B)
    rows[1] = 0
    with learning([layer], rows):
        y = layer(side_by_side(pictures() * 1e3))
    assert torch.isfinite(y).all()
    assert torch.equal(layer.running_mean[1], torch.zeros(C)) and torch.equal(layer.running_var[1], torch.ones(C))
    assert not torch.equal(layer.running_mean[0], torch.zeros(C))


def test_an_answer_and_a_step_that_is_tried_out_leave_the_statistics_alone():
    layer = batch_norm(torch.ones(K, C))
    layer(side_by_side(pictures()))
    for rows in (None, torch.ones(K, B)):
        with learning([layer], rows, follow=False):
            y = layer(side_by_side(pictures()))
        assert abs(float(y.detach().mean())) < 1e-5  # it was the batch's that counted
    assert torch.equal(layer.running_mean, torch.zeros(K, C)) and torch.equal(layer.running_var, torch.ones(K, C))


def test_one_number_per_channel_is_normalised_to_zero():
    layer = batch_norm(torch.ones(K, C))
    with learning([layer], None):
        y = layer(torch.full((1, K * C, 1, 1), 5.0))
    assert torch.equal(y, torch.zeros_like(y))


def test_two_passes_may_learn_before_one_backward_pass():
    layer, x = batch_norm(torch.ones(K, C)), side_by_side(pictures())
    with learning([layer], None):
        first = layer(x)
    with learning([layer], torch.ones(K, B)):
        second = layer(x)
    (first.square() + second.square()).sum().backward()
    torch.testing.assert_close(first, second)
