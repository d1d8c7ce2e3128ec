"""AGS-CL: what its proximal steps and cuts promise, node by node."""

from __future__ import annotations

import pytest
import torch

from clcore.errors import RequestError
from clcore.minibatches import MiniBatches
from clcore.randomness import Generators
from clcore.spec import NetworkChoice, make
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    result_of,
    trained,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")
ADAM = {"optimizer": "adam", "lr": 0.003}
SPLIT = {"benchmark": "split-digits", "scenario": "task"}
UNEQUAL = {"benchmark": "split-digits", "options": {"order": "seeded"}}


def case(strength=1e6, settings=None, **more):
    """A run in which, by the end of the first task, both layers have free and important nodes."""
    settings = {f"ags-cl.{name}": value for name, value in (settings or {}).items()}
    return digits_run("ags-cl", settings=settings, **{"strengths": (strength,), "epochs": 3, **SPLIT, **more})


def probe(learner, n=64):
    return torch.rand(len(learner.seeds), n, *learner.stream.input_shape, generator=torch.Generator().manual_seed(5))


def node_sets(learner):
    """(free, important) nodes of every hidden layer, (K, width) each; dead units are neither."""
    method = learner.method
    return [
        ((o == 0) & (torch.arange(o.shape[1]) < layer.nodes), o > 0)
        for layer, o in zip(method.layers, method.importance, strict=True)
    ]


def old_logits(learner, tasks):
    units = learner.stream.groups[:tasks].any(0)
    return learner.classifier(probe(learner))[..., units].detach()


