"""HAT: gates that are learned, taxed and locked; hard ones keep every old output, bit for bit."""

from __future__ import annotations

import pytest
import torch

from clcore.errors import RequestError
from clcore.methods.parts import gates
from clcore.methods.parts.gates import Gate, pace
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
CASE = {"benchmark": "split-digits", "scenario": "task", "seeds": (0, 1), "epochs": 2}


def case(settings=None, strengths=(0.75,), **more):
    settings = {f"hat.{name}": value for name, value in (settings or {}).items()}
    return digits_run("hat", settings=settings, strengths=strengths, **{**CASE, **more})


def probe(learner, n=32):
    return torch.rand(len(learner.seeds), n, *learner.stream.input_shape, generator=torch.Generator().manual_seed(5))


def test_old_logits_are_kept_with_every_optimizer():
    assert_keeps_old_logits("hat")


def test_soft_gates_promise_nothing_and_forget_a_little():
    learner = trained(case({"hard": False, "s_max": 20.0}, optimizer="adam"))
    assert learner.probe is None
    learner = learner_for(case({"hard": False, "s_max": 20.0}, optimizer="adam"))
    x, answers = probe(learner), []
    for task in learner.stream.tasks:
        learner.learn(task)
        answers.append(learner.method.predict(x, task.index))
    assert not torch.equal(learner.method.predict(x, 0), answers[0])


@pytest.mark.parametrize("hard", [True, False])
def test_soft_gates_scale_gradients_and_do_not_put_weights_back(hard):
    """At the default s_max most open gates round to 1; decay moves their weights too, unless they are hard."""
    learner = learner_for(case({"hard": hard}, (0.25,), weight_decay=1e-3))
    method = learner.method
    assert method.promises_old_logits() == hard
    learner.learn(learner.stream.tasks[0])
    locked = {p: m.expand_as(p) >= 1 for p, m in method._locked().items()}
    before = {p: p.detach().clone() for p in locked}
    learner.learn(learner.stream.tasks[1])
    for p, mask in locked.items():
        weights = mask & (before[p] != 0)
        assert bool(weights.any()) and bool((p != before[p])[weights].any()) != hard


@pytest.mark.parametrize("batches", [1, 2, 3, 469])
def test_the_pace_rises_from_one_end_to_the_other(batches):
    paces = [pace(b, batches, 400.0) for b in range(batches)]
    assert paces[-1] == pytest.approx(400, rel=1e-12) and (batches == 1 or paces[0] == 1 / 400)
    assert paces == sorted(paces)


