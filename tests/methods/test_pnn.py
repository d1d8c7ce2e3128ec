"""Progressive networks: old columns stand still, new ones read them, and all of it is counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from clcore import capacity
from clcore.errors import RequestError
from clcore.methods.parts.columns import Columns, column_parameters, columns_parameters
from clcore.methods.pnn import shared_widths
from clcore.networks.layers import Linear
from clcore.randomness import Generators
from tests.training_cases import (
    assert_independent,
    assert_keeps_old_logits,
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
ADAPTERS = ("mlp", "linear", "none")


def case(settings=None, **more):
    settings = {f"pnn.{name}": value for name, value in (settings or {}).items()}
    return digits_run("pnn", settings=settings, **{**SPLIT, **more})


def inputs(learner, n=32):
    return torch.rand(len(learner.seeds), n, *learner.stream.input_shape, generator=torch.Generator().manual_seed(7))


def columns_of(tasks=4, classes=3, hidden=(9, 6), adapter="mlp", replicas=2) -> Columns:
    groups = torch.eye(tasks, dtype=torch.bool).repeat_interleave(classes, dim=1)
    return Columns(8, hidden, groups, adapter, 0.5, list(Generators(range(replicas), "c")))


def by_hand(network: Columns, x: torch.Tensor, column: int, k: int) -> torch.Tensor:
    """Logits (B, C) of one replica by the paper's equations, each column from the real numbers of its own tensors."""

    def affine(layer: Linear, h: torch.Tensor) -> torch.Tensor:
        return h @ layer.weight[k][: h.shape[1], : layer.outputs] + layer.bias[k][: layer.outputs]

    depths = len(network.sizes) - 1
    at: list[list[torch.Tensor]] = []  # [column][depth]
    for c in range(column + 1):
        one, own = network.columns[c], [x]
        for depth in range(depths):
            below = [at[j][depth] for j in range(c)] if depth else []
            layer = one.layers[depth]
            if below and network.adapter == "linear":
                a = own[-1].shape[1]
                z = affine(layer, torch.cat([own[-1], *below], 1))
                parts = [layer.weight[k][(j + 1) * a : (j + 2) * a, : layer.outputs] for j in range(c)]
                sideways = sum(h @ u for h, u in zip(below, parts, strict=True))
                straight = own[-1] @ layer.weight[k][:a, : layer.outputs] + layer.bias[k][: layer.outputs]
                torch.testing.assert_close(z, straight + sideways)
            else:
                z = affine(layer, own[-1])
            if below and network.adapter == "mlp":
                side = one.adapters[depth - 1]
                scaled = torch.cat([side.alpha[k, j] * h for j, h in enumerate(below)], 1)
                z = z + affine(side.lead, torch.relu(affine(side.reduce, scaled)))
            own.append(torch.relu(z) if depth < depths - 1 else z)
        at.append(own)
    return at[column][-1]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("hidden", [(9, 6), (12,), ()])
def test_a_column_computes_the_papers_equation(adapter, hidden):
    network = columns_of(adapter=adapter, hidden=hidden)
    x = torch.rand(2, 16, 8)
    for column in range(4):
        logits = network(x, column)
        own = slice(3 * column, 3 * column + 3)
        for k in range(2):
            torch.testing.assert_close(logits[k][:, own], by_hand(network, x[k], column, k), rtol=1e-4, atol=1e-5)
        others = torch.ones(12, dtype=torch.bool)
        others[own] = False
        assert torch.all(logits[..., others] == 0)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_old_logits_stay_the_same_bits(adapter):
    assert_keeps_old_logits("pnn", settings={"pnn.adapter": adapter})


def test_odd_widths_keep_old_logits_too():
    assert_keeps_old_logits("pnn", hidden=(13, 7), tasks=2, benchmark="permuted-digits", batch_size=7)


