"""Distillation losses and the teacher: what the mathematics promises."""

import pytest
import torch
import torch.nn.functional as F

from clcore.batch import Batch
from clcore.methods.parts.distillation import batch_mean, binary_cross_entropy, entropy, soft_cross_entropy
from clcore.methods.parts.teacher import Teacher
from clcore.networks.classifier import Classifier
from clcore.networks.layers import recording
from clcore.networks.mlp import MLP
from clcore.randomness import Generators

pytestmark = pytest.mark.usefixtures("one_thread")


def logits(seed=0, scale=3.0, outputs=6):
    return scale * torch.randn(2, 5, outputs, generator=torch.Generator().manual_seed(seed))


def network(replicas=2):
    return MLP((8,), 6, (12,), list(Generators(list(range(replicas)), "weights")))


def batch_of(x, weight=None):
    weight = torch.ones(x.shape[:2]) if weight is None else weight
    y = torch.zeros(x.shape[:2], dtype=torch.long)
    return Batch(x, y, weight, weight.sum(1), 0, y)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_it_is_the_cross_entropy_of_softened_answers(temperature):
    student, teacher = logits(0), logits(1)
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    loss = soft_cross_entropy(student, teacher, temperature=temperature)
    torch.testing.assert_close(loss, -(p * q.log()).sum(-1))
    assert loss.shape == (2, 5)


def test_the_paper_softens_probabilities_by_a_power():
    """Li & Hoiem write p^(1/T), normalised again: the same thing as dividing the logits."""
    student, teacher = logits(0).double(), logits(1).double()
    p, q = (F.normalize(z.softmax(-1) ** 0.5, p=1, dim=-1) for z in (teacher, student))
    torch.testing.assert_close(soft_cross_entropy(student, teacher, temperature=2.0), -(p * q.log()).sum(-1))


def test_the_gradient_is_the_difference_of_the_answers_over_t():
    student, teacher = logits(0).requires_grad_(), logits(1)
    soft_cross_entropy(student, teacher, temperature=2.0).sum().backward()
    torch.testing.assert_close(student.grad, ((student / 2).softmax(-1) - (teacher / 2).softmax(-1)) / 2)


@pytest.mark.parametrize("heads", [1, 3])
def test_at_the_teachers_answers_the_gradient_is_zero_and_the_loss_the_entropy(heads):
    teacher = logits(1)
    student = teacher.clone().requires_grad_()
    loss = soft_cross_entropy(student, teacher, temperature=2.0, heads=heads)
    loss.sum().backward()
    assert student.grad.abs().max() < 1e-7
    torch.testing.assert_close(loss, entropy(teacher, temperature=2.0, heads=heads))


@pytest.mark.parametrize("temperature", [0.5, 2.0, 50.0])
def test_it_is_never_below_the_entropy_nor_the_entropy_above_log_c(temperature):
    teacher = logits(1)
    least = entropy(teacher, temperature=temperature)
    assert bool((least > 0).all()) and bool((least <= torch.tensor(6.0).log() + 1e-6).all())
    for seed in range(2, 12):
        assert bool((soft_cross_entropy(logits(seed), teacher, temperature=temperature) >= least).all())


def test_for_large_temperatures_it_compares_centred_logits():
    """T²·KL → ‖(z − mean) − (z' − mean')‖² / 2C."""
    student, teacher = logits(0).double(), logits(1).double()
    divergence = soft_cross_entropy(student, teacher, temperature=1e3) - entropy(teacher, temperature=1e3)
    difference = student - teacher
    limit = (difference - difference.mean(-1, keepdim=True)).square().sum(-1) / (2 * 6)
    torch.testing.assert_close(1e6 * divergence, limit, rtol=5e-3, atol=0)


def test_a_constant_added_to_all_logits_changes_nothing():
    student, teacher = logits(0), logits(1)
    plain = soft_cross_entropy(student, teacher, temperature=2.0)
    torch.testing.assert_close(soft_cross_entropy(student + 7, teacher - 4, temperature=2.0), plain)


def test_heads_are_softmaxes_of_their_own_and_other_units_do_not_matter():
    student, teacher = logits(0).requires_grad_(), logits(1)
    both = soft_cross_entropy(student, teacher, temperature=2.0, units=slice(0, 4), heads=2)
    each = [soft_cross_entropy(student, teacher, temperature=2.0, units=slice(s, s + 2)) for s in (0, 2)]
    torch.testing.assert_close(both, each[0] + each[1])
    one = soft_cross_entropy(student, teacher, temperature=2.0, units=slice(0, 4))
    assert not torch.allclose(both, one)
    both.sum().backward()
    assert bool((student.grad[..., 4:] == 0).all()) and bool((student.grad[..., :4] != 0).all())
    # A shift of one head's logits is a shift within its own softmax only.
    shifted = student.detach() + torch.tensor([5.0, 5.0, 0, 0, 0, 0])
    torch.testing.assert_close(
        soft_cross_entropy(shifted, teacher, temperature=2.0, units=slice(0, 4), heads=2), both.detach()
    )


