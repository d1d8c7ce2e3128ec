"""DEN: each of its four parts, and what they leave alone."""

from __future__ import annotations

import gc
import math
from copy import deepcopy

import pytest
import torch

from clcore import capacity
from clcore.errors import RequestError
from clcore.methods.parts.growth import connections, reached
from tests.training_cases import (
    OPTIMIZERS,
    assert_independent,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    result_of,
    trained,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SPLIT = {"benchmark": "split-digits", "scenario": "task"}
# With these, every part has something to do on a small network.
BUSY = {"sparsity": 0.02, "group_sparsity": 0.1, "loss": 0.2, "drift": 0.05, "new_units": 4}
DRIFTING = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def case(settings=None, **more):
    settings = {f"den.{name}": value for name, value in {**BUSY, **(settings or {})}.items()}
    return digits_run("den", settings=settings, **{"hidden": (16, 12), "epochs": 2, "live_points": 0, **SPLIT, **more})


def tensors(learner):
    return [p.detach().clone() for p in learner.classifier.network.parameters()]


def inputs(learner, n=32):
    return torch.rand(len(learner.seeds), n, *learner.stream.input_shape, generator=torch.Generator().manual_seed(7))


def logits(learner, task, units=None):
    units = learner.classifier.groups[task] if units is None else units
    return learner.method.predict(inputs(learner), task)[..., units].detach()


def learn_watched(learner, task, look):
    """Learns a task and calls `look(moment, phase name)` before and after every phase."""
    train = learner._train

    def watched(task, phase):
        look("before", phase.name)
        result = train(task, phase)
        look("after", phase.name)
        return result

    learner._train = watched
    learner.learn(learner.stream.tasks[task])
    learner._train = train


def mask_of(learner, units):
    """Which entries of every parameter lie between these units, the inputs and the present task's outputs."""
    return [mask for pair in learner.method._between(units) for mask in pair]


# --- selective retraining ---


def test_the_first_task_and_a_new_head_become_sparse():
    learner = trained(case(seeds=(0, 1), epochs=4), tasks=1)
    weight = learner.classifier.network.layers[1].weight[:, :16, :12]
    assert 0.1 < (weight == 0).float().mean() < 0.95
    own = learner.classifier.groups[1]
    seen = []

    def look(moment, name):
        if (moment, name) == ("after", "head"):
            seen.append((learner.classifier.network.head.weight[:, :12, :10][..., own] == 0).float().mean())

    learn_watched(learner, 1, look)
    assert 0.1 < seen[0] < 0.95
    dense = trained(case({"sparsity": 0.0}, seeds=(0,)), tasks=1)
    assert bool((dense.classifier.network.layers[1].weight[:, :16, :12] != 0).all())


def test_single_weights_step_towards_zero_by_lr_mu_and_new_units_by_lr_gamma():
    learner = trained(case({"sparsity": 0.5, "group_sparsity": 0.3}, seeds=(0,), strengths=(0.0,)), tasks=1)
    method, layers = learner.method, learner.classifier.network.layers
    everything = method._between(method.growth.existing())
    new = [torch.zeros_like(on) for on in method.growth.existing()]
    new[0][:, 3] = True
    method._phase("x", everything, sparse=everything, groups=new)
    with torch.no_grad():
        layers[0].weight[0, :4, 3] = torch.tensor([1.0, -0.03, 0.55, -0.75])
        layers[0].weight[0, 4:, 3] = 0
        layers[0].bias[0, 3] = 0.0
        layers[1].weight[0, :3, 0] = torch.tensor([0.2, -0.04, 0.05])
    before = tensors(learner)
    method.after_step(None, 0.1)
    soft = torch.tensor([0.95, 0.0, 0.5, -0.7])
    torch.testing.assert_close(layers[0].weight[0, :4, 3], soft * (1 - 0.03 / soft.norm()))
    torch.testing.assert_close(layers[1].weight[0, :3, 0], torch.tensor([0.15, 0.0, 0.0]))
    assert torch.equal(layers[0].bias, before[1]) and torch.equal(layers[1].bias, before[3])
    other = ~learner.classifier.groups[learner.classifier.learning]
    head = learner.classifier.network.head.weight
    assert torch.equal(head[..., :10][..., other], before[4][..., :10][..., other])


@DRIFTING
def test_only_the_selected_connections_are_trained(optimizer):
    """Whatever momentum or decay say: outside of the search's finding every bit stays, inside nearly all moves."""
    learner = trained(case(seeds=(0, 1, 2), epochs=4, **optimizer), tasks=1)
    found, before = [], []

    def look(moment, name):
        if name not in ("head", "selected"):
            return
        network, method = learner.classifier.network, learner.method
        if moment == "before":
            before[:] = tensors(learner)
            selected = reached(network.layers, method._own_units())
            inside = mask_of(learner, selected)
            if name == "head":
                existing = method.growth.existing()
                inside = [torch.zeros_like(m) for m in inside[:-2]] + mask_of(learner, existing)[-2:]
            found[:] = inside
            return
        for p, then, mask in zip(tensors(learner), before, found, strict=True):
            assert torch.equal(p[~mask], then[~mask])
            if name == "selected" and mask.dim() == 2:
                assert (p[mask] != then[mask]).float().mean() > 0.3
        if name == "selected":
            assert all(0 < int(m.sum()) < m.numel() for m in found)

    learn_watched(learner, 1, look)
    assert found


# --- expansion ---


def test_it_grows_where_the_loss_is_above_tau_and_nowhere_else(monkeypatch):
    settings = {"group_sparsity": 0.0, "drift": 1e6, "loss": 0.5}
    learner = trained(case(settings, seeds=(0, 1, 2, 3)), tasks=1)
    told = torch.tensor([0.49, 0.51, 0.5, torch.nan])
    monkeypatch.setattr(learner.method, "_training_loss", lambda task: told)
    trained_on = []
    learn_watched(learner, 1, lambda moment, name: trained_on.append(name) if moment == "before" else None)
    assert trained_on == ["head", "selected", "expand"]
    assert learner.method.growth.widths().tolist() == [[16, 12], [20, 16], [16, 12], [16, 12]]
    assert learner.method.expanded[:, 1].tolist() == [0, 8, 0, 0]
    monkeypatch.setattr(learner.method, "_training_loss", lambda task: torch.full((4,), 0.1))
    trained_on.clear()
    learn_watched(learner, 2, lambda moment, name: trained_on.append(name) if moment == "before" else None)
    assert trained_on == ["head", "selected"] and learner.method.expanded[:, 2].tolist() == [0] * 4


def test_the_loss_that_decides_is_the_mean_over_all_training_data():
    learner = trained(case(seeds=(0, 1), options={"order": "seeded"}), tasks=2)
    task = learner.stream.tasks[1]
    found = learner.method._training_loss(task)
    for k, n in enumerate(task.train.lengths.tolist()):
        x, y = task.train.gather(torch.arange(n).expand(2, n))
        units = learner.classifier.groups[1]
        z = learner.method.predict(x, 1)[k][:, units]
        expected = torch.nn.functional.cross_entropy(z, y[k] - int(units.nonzero()[0]))
        torch.testing.assert_close(found[k], expected.detach(), rtol=1e-4, atol=1e-5)


@DRIFTING
def test_an_expansion_trains_new_units_and_the_head_only_and_changes_no_output_by_itself(optimizer):
    settings = {"loss": 0.0, "drift": 1e6, "group_sparsity": 0.0, "sparsity": 0.001}
    learner = trained(case(settings, seeds=(0, 1), epochs=4, **optimizer), tasks=1)
    network, method, seen, moved = learner.classifier.network, learner.method, {}, []

    def look(moment, name):
        if (moment, name) == ("after", "selected"):
            seen["logits"], seen["old units"] = logits(learner, 1), method.growth.existing()
        elif (moment, name) == ("before", "expand"):
            torch.testing.assert_close(logits(learner, 1), seen["logits"])
            seen["weights"], seen["new"] = tensors(learner), method.growth.existing()
            fresh = [a & ~b for a, b in zip(seen["new"], seen["old units"], strict=True)]
            assert [int(f.sum()) for f in fresh] == [8, 8]
        elif (moment, name) == ("after", "expand"):
            old = mask_of(learner, seen["old units"])
            for at, (p, then, mask) in enumerate(
                zip(tensors(learner)[:-2], seen["weights"][:-2], old[:-2], strict=True)
            ):
                assert torch.equal(p[mask], then[mask]), at
                moved.append(not torch.equal(p, then))

    learn_watched(learner, 1, look)
    assert moved == [True] * 4
    assert not torch.equal(network.head.weight, seen["weights"][-2])


def test_idle_units_are_removed_and_the_others_have_incoming_weights():
    settings = {"loss": 0.0, "drift": 1e6, "group_sparsity": 0.08, "sparsity": 0.001}
    learner = trained(case(settings, seeds=(0, 1), epochs=8), tasks=3)
    growth, layers = learner.method.growth, learner.classifier.network.layers
    survivors = learner.method.expanded[:, 1:3]
    assert 0 < int(survivors.sum()) < survivors.numel() * 8
    for layer, born in zip(layers[:-1], growth.born, strict=True):
        assert bool(((born > 0).sum(1) <= 2 * 4).all())
        incoming = layer.weight.abs().sum(1) + layer.bias.abs()
        assert bool((incoming[born > 0] > 0).all()) and bool((incoming[born < 0] == 0).all())
    everything = [born >= 0 for born in growth.born]
    own = torch.ones_like(learner.method._own_units())
    for layer, a, b in zip(layers[1:], everything, [*everything[1:], own], strict=True):
        assert torch.all(layer.weight[~connections(a, b)] == 0)
    gone = trained(case({"loss": 0.0, "drift": 1e6, "group_sparsity": 10.0}, seeds=(0, 1)), tasks=3).method
    assert gone.growth.widths().tolist() == [[16, 12]] * 2 and int(gone.expanded.sum()) == 0


def test_without_room_it_never_grows():
    learner = trained(case({"loss": 0.0, "drift": 0.0, "room": 0.0}, seeds=(0, 1)), tasks=3)
    method = learner.method
    assert method.growth.widths().tolist() == [[16, 12]] * 2 and int(method.split.sum() + method.expanded.sum()) == 0
    tight = trained(case({"loss": 0.0, "drift": 0.0, "room": 0.25, "group_sparsity": 0.0}, seeds=(0,)), tasks=3).method
    assert tight.growth.widths().tolist() == [[20, 15]]


# --- split ---


def split_watched(settings=None, tasks=2, **more):
    """A learner, and what it looked like just before and just after the splits of its last task."""
    learner = trained(case(settings, **more), tasks=tasks - 1)
    seen = {"before W'": tensors(learner), "old logits": [logits(learner, t) for t in range(tasks - 1)]}
    separate = learner.method._separate

    def watched(task, drifted):
        seen["rho"], seen["drifted"] = [rho.clone() for rho in learner.method.drifts], drifted
        seen["weights"], seen["new logits"] = tensors(learner), logits(learner, tasks - 1)
        seen["moved old logits"] = [logits(learner, t) for t in range(tasks - 1)]
        seen["existing"] = learner.method.growth.existing()
        result = separate(task, drifted)
        learner.classifier.network.look_at(task.index)
        seen["after"], seen["rho after"] = tensors(learner), learner.method._drift(task)
        seen["old logits after"] = [logits(learner, t) for t in range(tasks - 1)]
        seen["new logits after"] = logits(learner, tasks - 1)
        seen["copies"] = [on & ~was for on, was in zip(learner.method.growth.existing(), seen["existing"], strict=True)]
        seen["originals"] = [left[:, task.index].clone() for left in learner.method.growth.left]
        return result

    learner.method._separate = watched
    learner.learn(learner.stream.tasks[tasks - 1])
    return learner, seen


@DRIFTING
@pytest.mark.parametrize("tasks", [2, 4])
def test_splitting_all_that_moved_gives_every_old_task_its_function_back_bit_for_bit(optimizer, tasks):
    """σ = 0 (I17): and the new task loses nothing, because its copies have what it has learned."""
    settings = {"drift": 0.0, "room": 16.0, "loss": 0.0}
    _, seen = split_watched(settings, tasks, seeds=(0, 1), strengths=(0, 0.1), **optimizer)
    for before, moved, after in zip(
        seen["old logits"], seen["moved old logits"], seen["old logits after"], strict=True
    ):
        assert not torch.equal(before, moved) and torch.equal(before, after)
    torch.testing.assert_close(seen["new logits after"], seen["new logits"], rtol=1e-4, atol=1e-4)


def test_those_that_drifted_beyond_sigma_are_split_and_no_others():
    learner, seen = split_watched({"room": 2.0}, seeds=(0, 1), strengths=(0.0, 0.3), epochs=4)
    counted = 0
    for at, (rho, originals, copies) in enumerate(zip(seen["rho"], seen["originals"], seen["copies"], strict=True)):
        assert torch.equal(originals, rho > 0.05) and torch.equal(copies.sum(1), originals.sum(1))
        assert bool((originals | (rho <= 0.05)).all()) and bool((rho[seen["existing"][at] & ~originals] <= 0.05).all())
        after = seen["rho after"][at]
        assert bool((after[originals] == 0).all()) and bool((after <= 0.05).all())
        counted += originals.sum(1)
    assert bool((counted > 0).all()) and counted.tolist() == learner.method.split[:, 1].tolist()
    assert not torch.equal(seen["rho"][0], torch.zeros_like(seen["rho"][0]))


def test_a_copy_has_the_new_weights_and_the_original_the_old_ones():
    """No aliasing of the two, biases and head rows are copied, and nobody reads both."""
    learner, seen = split_watched(
        {"room": 2.0, "drift": 0.01, "sparsity": 0.001}, seeds=(0,), strengths=(0.0,), epochs=4
    )
    own = learner.classifier.groups[1]
    first, second = (on[0].nonzero().flatten() for on in (seen["originals"][1], seen["copies"][1]))
    before, weights, after = seen["before W'"], seen["weights"], seen["after"]
    assert len(first) > 0
    rows = seen["existing"][0][0] & ~seen["originals"][0][0]
    new = {tuple(weights[2][0][rows, a].tolist()) + (weights[3][0, a].item(),) for a in first}
    made = {tuple(after[2][0][rows, b].tolist()) + (after[3][0, b].item(),) for b in second}
    assert new == made
    for a in first:
        assert torch.equal(after[2][0, :, a], before[2][0, :, a]) and after[3][0, a] == before[3][0, a]
        assert not torch.equal(weights[2][0, :, a], before[2][0, :, a])
    head, then = after[4][0][:, :10], weights[4][0][:, :10]
    assert {tuple(r) for r in head[second][:, own].tolist()} == {tuple(r) for r in then[first][:, own].tolist()}
    assert torch.all(head[first][:, own] == 0) and torch.all(head[second][:, ~own] == 0)
    assert torch.equal(head[first][:, ~own], then[first][:, ~own])
    assert not bool((torch.stack(learner.method.growth.visible(1)[:1]) & seen["originals"][0]).any())


def test_the_furthest_come_first_where_room_is_short():
    _, seen = split_watched(
        {"drift": 0.0, "room": 0.25, "loss": 1e2, "sparsity": 0.001}, seeds=(0, 1), strengths=(0.0,)
    )
    for rho, originals in zip(seen["rho"], seen["originals"], strict=True):
        count = originals.sum(1).tolist()
        assert all(0 < c < (rho > 0).sum(1).min() for c in count)
        for k, c in enumerate(count):
            assert set(originals[k].nonzero().flatten().tolist()) == set(rho[k].topk(c).indices.tolist())


def test_the_drift_is_that_of_incoming_weights_from_old_units():
    learner = trained(case({"relative": False, "drift": 1e6}, seeds=(0,)), tasks=1)
    method, network, task = learner.method, learner.classifier.network, learner.stream.tasks[1]
    learner.classifier.learning = 1
    method.begin(task)
    new = method.growth.switch_on(torch.tensor([2]), 1)
    with torch.no_grad():
        network.layers[1].weight[0, :2, 5] += torch.tensor([3.0, -4.0])
        network.layers[1].bias[0, 5] += 12.0
        network.layers[1].weight[0][new[0][0], 5] = 100.0  # from new units: no drift
        network.layers[1].weight[0, :, int(new[1][0].nonzero()[0])] = 7.0  # a new unit cannot drift
        network.head.weight += 1.0
    first, second = method._drift(task)
    torch.testing.assert_close(second[0, 5], torch.tensor(13.0))
    second[0, 5] = 0
    assert torch.all(second == 0) and torch.all(first == 0)
    method.hyper.relative = True
    before = math.hypot(
        *method.springs.centre.tensors[2][0, :, 5].tolist(), method.springs.centre.tensors[3][0, 5].item()
    )
    torch.testing.assert_close(method._drift(task)[1][0, 5], torch.tensor(13.0 / before))


# --- time stamps ---


def test_an_old_task_sees_neither_later_units_nor_later_weights_of_its_head():
    learner = learner_for(case({"room": 3.0, "loss": 0.0, "group_sparsity": 0.01}, seeds=(0, 1)))
    growth, recorded, widths = learner.method.growth, [], []
    for task in learner.stream.tasks:
        learner.learn(task)
        recorded.append([on.clone() for on in growth.visible(task.index)])
        widths.append(growth.widths())
        assert bool((growth.widths(task.index) <= growth.widths()).all())
    assert bool((widths[-1] > widths[0]).all())
    for earlier, later in zip(widths, widths[1:], strict=False):
        assert bool((later >= earlier).all())
    head = learner.classifier.network.head.weight[..., :10]
    for task, seen in enumerate(recorded):
        now = growth.visible(task)
        assert all(torch.equal(a, b) for a, b in zip(now, seen, strict=True))
        unborn = (growth.born[-1] > task) | (growth.born[-1] < 0)
        assert torch.all(head[unborn][:, learner.classifier.groups[task]] == 0)
    with torch.no_grad():
        before = [logits(learner, t) for t in range(5)]
        network = learner.classifier.network
        for own, following, born in zip(network.layers[:-1], network.layers[1:], growth.born, strict=True):
            later = born > 1
            own.weight.copy_(torch.where(later.unsqueeze(1), torch.randn_like(own.weight) * 9, own.weight))
            own.bias.copy_(torch.where(later, 9.0, own.bias))
            following.weight.copy_(
                torch.where(later.unsqueeze(2), torch.randn_like(following.weight), following.weight)
            )
    for task in range(5):
        assert torch.equal(logits(learner, task), before[task]) == (task < 2)


def test_old_heads_never_move():
    learner = trained(case(seeds=(0, 1), momentum=0.9, weight_decay=1e-3, lr=0.05), tasks=2)
    network = learner.classifier.network
    old = learner.classifier.seen[1]
    before = [p.detach()[..., :10][..., old].clone() for p in (network.head.weight, network.head.bias)]
    learner.learn(learner.stream.tasks[2])
    after = [p.detach()[..., :10][..., old] for p in (network.head.weight, network.head.bias)]
    assert identical(before, after)


# --- what every method promises ---


def test_every_phase_has_a_fresh_optimizer_over_the_parameters_that_there_are():
    learner, made = learner_for(case({"loss": 0.0}, seeds=(0,), optimizer="adam")), []
    fresh = learner._fresh_optimizers

    def watched(phase):
        made.append((phase.name, fresh(phase)))
        return made[-1][1]

    learner._fresh_optimizers = watched
    for task in learner.stream.tasks[:2]:
        learner.learn(task)
    assert [name for name, _ in made] == ["sparse", "head", "selected", "expand", "retrain"]
    now = [id(p) for p in learner.classifier.network.parameters()]
    for _, (optimizer,) in made:
        assert [id(p) for group in optimizer.param_groups for p in group["params"]] == now
    assert len({id(optimizer) for _, (optimizer,) in made}) == len(made)


@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
def test_held_very_firmly_old_units_stay(penalty_step):
    strength = 1e9 if penalty_step == "implicit" else 9.0
    drifts = {}
    for value in (0.0, strength):
        learner = trained(case({"penalty_step": penalty_step}, seeds=(0,), strengths=(value,)), tasks=2)
        drifts[value] = torch.cat(learner.method.drifts, 1).max()
    assert drifts[strength] < (1e-6 if penalty_step == "implicit" else 0.5 * drifts[0.0])


def test_the_charge_is_the_closed_formula():
    learner = learner_for(case({"loss": 0.0}, seeds=(0, 1)))
    assert learner.footprint()[0] == {"parameters": 4 * (65 * 16 + 17 * 12 + 13 * 10)}
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
    growth = learner.method.growth
    for k, footprint in enumerate(learner.footprint()):
        a, b = growth.widths()[k].tolist()
        hidden = 65 * a + (a + 1) * b
        heads = sum(2 * (int(on[k].sum()) + 1) for on in (growth.visible(t)[1] for t in range(5)))
        stamps = a + b + 2 * (math.ceil(a / 8) + math.ceil(b / 8))
        assert footprint == {"parameters": 4 * (hidden + heads), "anchors": 4 * hidden, "time_stamps": stamps}
        assert (a, b) > (16, 12)


def test_estimates_of_memory_know_what_is_reserved():
    run = case({"room": 0.3})
    network = learner_for(run).classifier.network
    held = capacity.held_parameters(run, (64,), 10)
    assert held == 65 * (16 + 5) + (16 + 5 + 1) * (12 + 4) + (12 + 4 + 1) * 10
    assert held == sum((layer.inputs + 1) * layer.outputs for layer in network.layers)


def test_estimates_of_memory_know_all_copies_of_the_weights(monkeypatch):
    """Counted in the middle of a step: every tensor that is as large as a layer's weights."""
    run = digits_run("den", hidden=(76, 44), seeds=(0,), optimizer="adam", live_points=0, **SPLIT)
    learner, most = learner_for(run), 0
    shapes = {p.shape for p in learner.classifier.network.parameters() if p.dim() == 3}
    held = sum(p.numel() * 4 for p in learner.classifier.network.parameters() if p.dim() == 3)
    after_step = learner.method.after_step

    def counting(batch, lr):
        nonlocal most
        if learner.classifier.learning == 1 and not most:
            alive = [o for o in gc.get_objects() if type(o) in (torch.Tensor, torch.nn.Parameter) and o.shape in shapes]
            most = sum({s.data_ptr(): s.nbytes() for s in (o.untyped_storage() for o in alive)}.values())
        after_step(batch, lr)

    monkeypatch.setattr(learner.method, "after_step", counting)
    for task in learner.stream.tasks[:2]:
        learner.learn(task)
    assert 8 * held < most <= learner.method.copies * held


def test_looking_changes_nothing():
    learner = trained(case(seeds=(0, 1)), tasks=3)
    before = tensors(learner), [t.clone() for t in learner.method.growth.born + learner.method.growth.left]
    learner.row(3, "test"), learner.evaluator.live(3), learner.method.insight(), learner.footprint()
    assert identical(before[0], tensors(learner))
    assert identical(before[1], learner.method.growth.born + learner.method.growth.left)
    watched, alone = (trained(case(seeds=(0, 1), live_points=n), tasks=3) for n in (3, 0))
    assert all(identical(weights_of(watched, k), weights_of(alone, k)) for k in range(2))


GRID = {"seeds": range(4), "strengths": (0.0, 0.03, 0.3, 3.0), "settings": {f"den.{k}": v for k, v in BUSY.items()}}


@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "adam"}], ids=["sgd", "adam"])
def test_a_replica_is_the_same_alone_and_among_others(optimizer):
    assert_independent(method="den", **GRID, hidden=(16, 12), **SPLIT, **optimizer)