def test_every_replica_keeps_the_pace_of_its_own_epochs():
    run = case({"s_max": 50.0}, options={"order": "seeded"}, seeds=range(6), scenario="task", epochs=2)
    learner = learner_for(run)
    passes = [-(-n // 16) for n in learner.stream.tasks[0].train.lengths.tolist()]
    assert len(set(passes)) > 1
    seen, terms = [], learner.method.terms

    def look(batch):
        seen.append(learner.method.gated[0].pace.flatten().tolist())
        return terms(batch)

    learner.method.terms = look
    learner.learn(learner.stream.tasks[0])
    for k, n in enumerate(passes):
        expected = [pace(b, n, 50.0) for _ in range(2) for b in range(n)]
        torch.testing.assert_close([step[k] for step in seen[: 2 * n]], expected, rtol=1e-6, atol=0)


def test_the_compensated_gradient_is_the_papers_without_its_overflow():
    """s_max·σ'(e)·upstream: what autograd gives times s_max·(cosh(se)+1) / (s·(cosh e+1)), where that can be computed."""
    e = torch.linspace(-6, 6, 201, dtype=torch.float64)
    upstream = torch.linspace(-2, 3, 201, dtype=torch.float64)
    for s in (1 / 400, 0.3, 1.0, 2.5):
        ours, plain = e.clone().requires_grad_(), e.clone().requires_grad_()
        (Gate.apply(ours, torch.tensor(s, dtype=torch.float64), 400.0, True) * upstream).sum().backward()
        (torch.sigmoid(s * plain) * upstream).sum().backward()
        published = plain.grad * 400 * (torch.cosh(s * e) + 1) / (s * (torch.cosh(e) + 1))
        torch.testing.assert_close(ours.grad, published, rtol=1e-6, atol=1e-9)
        opening = torch.sigmoid(e)
        torch.testing.assert_close(ours.grad, upstream * 400 * opening * (1 - opening), rtol=1e-6, atol=1e-9)


def test_saturated_gates_rest_unless_told_otherwise():
    e = torch.tensor([-6.0, -1.0, -0.01, 0.0, 0.01, 1.0, 6.0])
    slopes = {}
    for saturate in (True, False):
        own = e.clone().requires_grad_()
        Gate.apply(own, torch.tensor(400.0), 400.0, saturate).sum().backward()
        slopes[saturate] = own.grad
    assert (slopes[True] > 0).tolist() == [False, False, True, True, True, False, False]
    assert bool((slopes[False] > 0).all()) and bool(slopes[False].isfinite().all())
    assert slopes[False].max() == 100.0


def test_embeddings_stay_within_their_bounds_and_gates_within_theirs():
    run = case({"s_max": 400.0, "saturate": False}, (40.0,), lr=1.0)
    learner = learner_for(run)
    seen, terms = [], learner.method.terms

    def look(batch):
        for layer in learner.method.gated:
            a = layer.current_gates().detach()
            seen.append((float(layer.embedding.detach().abs().max()), float(a.min()), float(a.max())))
        found = terms(batch)
        assert bool((found["capacity"] >= 0).all()) and bool((found["capacity"] <= 40 * (1 + 1e-6)).all())
        return found

    learner.method.terms = look
    for task in learner.stream.tasks[:2]:
        learner.learn(task)
    assert max(s[0] for s in seen) == gates.LARGEST
    assert min(s[1] for s in seen) >= 0 and max(s[2] for s in seen) <= 1


def test_the_tax_counts_units_that_no_task_uses_yet():
    learner = trained(case(hidden=(33, 17)), tasks=1)
    method = learner.method
    method.begin(learner.stream.tasks[1])
    for layer in method.gated:
        layer.pace = torch.full((2, 1), 3.0)
    expected = []
    for k in range(2):
        pairs = [
            (torch.sigmoid(3.0 * layer.embedding[k, : layer.inputs]), 1 - used[k, : layer.inputs])
            for layer, used in zip(method.gated, method.used, strict=True)
        ]
        expected.append(sum((a * free).sum() for a, free in pairs) / sum(free.sum() for _, free in pairs))
    torch.testing.assert_close(method.terms(None)["capacity"], 0.75 * torch.stack(expected))
    for used in method.used:
        used.fill_(1.0)
    assert method.terms(None)["capacity"].tolist() == [0, 0], "a full network has nothing left to tax"


def test_the_cumulative_mask_only_grows_and_locks_weights_between_used_units():
    learner = learner_for(case(optimizer="adamw", weight_decay=0.05))
    network, method = learner.classifier.network, learner.method
    used_before = [used.clone() for used in method.used]
    for task in learner.stream.tasks:
        locked = {p: m.expand_as(p) >= 1 for p, m in method._locked().items()}
        before = {p: p.detach().clone() for p in locked}
        learner.learn(task)
        for p, mask in locked.items():
            assert torch.equal(p[mask], before[p][mask])
            assert bool((p != before[p])[~mask].any())
        assert len(locked) == 4 and (task.index == 0) == (not any(m.any() for m in locked.values()))
        for used, then, own in zip(method.used, used_before, method.gates[-1], strict=True):
            assert torch.equal(used, torch.maximum(then, own)) and bool((used >= then).all())
            assert set(own.unique().tolist()) <= {0.0, 1.0}
        used_before = [used.clone() for used in method.used]
    feeding, fed = method.used
    expected = torch.minimum(feeding.unsqueeze(2), fed.unsqueeze(1))
    assert torch.equal(method._locked()[network.layers[1].weight], expected)


def test_an_old_task_sees_nothing_of_what_its_gates_shut_out():
    learner = trained(case(strengths=(2.0,)), tasks=2)
    method, network, x = learner.method, learner.classifier.network, probe(learner)
    before = method.predict(x, 0)[..., :2]
    own = method.gates[0]
    assert all(0 < gate.mean() < 1 for gate in own)
    with torch.no_grad():
        first, second, head = network.layers
        for layer, ins, outs in ((first, None, own[0]), (second, own[0], own[1])):
            visible = outs.unsqueeze(1) if ins is None else torch.minimum(ins.unsqueeze(2), outs.unsqueeze(1))
            layer.weight.copy_(torch.where(visible.bool(), layer.weight, torch.randn_like(layer.weight) * 30))
            layer.bias.copy_(torch.where(outs.bool(), layer.bias, torch.randn_like(layer.bias) * 30))
        head.weight.copy_(torch.where(own[1].bool().unsqueeze(2), head.weight, torch.randn_like(head.weight)))
        head.weight[..., 2:].normal_()
    assert torch.equal(method.predict(x, 0)[..., :2], before)
    assert not torch.equal(method.predict(x, 1)[..., 2:4], before)


def test_a_layer_never_shuts_all_its_gates():
    learner = learner_for(case())
    for layer in learner.method.gated:
        with torch.no_grad():
            layer.embedding[:, : layer.inputs] = -torch.rand(2, layer.inputs) - 0.1
        hard = layer.hard_gates()
        assert hard.sum(1).tolist() == [1, 1]
        assert torch.equal(hard.argmax(1), layer.embedding.argmax(1))


def test_a_larger_c_opens_fewer_units():
    learner = trained(case(strengths=(0, 0.75, 6.0), seeds=(0,), epochs=4), tasks=1)
    opened = sum(gate.sum(1) for gate in learner.method.gates[0]).tolist()
    assert opened[0] > opened[1] > opened[2] and opened[2] <= 12


def test_it_forgets_nothing_where_fine_tuning_does():
    case = {"benchmark": "permuted-digits", "scenario": "task", "seeds": (0, 1), "epochs": 8, "tasks": 2, "hidden": (100, 100)}
    plain = result_of(digits_run("finetune", **case))["replicas"]
    gated = result_of(digits_run("hat", **case))["replicas"]
    for theirs, ours in zip(plain, gated, strict=True):
        assert ours["bwt"] == 0 and theirs["bwt"] < -0.05
        assert ours["learning_accuracy"] > 0.8 and ours["acc"] > theirs["acc"]


def test_evaluating_in_the_middle_of_a_task_changes_nothing():
    learner = trained(case(), tasks=2)
    learner.classifier.learning = 2
    learner.method.begin(learner.stream.tasks[2])
    network, method = learner.classifier.network, learner.method
    before, states = {n: v.clone() for n, v in network.state_dict().items()}, method.draws.state_dict()["states"]
    learner.evaluator.row(3)
    assert all(torch.equal(v, before[n]) for n, v in network.state_dict().items())
    assert all(layer.gates is None for layer in method.gated) and len(method.gates) == 2
    assert torch.equal(method.draws.state_dict()["states"], states)


def test_other_scenarios_are_refused_with_the_reason():
    for scenario in ("domain", "class"):
        with pytest.raises(RequestError, match="must be told which task's gates"):
            digits_run("hat", benchmark="split-digits", scenario=scenario)


def test_dead_units_stay_shut():
    learner = trained(case(hidden=(33, 17), strengths=(0.0,), optimizer="adam"), tasks=2)
    layer = learner.method.gated[1]
    assert layer.embedding.shape[1] > 17 and bool((layer.embedding[:, 17:] == -gates.LARGEST).all())
    assert all(not gate[1][:, 17:].any() for gate in learner.method.gates)
    assert not learner.classifier.network.layers[1].weight[..., 17:].any()


INDEPENDENT = {
    "strengths": dict(seeds=range(4), strengths=(0, 0.5, 1, 4), tasks=2, benchmark="permuted-digits"),
    "odd widths, Adam": dict(seeds=range(16), hidden=(33, 17), optimizer="adam", weight_decay=1e-3),
    "soft, unequal streams": dict(seeds=range(16), options={"order": "seeded"}, settings={"hat.hard": False}),
    "unequal streams": dict(seeds=range(16), options={"order": "seeded"}, hidden=(33, 17), epochs=2),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_replica_is_the_same_alone_and_among_others(name):
    assert_independent(method="hat", **{"scenario": "task", "benchmark": "split-digits", **INDEPENDENT[name]})


@pytest.mark.parametrize("hard", [True, False])
def test_it_resumes(tmp_path, hard):
    assert_resumes(case({"hard": hard}), tmp_path / "checkpoint.pt")


def test_resumed_gates_are_the_same_bits_and_training_goes_on():
    learner = trained(case(), tasks=2)
    other = learner_for(case())
    other.load_state_dict(learner.state_dict())
    x = probe(learner)
    assert all(torch.equal(other.method.predict(x, t), learner.method.predict(x, t)) for t in range(2))
    for either in (learner, other):
        either.learn(either.stream.tasks[2])
    assert identical(weights_of(learner, 1), weights_of(other, 1))


@pytest.mark.parametrize("hard, size", [(True, -(-50 // 8)), (False, 4 * 50)])
def test_what_it_keeps(hard, size):
    """A gate per neuron and task: a bit, or a number where they are soft."""
    learner = learner_for(case({"hard": hard}, hidden=(33, 17)))
    sizes = []
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
        sizes.append(learner.footprint()[0])
    assert [s["masks"] for s in sizes] == [size, 2 * size, 3 * size]
    assert all(s["parameters"] == 4 * (65 * 33 + 34 * 17 + 18 * 10) for s in sizes)


def test_its_pictures():
    learner = trained(case(hidden=(33, 17)), tasks=2)
    pictures = learner.method.insight()
    shapes = {name: tuple(v.shape) for name, v in pictures.items()}
    assert shapes == {"gates_layer_1": (2, 2, 33), "gates_layer_2": (2, 2, 17), "capacity_used": (2, 2)}
    first, second = (pictures[f"gates_layer_{i}"].amax(1) for i in (1, 2))  # used by either task
    expected = torch.stack([first.mean(1), first.mean(1) * second.mean(1)], 1)
    torch.testing.assert_close(pictures["capacity_used"], expected)


@pytest.mark.parametrize(
    "benchmark, settings, said",
    [
        ("permuted-digits", {"batch_size": 256, "epochs": 10}, ["50 steps", "about 400 (40 per class", "more epochs"]),
        ("permuted-digits", {"batch_size": 16, "epochs": 10}, []),
        ("split-digits", {"batch_size": 512, "epochs": 1}, ["1 step for", "about 80"]),
        ("split-digits", {"batch_size": 16, "epochs": 10}, []),
    ],
)
def test_it_says_when_there_are_too_few_steps(benchmark, settings, said):
    """Measured: on permuted digits in batches of 256 it is at 20 % where a plain network is at 65."""
    note = learner_for(case(benchmark=benchmark, **settings)).method.note()
    assert all(part in note for part in said) and bool(note) == bool(said)


def test_it_works_alone_and_is_not_said_to_grow():
    with pytest.raises(RequestError, match="hat works alone: it changes how the network computes"):
        learner_for(digits_run("ewc+hat", benchmark="split-digits", scenario="task"))


def test_without_hidden_layers_there_are_only_heads():
    result = result_of(case(hidden=()))
    assert all(r["bwt"] == 0 and r["learning_accuracy"] > 0.8 for r in result["replicas"])