def test_columns_that_came_later_are_no_part_of_an_old_task():
    """Neither computed nor read: overwritten with other numbers, they change nothing."""
    learner = trained(case(seeds=(0, 1)))
    network, x = learner.classifier.network, inputs(learner)
    before = [learner.method.predict(x, t) for t in range(5)]
    called = []
    for j, column in enumerate(network.columns):
        for layer in column.layers:
            layer.register_forward_hook(lambda *_, j=j: called.append(j))
    learner.method.predict(x, 2)
    assert set(called) == {0, 1, 2}
    with torch.no_grad():
        for p in (p for column in network.columns[3:] for p in column.parameters()):
            p.copy_(torch.randn_like(p))
    for t in range(3):
        assert torch.equal(learner.method.predict(x, t), before[t])
    assert not torch.equal(learner.method.predict(x, 4), before[4])


@pytest.mark.parametrize("adapter", ["mlp", "linear"])
def test_the_sideways_connections_are_alive(adapter):
    """What an old column has computed is seen, and its connections are learned; in some published code neither is so."""
    learner = learner_for(case({"adapter": adapter}, seeds=(0, 1), epochs=2))
    start = [p.detach().clone() for p in learner.classifier.network.columns[2].parameters()]
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
    network, x = learner.classifier.network, inputs(learner)
    assert all(not torch.equal(a, b) for a, b in zip(start, network.columns[2].parameters(), strict=True))
    before = network(x, 2)
    for old in (0, 1):
        layer = network.columns[old].layers[1]
        weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
        with torch.no_grad():
            layer.weight.zero_(), layer.bias.zero_()
            assert not torch.equal(network(x, 2), before)
            layer.weight.copy_(weight), layer.bias.copy_(bias)
    assert torch.equal(network(x, 2), before)


def test_without_adapters_columns_do_not_see_one_another():
    learner = trained(case({"adapter": "none"}, seeds=(0,)), tasks=3)
    network, x = learner.classifier.network, inputs(learner)
    before = network(x, 2)
    with torch.no_grad():
        for p in (p for column in network.columns[:2] for p in column.parameters()):
            p.zero_()
    assert torch.equal(network(x, 2), before)


def test_frozen_columns_have_no_gradient_and_the_optimizer_knows_only_the_new_one():
    learner = trained(case(seeds=(0,), optimizer="adam"), tasks=2)
    task = learner.stream.tasks[2]
    learner.classifier.learning = 2
    learner.method.begin(task)
    network = learner.classifier.network
    phase = next(learner.method.phases(task))
    (optimizer,) = learner._optimizers(phase)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert list(map(id, held)) == list(map(id, network.columns[2].parameters()))
    seen, edit = set(), learner.method.edit_gradients

    def look(batch):
        seen.update(j for j, column in enumerate(network.columns) for p in column.parameters() if p.grad is not None)
        return edit(batch)

    learner.method.edit_gradients = look
    learner.learn(task)
    assert seen == {2} and all(p.grad is not None for p in network.columns[2].parameters())


def test_the_first_column_starts_where_fine_tuning_starts():
    pnn, plain = (learner_for(digits_run(m, seeds=(3, 4), **SPLIT)) for m in ("pnn", "finetune"))
    for own, layer in zip(pnn.classifier.network.columns[0].layers, plain.classifier.network.layers, strict=True):
        assert torch.equal(own.weight, layer.weight[:, : own.inputs, : own.width])
        assert torch.equal(own.bias, layer.bias[:, : own.width])
    first = pnn.classifier.network.columns
    assert not torch.equal(first[0].layers[0].weight, first[1].layers[0].weight)


