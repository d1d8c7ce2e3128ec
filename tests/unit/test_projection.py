"""The nearest gradient that no past task objects to: against brute force, hand-worked examples and autograd."""

import itertools

import pytest
import torch

from clcore.batch import Batch
from clcore.methods.parts.projection import Conflicts, Gradients, Pairs, dual_variables, inner_product
from tests.training_cases import digits_run, learner_for

pytestmark = pytest.mark.usefixtures("one_thread")


def products(g, past):
    """(K, n+1, n+1) inner products of `past` (K, n, P) and `g` (K, P)."""
    rows = torch.cat([past, g.unsqueeze(1)], 1)
    return rows @ rows.mT


def project(g, past, margin=0.0, ridge=0.0):
    """v (K, n) and z (K, P)."""
    v = dual_variables(products(g, past), margin, ridge)
    return v, g + (v.unsqueeze(1) @ past).squeeze(1)


def random_case(replicas, n, size, seed=0, conflict=0.0):
    generator = torch.Generator().manual_seed(seed)
    past = torch.randn(replicas, n, size, generator=generator, dtype=torch.float64) + conflict
    return torch.randn(replicas, size, generator=generator, dtype=torch.float64) - conflict, past


def brute_force(g, past, margin):
    """The best of all active sets, by least squares: z for one replica."""
    gram, slope = past @ past.T, past @ g
    best, found = torch.inf, None
    for chosen in itertools.product([False, True], repeat=len(past)):
        free = torch.tensor(chosen)
        v = torch.full((len(past),), margin, dtype=torch.float64)
        if free.any():
            right = -(slope[free] + gram[free][:, ~free] @ v[~free])
            v[free] = torch.linalg.lstsq(gram[free][:, free], right.unsqueeze(1)).solution[:, 0]
        value = v @ gram @ v / 2 + slope @ v
        if (v >= margin - 1e-12).all() and value < best - 1e-14:
            best, found = value, g + past.T @ v
    return found


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_ridge_is_one_more_number_that_only_its_own_gradient_has(n, margin):
    """G with √ε·I beside it has the inner products GGᵀ + ε·I, and g with zeros there the same Gg."""
    g, past = random_case(20, n, 8, seed=n)
    ridge = 0.3
    wider = torch.cat([past, ridge**0.5 * torch.eye(n, dtype=past.dtype).expand(20, n, n)], 2)
    v, _ = project(g, past, margin, ridge)
    assert not torch.allclose(v, project(g, past, margin)[0])
    torch.testing.assert_close(v, project(torch.cat([g, torch.zeros(20, n)], 1), wider, margin)[0], rtol=0, atol=1e-8)