def test_a_replica_is_the_same_with_odd_widths_and_unequal_streams():
    assert_independent(method="den", **GRID, hidden=(13, 7), batch_size=7, options={"order": "seeded"}, **SPLIT)


def test_the_cases_above_decide_differently_in_different_replicas():
    method = trained(digits_run("den", **GRID, hidden=(16, 12), **SPLIT)).method
    assert len({tuple(row) for row in method.split.tolist()}) > 4
    assert len({tuple(row) for row in method.expanded.tolist()}) > 4


def test_it_resumes(tmp_path):
    run = case(seeds=(0, 1), live_points=3)
    assert_resumes(run, tmp_path / "at")


def test_a_restored_learner_gives_the_same_logits_and_trains_on():
    learner, again = trained(case(seeds=(0, 1)), tasks=3), learner_for(case(seeds=(0, 1)))
    again.load_state_dict(deepcopy(learner.state_dict()))
    assert all(torch.equal(logits(learner, t), logits(again, t)) for t in range(3))
    assert again.footprint() == learner.footprint()
    for one in (learner, again):
        one.learn(one.stream.tasks[3])
    assert all(identical(weights_of(learner, k), weights_of(again, k)) for k in range(2))


def test_pictures():
    learner = trained(case({"loss": 0.0}, seeds=(0, 1)), tasks=3)
    insight, method = learner.method.insight(), learner.method
    widths = insight["widths_by_birth_task"]
    assert widths.shape == (2, 2, 5) and torch.equal(widths.sum(2), method.growth.widths())
    assert widths[:, :, 0].tolist() == [[16, 12]] * 2 and int(widths[:, :, 3:].sum()) == 0
    assert insight["drift"].shape == (2, 32 + 24) and bool((insight["drift"] > 0).any())
    for name in ("expanded", "split", "loss_before_growth"):
        assert insight[name].shape == (2, 5)
    added = insight["expanded"] + insight["split"]
    assert torch.equal(added[:, 1:3], widths.sum(1)[:, 1:3]) and int(added[:, 3:].sum()) == 0
    assert insight["loss_before_growth"].isnan().tolist() == [[True, False, False, True, True]] * 2


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_the_task_must_be_known(scenario):
    with pytest.raises(RequestError, match="den does not work in the .* scenario: only the task's identity says"):
        digits_run("den", benchmark="split-digits", scenario=scenario)


def test_it_needs_hidden_units_and_works_alone():
    with pytest.raises(RequestError, match="den grows hidden layers, but the network has none"):
        learner_for(digits_run("den", hidden=(), **SPLIT))
    with pytest.raises(RequestError, match="den works alone: it changes how the network computes"):
        learner_for(digits_run("er+den", **SPLIT))


def test_it_forgets_less_than_fine_tuning_but_does_forget():
    case = dict(scenario="task", seeds=(0, 1), epochs=6, hidden=(50, 50), live_points=0)
    ours = result_of(digits_run("den", **case))["replicas"]
    theirs = result_of(digits_run("finetune", **case))["replicas"]
    for den, fine_tuning in zip(ours, theirs, strict=True):
        assert den["forgetting"] < 0.5 * fine_tuning["forgetting"] and den["acc"] > fine_tuning["acc"]
        assert den["old_logits"] is None
    loose = result_of(digits_run("den", settings={"den.drift": 1e6, "den.loss": 100}, strengths=(0,), **case))[
        "replicas"
    ]
    for none_split, den in zip(loose, ours, strict=True):
        assert none_split["forgetting"] > max(0.01, den["forgetting"])