@pytest.mark.parametrize(
    "n, one, ten, times",
    [
        (100, 89_610, 1_897_980, {"mlp": 21.2, "linear": 15.5}),
        (256, 269_322, 9_211_416, {"mlp": 34.2, "linear": 21.4}),
    ],
)
def test_the_closed_formula(n, one, ten, times):
    sizes = (784, n, n, 10)
    assert columns_parameters(sizes, 1, "mlp") == one and columns_parameters(sizes, 10, "mlp") == ten
    for adapter, factor in times.items():
        assert columns_parameters(sizes, 10, adapter) / one == pytest.approx(factor, abs=0.05)
    assert columns_parameters(sizes, 10, "none") == 10 * one


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("hidden", [(9, 6), (12,), ()])
def test_the_formula_counts_the_real_numbers(adapter, hidden):
    network = columns_of(adapter=adapter, hidden=hidden, replicas=1)
    for earlier, column in enumerate(network.columns):
        layers = [m for m in column.modules() if isinstance(m, Linear)]
        real = sum((m.inputs + 1) * m.outputs for m in layers) + sum(a.alpha[0].numel() for a in column.adapters)
        assert column_parameters(network.sizes, earlier, adapter) == real


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_columns_are_charged_from_their_task_on(adapter):
    run = case({"adapter": adapter}, seeds=(0,), live_points=0)
    (replica,) = result_of(run)["replicas"]
    expected = [{"parameters": 4 * columns_parameters((64, 32, 32, 2), t, adapter)} for t in range(1, 6)]
    assert replica["footprint_per_task"] == expected


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_shared_columns_are_together_no_larger_than_the_network(adapter):
    groups = torch.eye(5, dtype=torch.bool).repeat_interleave(2, dim=1)
    budget = 65 * 60 + 61 * 30 + 31 * 10
    widths = shared_widths(budget, 64, (60, 30), groups, adapter)
    assert columns_parameters((64, *widths, 2), 5, adapter) <= budget
    wider = [w * (widths[0] + 1) // 60 for w in (60, 30)]
    assert widths[0] > 5 and columns_parameters((64, *wider, 2), 5, adapter) > budget
    run = case({"adapter": adapter, "width": "shared"}, seeds=(0,), live_points=0)
    sizes = [result_of(r)["replicas"][0]["footprint"]["parameters"] for r in (run, digits_run("finetune", **SPLIT))]
    assert 0.7 * sizes[1] < sizes[0] <= sizes[1]


@pytest.mark.parametrize("hidden", [(2, 2), (1,)])
def test_shared_columns_that_cannot_stay_within_the_network_are_refused(hidden):
    settings, ten = {"pnn.width": "shared"}, dict(benchmark="permuted-digits", scenario="task", tasks=10)
    with pytest.raises(RequestError, match=r"has \d+ parameters, and 10 columns of one unit a layer have 1,\d+; give"):
        learner_for(digits_run("pnn", settings=settings, hidden=hidden, **ten))
    network = learner_for(digits_run("pnn", settings=settings, hidden=(10, 10), **ten)).classifier.network
    assert network.sizes == (64, 1, 1, 10)  # one unit a layer is a width like any other


def test_estimates_of_memory_know_all_columns():
    full, shared, plain = case(), case({"width": "shared"}), digits_run("finetune", **SPLIT)
    held = [capacity.held_parameters(run, (64,), 10) for run in (full, shared, plain)]
    assert held == [columns_parameters((64, 32, 32, 2), 5, "mlp"), held[2], 65 * 32 + 33 * 32 + 33 * 10]
    network = learner_for(full).classifier.network
    network.train_column(4)
    assert network.parameter_count == held[0]


def test_looking_at_old_tasks_changes_nothing():
    learner = trained(case(seeds=(0, 1)), tasks=3)
    before = {**learner.classifier.network.state_dict(), "begun": learner.method.begun}
    before = {name: v.clone() if isinstance(v, torch.Tensor) else v for name, v in before.items()}
    learner.row(3, "test"), learner.evaluator.live(3), learner.method.insight()
    after = {**learner.classifier.network.state_dict(), "begun": learner.method.begun}
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(after[name])) for name, v in before.items())
    assert learner.classifier.network.learning == 2