def test_a_teachers_minus_infinity_is_an_answer_of_zero():
    student, teacher = logits(0).requires_grad_(), logits(1)
    teacher[..., 4:] = float("-inf")
    loss = soft_cross_entropy(student, teacher, temperature=2.0)
    p = (teacher[..., :4] / 2).softmax(-1)
    torch.testing.assert_close(loss, -(p * (student / 2).log_softmax(-1)[..., :4]).sum(-1))
    torch.testing.assert_close(entropy(teacher, temperature=2.0), -(p * p.log()).sum(-1))
    loss.sum().backward()
    torch.testing.assert_close(student.grad[..., 4:], (student.detach() / 2).softmax(-1)[..., 4:] / 2)


def test_confident_answers_stay_finite():
    student = torch.tensor([[[1e4, -1e4, 0.0]]], requires_grad=True)
    teacher = torch.tensor([[[-1e4, 1e4, 0.0]]])
    loss = soft_cross_entropy(student, teacher, temperature=2.0)
    loss.sum().backward()
    assert loss.item() == pytest.approx(1e4) and bool(torch.isfinite(student.grad).all())
    hard = binary_cross_entropy(student.detach(), teacher.sigmoid())
    assert bool(torch.isfinite(hard).all())


def test_binary_cross_entropy_has_no_gradient_where_the_targets_are_the_outputs():
    student = logits(0).requires_grad_()
    targets = student.detach().sigmoid()
    targets[..., 4:] = 1.0
    loss = binary_cross_entropy(student, targets)
    loss.sum().backward()
    assert student.grad[..., :4].abs().max() < 1e-7
    torch.testing.assert_close(student.grad[..., 4:], student.detach()[..., 4:].sigmoid() - 1)
    torch.testing.assert_close(loss, F.binary_cross_entropy(student.sigmoid(), targets, reduction="none").sum(-1))
    assert binary_cross_entropy(student, targets, slice(0, 2)).shape == (2, 5)


def test_padding_has_no_weight():
    losses = torch.tensor([[1.0, 3.0, 100.0], [7.0, 7.0, 7.0]])
    batch = batch_of(torch.zeros(2, 3, 8), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert batch_mean(losses, batch).tolist() == [2.0, 0.0]


def test_a_teacher_says_what_the_network_said_when_it_was_copied():
    net, x = network(), torch.randn(2, 4, 8)
    teacher = Teacher(net)
    assert not teacher and teacher.footprint() == {}
    teacher.copy()
    said = net(x).detach()
    assert teacher and torch.equal(teacher(x), said) and not teacher(x).requires_grad
    with torch.no_grad():
        for p in net.parameters():
            p.add_(1.0)
    assert torch.equal(teacher(x), said) and not torch.equal(net(x), said)
    assert teacher.footprint() == {"old_networks": 4 * (8 * 12 + 12 + 12 * 6 + 6)}
    teacher.copy()
    assert torch.equal(teacher(x), net(x))


def test_asking_a_teacher_leaves_the_network_as_it_is():
    """The head is registered under two names; swapping it twice would leave the teacher's tensors in the network."""
    net, x = network(), torch.randn(2, 4, 8)
    teacher = Teacher(net)
    teacher.copy()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2.0)
    before = [(p, p.detach().clone()) for p in net.parameters()]
    logits = net(x)
    teacher(x)
    for p, (same, value) in zip(net.parameters(), before, strict=True):
        assert p is same and torch.equal(p, value) and p.requires_grad
    assert net.head is net.layers[-1] and net.head.weight is net.layers[-1].weight
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert all(w.grad is None and not w.requires_grad for w in teacher.weights.values())


def test_a_teacher_survives_a_checkpoint():
    net, x = network(), torch.randn(2, 4, 8)
    teacher = Teacher(net)
    teacher.copy()
    again = Teacher(network())
    again.load_state_dict(teacher.state_dict())
    assert torch.equal(again(x), teacher(x))


def test_the_logits_of_a_loss_are_given_again_without_a_forward_pass():
    net = network()
    classifier = Classifier(net, torch.ones(1, 6, dtype=torch.bool), "domain")
    batch = batch_of(torch.randn(2, 4, 8))
    with recording(net) as tape:
        classifier.sample_losses(batch)
        kept = classifier.logits(batch)
        assert classifier.logits(batch) is kept and len(tape) == 2  # one forward pass of two layers
        classifier.sample_losses(batch)
        assert len(tape) == 4 and classifier.logits(batch) is not kept  # a loss always computes its own
    assert torch.equal(kept, net(batch.x))


def test_logits_computed_without_a_gradient_are_not_given_to_somebody_who_needs_one():
    classifier = Classifier(network(), torch.ones(1, 6, dtype=torch.bool), "domain")
    batch = batch_of(torch.randn(2, 4, 8))
    with torch.no_grad():
        classifier.sample_losses(batch)
        assert not classifier.logits(batch).requires_grad
    assert classifier.logits(batch).requires_grad


def test_replayed_parts_keep_their_own_logits():
    net = network()
    classifier = Classifier(net, torch.ones(1, 6, dtype=torch.bool), "domain")
    batch = batch_of(torch.randn(2, 4, 8)).with_replay(batch_of(torch.randn(2, 8, 8)))
    for part in batch.parts:
        classifier.sample_losses(part)
    for part in batch.parts:
        assert torch.equal(classifier.logits(part), net(part.x))