def test_a_ridge_lets_go_of_short_gradients():
    g, past = random_case(20, 3, 8, conflict=0.5)
    v, z = project(g, 1e-4 * past, ridge=1e-3)
    assert (v > 0).any() and torch.allclose(z, g, atol=1e-3)
    agreeing = [(past @ step.unsqueeze(2) > -1e-9).all() for step in (project(g, 1e-4 * past)[1], z)]
    assert agreeing == [True, False]


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_it_is_the_brute_force_solution(n, margin):
    g, past = random_case(40, n, 8, seed=n)
    v, z = project(g, past, margin)
    violated = ((past @ g.unsqueeze(2)).squeeze(2) < 0).any(1)
    assert violated.any() and (n > 3 or not violated.all())
    for k in range(40):
        expected = brute_force(g[k], past[k], margin) if violated[k] else g[k]
        torch.testing.assert_close(z[k], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "g, past, margin, v, z",
    [
        ((1, 0), [(-1, 1)], 0, (0.5,), (0.5, 0.5)),
        ((1, 0), [(-1, 1)], 0.5, (0.5,), (0.5, 0.5)),
        ((1, 0), [(-1, 1)], 1, (1,), (0, 1)),
        ((1, 0), [(-1, 1), (-1, -1)], 0, (0.5, 0.5), (0, 0)),
        ((1, 0), [(-1, 2), (2, 1)], 0, (0.2, 0), (0.8, 0.4)),
        ((1, 0.5), [(-1, 1), (0, -1)], 0, (1, 1.5), (0, 0)),
        ((1, 0, 0), [(-1, 1, 0), (-1, 0, 1)], 0, (1 / 3, 1 / 3), (1 / 3, 1 / 3, 1 / 3)),
        ((1, 0, 0), [(-1, 1, 0), (-1, 0, 1)], 0.5, (0.5, 0.5), (0, 0.5, 0.5)),
        ((1, 0), [(1, 1)], 0.5, (0,), (1, 0)),
    ],
)
def test_worked_examples(g, past, margin, v, z):
    """The replay dossier's §3b, and one that nobody objects to."""
    g, past = torch.tensor([g], dtype=torch.float64), torch.tensor([past], dtype=torch.float64)
    found_v, found_z = project(g, past, float(margin))
    torch.testing.assert_close(found_v[0], torch.tensor(v, dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(found_z[0], torch.tensor(z, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("n, size", [(1, 5), (4, 30), (19, 60), (49, 120)])
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_all_constraints_hold_and_slackness_is_complementary(n, size, margin):
    g, past = random_case(30, n, size, seed=n, conflict=0.2)
    v, z = project(g, past, margin)
    violated = ((past @ g.unsqueeze(2)).squeeze(2) < 0).any(1)
    assert violated.sum() > 5
    g, past, v, z = g[violated], past[violated], v[violated], z[violated]
    agreement = (past @ z.unsqueeze(2)).squeeze(2) / (past.norm(dim=2) * z.norm(dim=1, keepdim=True))
    assert agreement.min() >= -1e-6
    assert (v >= margin).all()
    assert ((v - margin) * agreement).abs().max() < 1e-6
    if margin == 0:
        assert ((z - g) * z).sum(1).abs().max() < 1e-6 * (g * g).sum(1).max()  # the foot of a perpendicular


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1e2, 1e4])
@pytest.mark.parametrize("which", ["both", "gradient", "memory"])
def test_scaling_gradients_scales_the_projection(scale, which):
    g, past = random_case(20, 4, 12, conflict=0.2)
    _, z = project(g, past)
    own, other = (scale if which in ("both", "gradient") else 1.0), (scale if which in ("both", "memory") else 1.0)
    _, scaled = project(own * g, other * past)
    torch.testing.assert_close(scaled / own, z, rtol=1e-7, atol=1e-9)


def test_the_order_of_tasks_and_repeated_tasks_do_not_matter():
    g, past = random_case(20, 4, 12, conflict=0.2)
    _, z = project(g, past)
    for other in (past[:, [2, 0, 3, 1]], torch.cat([past, past[:, 1:3]], 1), torch.cat([past, 3 * past], 1)):
        torch.testing.assert_close(project(g, other)[1], z, rtol=1e-6, atol=1e-7)


def test_a_gradient_that_nobody_objects_to_is_left_alone():
    g, past = random_case(50, 2, 6)
    v, z = project(g, past, 0.5)
    fine = ((past @ g.unsqueeze(2)).squeeze(2) >= 0).all(1)
    assert 5 < fine.sum() < 45
    assert torch.all(v[fine] == 0) and torch.equal(z[fine], g[fine]) and torch.all(v[~fine] >= 0.5)


def test_a_gradient_of_zero_objects_to_nothing():
    g, past = random_case(8, 3, 6, conflict=0.3)
    _, without = project(g, past[:, :2])
    past[:, 2] = 0
    v, z = project(g, past)
    assert torch.isfinite(v).all()
    torch.testing.assert_close(z, without)
    assert torch.all(dual_variables(products(0 * g, past)) == 0)


def test_replicas_do_not_notice_one_another():
    g, past = random_case(16, 6, 12, conflict=0.2)
    together = dual_variables(products(g, past), torch.linspace(0, 1, 16))
    ruined = products(g, past)
    ruined[3] = torch.nan
    beside_a_ruin = dual_variables(ruined, torch.linspace(0, 1, 16))
    for k in (0, 4, 15):
        alone = dual_variables(products(g, past)[k : k + 1], torch.linspace(0, 1, 16)[k : k + 1])
        assert torch.equal(alone[0], together[k]) and torch.equal(alone[0], beside_a_ruin[k])


def blocks_of(learner, task, sizes, rows=8):
    """A task's first `sizes[k]` examples of replica k in blocks."""
    blocks = []
    for start in range(0, max(sizes), rows):
        positions = torch.arange(start, start + rows).expand(len(sizes), -1)
        x, y = learner.stream.tasks[task].train.gather(positions)
        weight = (positions < torch.tensor(sizes).unsqueeze(1)).float()
        ids = learner.stream.tasks[task].train.ids(positions)
        blocks.append(Batch(x, y, weight, weight.sum(1), torch.full_like(ids, task), ids))
    return blocks


def below(*parts):
    """Batches (K, B) as one, each below the one before."""
    names = ("x", "y", "weight", "task", "ids")
    x, y, weight, task, ids = (torch.cat([getattr(part, name) for part in parts], 1) for name in names)
    return Batch(x, y, weight, weight.sum(1), task, ids)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("hidden", [(12, 8), (33, 17), ()])
def test_recorded_gradients_are_autograds(scenario, hidden, together):
    """Row by row the gradient of a task's mean loss, whatever blocks it came in; the parameters' own stay as they were."""
    run = digits_run("finetune", seeds=(0, 1, 2), benchmark="split-digits", scenario=scenario, hidden=hidden)
    learner = learner_for(run)
    classifier, network = learner.classifier, learner.classifier.network
    classifier.learning = 2
    gradients = Gradients(network, 3)
    sizes = {0: (5, 17, 0), 1: (12, 3, 8)}
    blocks = [blocks_of(learner, task, held, rows=4) for task, held in sizes.items()]
    if together:
        empty = blocks_of(learner, 1, (4, 4, 4), rows=4)
        empty[0].weight.zero_()  # of a task of which less is held
        gradients.record([0, 1], classifier, [below(*b) for b in itertools.zip_longest(*blocks, fillvalue=empty[0])])
    else:
        for task, own in enumerate(blocks):
            gradients.record([task], classifier, own)
    assert all(p.grad is None for p in network.parameters())
    for task, held in sizes.items():
        losses = []
        for k, n in enumerate(held):
            [whole] = blocks_of(learner, task, held, rows=20)
            own = classifier.sample_losses(whole)[k, :n]
            losses.append(own.mean() if n else 0 * own.sum())
        expected = torch.autograd.grad(sum(losses), list(network.parameters()))
        for parameter, gradient in zip(network.parameters(), expected, strict=True):
            torch.testing.assert_close(gradients.views(task)[parameter], gradient, rtol=1e-4, atol=1e-6)
    gradients.record([0], classifier, [])
    assert torch.all(gradients.rows[:, 0] == 0)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("scenario", ["task", "class"])
@pytest.mark.parametrize("hidden", [(12, 8), (33, 17), ()])
def test_pairs_have_the_bits_of_one_pass_and_the_values_of_another(scenario, hidden):
    """The current examples' gradient as if nothing were replayed; the replayed ones' own, or zero; no weight's own pass."""
    run = digits_run("finetune", seeds=(0, 1, 2), benchmark="split-digits", scenario=scenario, hidden=hidden)
    learner = learner_for(run)
    classifier, network = learner.classifier, learner.classifier.network
    parameters = list(network.parameters())
    classifier.learning = 1
    [current], [past] = blocks_of(learner, 1, (12, 12, 7), rows=12), blocks_of(learner, 0, (8, 5, 0), rows=8)

    def wanted(batch):
        mean = (classifier.sample_losses(batch) * batch.weight).sum(1) / batch.count.clamp_min(1)
        return mean, torch.autograd.grad(mean.sum(), parameters)

    (mean, own), (_, other) = wanted(current), wanted(past)
    pairs = Pairs(network)
    for _ in range(2):  # nothing is left over from the time before
        loss, in_turn = pairs.of(classifier, current.with_replay(past))
        assert torch.equal(loss, mean.detach()) and all(p.requires_grad for p in parameters)
        for k, (g, g_ref) in enumerate(in_turn):
            for p, a, b, shaped in zip(parameters, own, other, pairs._shaped(g_ref.unsqueeze(0)).values(), strict=True):
                assert torch.equal(p.grad[k], a[k])
                torch.testing.assert_close(shaped[0], b[k], rtol=1e-4, atol=1e-6)
            assert (k == 2) == (inner_product(g_ref, g_ref) == 0)
            expected = sum((a[k].double() * b[k].double()).sum() for a, b in zip(own, other, strict=True))
            assert inner_product(g, g_ref) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)
            g.add_(g_ref)
            for p, a, b in zip(parameters, own, other, strict=True):
                torch.testing.assert_close(p.grad[k], a[k] + b[k], rtol=1e-4, atol=1e-6)
            g.zero_()
    for p, a in zip(parameters, own, strict=True):
        p.grad = 3 * a
    _, in_turn = pairs.of(classifier, current.with_replay(past), given=True)
    for k, (_, g_ref) in enumerate(in_turn):
        for p, a, b, shaped in zip(parameters, own, other, pairs._shaped(g_ref.unsqueeze(0)).values(), strict=True):
            assert torch.equal(p.grad[k], 3 * a[k])
            torch.testing.assert_close(shaped[0], b[k], rtol=1e-4, atol=1e-6)


def test_gradients_are_read_compared_and_added_to():
    learner = learner_for(digits_run("finetune", seeds=(0, 1), hidden=(9,)))
    network = learner.classifier.network
    gradients = Gradients(network, 2)
    generator = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    gradients.read(0)
    before = [p.grad.clone() for p in network.parameters()]
    for p in network.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    own = [p.grad.clone() for p in network.parameters()]
    gradients.read(1)
    found = gradients.products()
    expected = sum((a.double() * b.double()).flatten(1).sum(1) for a, b in zip(before, own, strict=True))
    torch.testing.assert_close(found[:, 0, 1], expected, rtol=1e-5, atol=1e-4)
    gradients.add(torch.tensor([[2.0], [0.0]]))
    for p, a, b in zip(network.parameters(), before, own, strict=True):
        torch.testing.assert_close(p.grad[0], 2 * a[0] + b[0])
        assert torch.equal(p.grad[1], b[1])


def test_conflicts_are_means_over_steps():
    conflicts = Conflicts(1, 3, torch.device("cpu"))
    past = torch.tensor([[[-1.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    for g in ((1.0, 0.0), (0.0, 2.0)):
        inner = products(torch.tensor([g], dtype=torch.float64), past)
        conflicts.saw(inner, dual_variables(inner))
    found = conflicts.insight()
    torch.testing.assert_close(found["gradient_angle"][0, 0], torch.tensor((135 + 45) / 2.0))
    assert found["violated_share"][0, 0] == 0.5 and torch.isnan(found["violated_share"][0, 1:]).all()
    torch.testing.assert_close(found["length_removed"], torch.tensor([0.5**0.5 / 2]))
    conflicts.clear()
    assert torch.isnan(conflicts.insight()["length_removed"]).all()