def test_looking_while_a_task_is_learned_changes_nothing():
    watched, alone = (trained(case(seeds=(0, 1), live_points=n), tasks=3) for n in (5, 0))
    assert all(identical(weights_of(watched, k), weights_of(alone, k)) for k in range(2))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_replica_is_the_same_alone_and_among_others(adapter):
    assert_independent(method="pnn", seeds=range(16), settings={"pnn.adapter": adapter}, **SPLIT)


def test_a_replica_is_the_same_with_odd_widths_and_unequal_streams():
    assert_independent(
        method="pnn", seeds=range(16), options={"order": "seeded"}, hidden=(13, 7), batch_size=7, **SPLIT
    )


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_it_resumes(adapter, tmp_path):
    assert_resumes(case({"adapter": adapter}, seeds=(0, 1)), tmp_path / "at")


def test_a_restored_learner_gives_the_same_logits_and_trains_on():
    learner = trained(case(seeds=(0, 1)), tasks=3)
    again = learner_for(case(seeds=(0, 1)))
    again.load_state_dict(learner.state_dict())
    x = inputs(learner)
    assert all(torch.equal(learner.method.predict(x, t), again.method.predict(x, t)) for t in range(3))
    assert again.footprint() == learner.footprint()
    for one in (learner, again):
        one.learn(one.stream.tasks[3])
    assert all(identical(weights_of(learner, k), weights_of(again, k)) for k in range(2))


def test_pictures():
    learner = trained(case(seeds=(0, 1)), tasks=3)
    insight = learner.method.insight()
    strength, columns = insight["lateral_strength"], insight["columns"]
    assert strength.shape == (2, 5, 5) and columns.shape == (2, 5)
    assert bool((strength[:, 2, :2] > 0).all()) and bool((strength[:, 1, 0] > 0).all())
    assert float(strength.triu().sum()) == 0 and float(strength[:, 3:].sum()) == 0
    assert columns.sum(1).tolist() == [columns_parameters((64, 32, 32, 2), 3, "mlp")] * 2
    lone = trained(case({"adapter": "none"}), tasks=2).method.insight()
    assert set(lone) == {"columns"}


def test_the_strength_of_a_connection_is_the_mean_size_of_its_weights():
    for adapter in ("mlp", "linear"):
        network = columns_of(adapter=adapter)
        with torch.no_grad():
            for one in network.columns[3].adapters:
                one.alpha[:] = torch.tensor([1.0, -2.0, 0.0])
                one.reduce.weight[:] = 0.5
            for layer, a in zip(network.columns[3].layers[1:], (9, 6), strict=True):
                if adapter == "linear":
                    layer.weight[:, a : 2 * a], layer.weight[:, 2 * a : 3 * a], layer.weight[:, 3 * a :] = -0.5, 1, 0
        torch.testing.assert_close(network.columns[3].attention(), torch.tensor([[0.5, 1.0, 0.0]] * 2))


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_the_task_must_be_known(scenario):
    with pytest.raises(RequestError, match="pnn does not work in the .* scenario: only the task's identity says"):
        digits_run("pnn", benchmark="split-digits", scenario=scenario)


@pytest.mark.parametrize("name", ["ewc+pnn", "pnn+er"])
def test_it_works_alone(name):
    with pytest.raises(RequestError, match="pnn works alone: it changes how the network computes"):
        learner_for(digits_run(name, **SPLIT))


def test_it_learns_every_task_and_forgets_none():
    rows: list[Sequence] = []
    for method in ("pnn", "finetune"):
        run = digits_run(method, scenario="task", seeds=(0, 1), epochs=6, hidden=(50, 50), live_points=0)
        rows.append(result_of(run)["replicas"])
    for ours, theirs in zip(*rows, strict=True):
        matrix = ours["accuracy_matrix"]
        assert ours["forgetting"] == 0 and theirs["forgetting"] > 0.03 and ours["acc"] > theirs["acc"]
        assert all(matrix[t + 1][t] > 0.85 for t in range(3))
        assert matrix[0] == [None] * 3 and matrix[1][1:] == [None] * 2
        assert ours["old_logits"]["identical"] is True