@pytest.mark.parametrize("optimizer", [{}, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("prox_every", ["step", "epoch"])
def test_old_tasks_do_not_depend_on_free_nodes(optimizer, prox_every):
    """The strong invariant: whatever becomes of the rows of free nodes, the heads of all tasks so far give the same bits."""
    run = case(strength=10.0, settings={"prox_every": prox_every}, seeds=(0, 1), **optimizer)
    learner = learner_for(run)
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
        before = old_logits(learner, task.index + 1)
        later = learner.classifier(probe(learner))[..., 2 * (task.index + 1) :].detach()
        trained_state = [p.detach().clone() for p in learner.classifier.network.parameters()]
        for layer, (free, important) in zip(learner.method.layers, node_sets(learner), strict=True):
            assert free.any(1).all() and important.any(1).all()
            with torch.no_grad():
                layer.own.weight += free.unsqueeze(1) * torch.randn_like(layer.own.weight)
                layer.own.bias += free * 3.0
        assert torch.equal(old_logits(learner, task.index + 1), before)
        assert not torch.equal(learner.classifier(probe(learner))[..., 2 * (task.index + 1) :], later)
        with torch.no_grad():
            for p, value in zip(learner.classifier.network.parameters(), trained_state, strict=True):
                p.copy_(value)


@pytest.mark.parametrize("optimizer", [{}, ADAM], ids=["sgd", "adam"])
def test_held_firmly_nothing_is_forgotten(optimizer):
    """λ beyond every drift: outputs of old tasks are the same bits for ever, and the accuracy matrix shows it."""
    learner = learner_for(case(strength=1e12, seeds=(0, 1), **optimizer))
    seen = []
    for task in learner.stream.tasks:
        learner.learn(task)
        own = learner.stream.groups[task.index]
        seen.append((own, learner.classifier(probe(learner))[..., own].detach()))
        for units, logits in seen:
            assert torch.equal(learner.classifier(probe(learner))[..., units], logits)
        assert not torch.equal(logits, torch.zeros_like(logits))


@pytest.mark.parametrize("prox_every", ["step", "epoch"])
def test_important_nodes_are_frozen_bit_for_bit(prox_every):
    learner = trained(case(strength=1e12, settings={"prox_every": prox_every}, **ADAM), tasks=1)
    sets = node_sets(learner)
    before = [[p.detach().clone() for p in layer.incoming] for layer in learner.method.layers]
    learner.learn(learner.stream.tasks[1])
    for layer, (free, important), (weight, bias) in zip(learner.method.layers, sets, before, strict=True):
        held, loose = important.unsqueeze(1).expand_as(weight), free.unsqueeze(1).expand_as(weight)
        assert important.any() and torch.equal(layer.own.weight[held], weight[held])
        assert torch.equal(layer.own.bias[important], bias[important])
        assert free.any() and not torch.equal(layer.own.weight[loose], weight[loose])


@pytest.mark.parametrize("strength", [0.0, 5.0])
@pytest.mark.parametrize("prox_every", ["step", "epoch"])
def test_weights_from_free_to_important_nodes_stay_zero_through_a_later_task(strength, prox_every):
    """With Adam, whose moments would move them: looked at before every single step."""
    learner = trained(case(strength, {"prox_every": prox_every}, seeds=(0, 1), **ADAM), tasks=1)
    (free, _), (_, important) = node_sets(learner)
    cut = free.unsqueeze(2) & important.unsqueeze(1)
    weight = learner.method.layers[1].own.weight
    looks, terms = [], learner.method.terms

    def look(batch):
        looks.append(bool((weight[cut] == 0).all()))
        return terms(batch)

    learner.method.terms = look
    learner.learn(learner.stream.tasks[1])
    assert cut.any() and len(looks) > 10 and all(looks)


def test_the_proximal_step_of_training_is_the_papers():
    """lr·λΩ towards v̂ for important nodes, lr·μ towards 0 for free ones, over an epoch; cut weights are no part of a node."""
    learner = trained(case(strength=5.0, settings={"mu": 2.0}, **ADAM), tasks=1)
    (idle, _), (free, important) = node_sets(learner)
    method, layer = learner.method, learner.method.layers[1]
    anchor = [p.detach().clone() for p in layer.incoming]
    cut = idle.unsqueeze(2) & important.unsqueeze(1)
    after_step, seen = method.after_step, []

    def compare(batch, lr):
        weight, bias = (p.detach().clone() for p in layer.incoming)
        drifted = bool(weight[cut].any())
        weight[cut] = 0
        after_step(batch, lr)
        centre = [torch.where(important, a, 0) for a in anchor]
        v, c = (torch.cat([w, b.unsqueeze(1)], 1) for w, b in ((weight, bias), centre))
        reach = lr / batch.passes[0] * torch.where(important, 5.0 * method.importance[1], 2.0)
        expected = c + (1 - reach / (v - c).norm(dim=1)).clamp_min(0).nan_to_num(0).unsqueeze(1) * (v - c)
        torch.testing.assert_close(layer.own.weight.detach(), expected[:, :-1], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(layer.own.bias.detach(), expected[:, -1], rtol=1e-4, atol=1e-7)
        seen.append(drifted)

    method.after_step = compare
    learner.learn(learner.stream.tasks[1])
    assert free.any() and any(seen)


def test_free_nodes_end_a_task_without_outgoing_weights():
    """Into the next layer and into the task's own head; the other heads, and the rows of fresh nodes, are left alone."""
    learner = learner_for(case(settings={"rho": 0.0}, seeds=(0, 1)))
    for t in (0, 1):
        head = learner.classifier.network.head.weight
        untouched = head[..., 4:10].detach().clone()
        learner.learn(learner.stream.tasks[t])
        for layer, (free, _) in zip(learner.method.layers, node_sets(learner), strict=True):
            columns = slice(2 * t, 2 * t + 2) if layer.next is learner.classifier.network.head else slice(None)
            rows = layer.next.weight[..., columns]
            assert free.any() and torch.all(rows[free] == 0) and torch.all(rows[~free & layer.real].any(1))
        assert torch.equal(head[..., 4:10], untouched)


def test_the_shared_head_of_the_domain_scenario_is_not_cut():
    learner = trained(case(scenario="domain", settings={"rho": 0.0}), tasks=1)
    (first, _), (second, _) = node_sets(learner)
    assert first.any() and torch.all(learner.method.layers[0].next.weight[first] == 0)
    assert second.any() and torch.all(learner.classifier.network.head.weight[second][:, :2] != 0)


@pytest.mark.parametrize("rho", [0.0, 0.3, 1.0])
def test_a_share_of_the_free_nodes_starts_afresh(rho):
    """Everywhere n − ⌊n(1 − ρ)⌋ of them; all other incoming weights end the task as without it."""
    reserved = trained(case(settings={"rho": 0.0}, seeds=(0, 1)), tasks=1)
    learner = trained(case(settings={"rho": rho}, seeds=(0, 1)), tasks=1)
    sets = node_sets(learner)
    for before, after, (free, _) in zip(reserved.method.layers, learner.method.layers, sets, strict=True):
        changed = (before.own.weight != after.own.weight).any(1) & (before.own.bias != after.own.bias)
        assert changed.sum(1).tolist() == [n - int(n * (1 - rho)) for n in free.sum(1).tolist()]
        assert not bool((changed & ~free).any()) and bool(free.any(1).all())
        held = ~changed.unsqueeze(1).expand_as(before.own.weight)
        assert torch.equal(before.own.weight[held], after.own.weight[held])


def test_shrunk_nodes_are_exactly_silent():
    learner = trained(case(settings={"rho": 0.0}), tasks=1)
    for layer, (free, _) in zip(learner.method.layers, node_sets(learner), strict=True):
        silent = (layer.own.weight == 0).all(1) & (layer.own.bias == 0)
        assert bool((silent & free).any()) and not bool((silent & ~free & layer.real).any())


def test_importance_decays_and_grows_geometrically():
    """Ω ← ηΩ + new. η = 0 shows the new parts: with λ = 0 nothing else depends on Ω but which nodes are free."""
    small = {"rho": 0.0, "mu": 0.0, "isolate": False}
    runs = {eta: trained(case(0.0, {**small, "eta": eta}), tasks=3).method for eta in (0.0, 0.5, 1.0)}
    one = trained(case(0.0, small), tasks=1).method
    two = trained(case(0.0, {**small, "eta": 0.0}), tasks=2).method
    for layer in range(2):
        new = [m.importance[layer] for m in (one, two, runs[0.0])]
        torch.testing.assert_close(runs[1.0].importance[layer], sum(new))
        torch.testing.assert_close(runs[0.5].importance[layer], 0.25 * new[0] + 0.5 * new[1] + new[2])


@pytest.mark.parametrize("prox_every", ["step", "epoch"])
@pytest.mark.parametrize("optimizer", [{}, {"weight_decay": 1e-2}, ADAM], ids=["sgd", "decay", "adam"])
@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_nothing_held_shrunk_or_cut_is_fine_tuning(prox_every, optimizer, scenario):
    settings = {"ags-cl.mu": 0.0, "ags-cl.rho": 0.0, "ags-cl.isolate": False, "ags-cl.prox_every": prox_every}
    grid = {"strengths": (0,)}
    assert_is_fine_tuning("ags-cl", grid, settings=settings, **{**SPLIT, "scenario": scenario}, **optimizer)


def test_without_hidden_layers_it_is_fine_tuning():
    assert_is_fine_tuning("ags-cl", {"strengths": (1000,)}, hidden=())


def test_the_knobs_that_are_off_above_act():
    plain = weights_of(trained(digits_run("finetune", epochs=3, **SPLIT), tasks=2), 0)
    off = {"mu": 0.0, "rho": 0.0, "isolate": False}
    for name, value in (("mu", 1.0), ("rho", 0.5), ("isolate", True)):
        other = trained(case(0.0, {**off, name: value}, hidden=(32, 32)), tasks=2)
        assert identical(plain, weights_of(other, 0)) == (name != "mu" and not has_free_nodes(other))


def has_free_nodes(learner):
    return any(bool(free.any()) for free, _ in node_sets(learner))


def test_an_epoch_of_one_step_makes_both_paces_the_same():
    rows = [
        weights_of(trained(case(3.0, {"prox_every": pace, "mu": 0.5}, batch_size=2000), tasks=2), 0)
        for pace in ("step", "epoch")
    ]
    assert identical(*rows)


@pytest.mark.parametrize("prox_every", ["step", "epoch"])
def test_a_node_without_gradient_shrinks_by_the_same_in_an_epoch_of_any_length(prox_every):
    run = case(
        0.0, {"prox_every": prox_every, "mu": 0.5, "rho": 0.0}, seeds=(0, 1), scenario="task", lr=0.1, **UNEQUAL
    )
    learner = learner_for(run)
    assert len(set(learner.stream.tasks[0].train.lengths.tolist())) > 1
    layer = learner.method.layers[0]
    with torch.no_grad():
        layer.own.weight[:, :, 0], layer.own.bias[:, 0] = 0, -1.0  # nothing excites it
    learner.learn(learner.stream.tasks[0])
    torch.testing.assert_close(layer.own.bias[:, 0].detach(), torch.full((2,), -1 + 3 * 0.1 * 0.5))


def test_batches_know_where_each_replicas_epochs_end():
    learner = learner_for(digits_run("finetune", seeds=range(8), scenario="task", **UNEQUAL))
    batches = MiniBatches(
        learner.stream, (0,), batch_size=16, epochs=3, generators=Generators(range(8), "batches"),
        active=torch.ones(8, dtype=torch.bool), widths=learner.classifier.network.widths,
    )  # fmt: skip
    passes = [-(-n // 16) for n in batches.lengths.tolist()]
    assert len(set(passes)) > 1
    for step, batch in enumerate(batches):
        assert batch.passes == tuple(passes)
        assert batch.ends == tuple(step < 3 * p and (step + 1) % p == 0 for p in passes)
    assert step + 1 == 3 * max(passes)


def test_dead_units_are_never_free_and_stay_dead():
    learner = trained(case(hidden=(33, 17), settings={"rho": 1.0}, seeds=(0, 1), **ADAM), tasks=2)
    network = learner.classifier.network
    second = network.layers[1]
    assert second.width > 17
    assert torch.all(second.weight[..., 17:] == 0) and torch.all(second.bias[..., 17:] == 0)
    assert torch.all(network.head.weight[:, 17:] == 0)
    insight = learner.method.insight()
    total = insight["free_nodes"] + insight["important_nodes"]
    assert total.tolist() == [[33, 17]] * 2 and insight["free_nodes"].min() > 0


EPOCHS = {"ags-cl.prox_every": "epoch"}
INDEPENDENT = {
    "strengths": dict(seeds=range(4), strengths=(0, 1, 30, 1e6), epochs=2, tasks=2, settings={"ags-cl.mu": 3.0}),
    "odd widths, Adam": dict(
        seeds=range(16), strengths=(1000,), hidden=(33, 17), batch_size=50, tasks=2, epochs=3, settings=EPOCHS, **ADAM
    ),
    "unequal streams": dict(seeds=range(16), strengths=(30,), scenario="task", epochs=3, **UNEQUAL),
    "unequal streams, epochs": dict(
        seeds=range(16), strengths=(30,), scenario="domain", epochs=3, settings=EPOCHS, **UNEQUAL
    ),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_replica_is_the_same_alone_and_among_others(name):
    assert_independent(method="ags-cl", **INDEPENDENT[name])


def test_it_resumes(tmp_path):
    assert_resumes(case(10.0, seeds=(0, 1)), tmp_path / "checkpoint.pt")


def test_what_it_keeps():
    learner = learner_for(case())
    assert learner.method.footprint() == {}
    learner.learn(learner.stream.tasks[0])
    assert learner.footprint()[0] == {
        "parameters": 4 * (65 * 32 + 33 * 32 + 33 * 10),
        "anchors": 4 * (65 * 32 + 33 * 32),
        "importance": 4 * (32 + 32),
    }


def test_its_pictures():
    learner = trained(case(hidden=(33, 17), seeds=(0, 1)), tasks=2)
    pictures = learner.method.insight()
    shapes = {name: tuple(values.shape) for name, values in pictures.items()}
    assert shapes == {
        "free_nodes": (2, 2), "important_nodes": (2, 2), "node_states": (2, 50),
        "node_importance_1": (2, 33), "node_importance_2": (2, 17),
    }  # fmt: skip
    assert torch.equal(pictures["node_states"].sum(1), pictures["important_nodes"].sum(1))
    assert torch.equal(pictures["node_importance_1"] > 0, pictures["node_states"][:, :33].bool())
    assert pictures["important_nodes"].min() > 0


def test_it_forgets_less_than_fine_tuning_and_keeps_nodes_free():
    more = dict(seeds=(0, 1), epochs=10, hidden=(60, 60), options={"order": "seeded"})
    plain = result_of(digits_run("finetune", **SPLIT, **more))["replicas"]
    held = result_of(case(30.0, **more))["replicas"]

    def mean(replicas, name):
        return sum(r[name] for r in replicas) / len(replicas)

    assert mean(plain, "forgetting") > 0.03
    assert mean(held, "forgetting") < mean(plain, "forgetting") / 3
    assert mean(held, "acc") > mean(plain, "acc")


def test_what_it_refuses():
    with pytest.raises(RequestError, match="does not work in the class scenario"):
        case(scenario="class")
    with pytest.raises(RequestError, match="freezes weights"):
        result_of(case(optimizer_state="keep"))


# ---- convolutions ----------------------------------------------------------------------------------------------------

PLAIN = make(NetworkChoice, name="cnn", hidden=(12,), settings={"channels": 6, "norm": "none"})


def test_channels_of_convolutions_are_held_bit_for_bit():
    """λ beyond every drift: outputs of old tasks are the same bits, and what leads from free to important channels stays 0."""
    learner = learner_for(case(strength=1e12, seeds=(0, 1), network=PLAIN, epochs=8, **ADAM))
    seen = []
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
        own = learner.stream.groups[task.index]
        seen.append((own, learner.classifier(probe(learner))[..., own].detach()))
        for units, logits in seen:
            torch.testing.assert_close(learner.classifier(probe(learner))[..., units], logits, rtol=0, atol=0)
        for layer, cut in learner.method._cuts():
            assert torch.equal(layer.own.weight * cut, torch.zeros_like(layer.own.weight))
    free = torch.cat([o == 0 for o in learner.method.importance], 1)
    assert free.any() and not free.all()


def test_without_its_parts_it_is_fine_tuning_on_convolutions():
    settings = {"ags-cl.mu": 0.0, "ags-cl.rho": 0.0, "ags-cl.isolate": False}
    assert_is_fine_tuning("ags-cl", {"strengths": (0,)}, settings=settings, network=PLAIN, **SPLIT)


def test_normalised_networks_are_refused():
    with pytest.raises(RequestError, match="ags-cl works on the network cnn with norm = none only: it silences"):
        case(network=make(NetworkChoice, name="cnn"))
    with pytest.raises(RequestError, match="ags-cl does not work on the network resnet18-slim: it silences"):
        case(network=make(NetworkChoice, name="resnet18-slim"))
