"""SupSup: random weights that never move, a mask a task, and tasks inferred from inputs alone."""

from __future__ import annotations

import pytest
import torch

from clcore import capacity
from clcore.errors import RequestError
from clcore.evaluation import CHUNK, _chunks
from clcore.methods.parts.scores import looking_through
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
CASE = {"benchmark": "permuted-digits", "scenario": "domain", "seeds": (0, 1), "epochs": 2}
SPLIT = {"benchmark": "split-digits", "options": {"order": "seeded"}}


def case(settings=None, **more):
    settings = {f"supsup.{name}": value for name, value in (settings or {}).items()}
    return digits_run("supsup", settings=settings, **{**CASE, **more})


def examples(learner, task, n=64):
    """x (K, n, …) and y of a task's test split."""
    split = learner.stream.tasks[task].test
    return split.gather(torch.arange(n).expand(len(learner.seeds), n))


def hidden_state(learner):
    return [p.detach().clone() for layer in learner.method.layers for p in (layer.weight, layer.bias)]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_old_logits_through_the_masks_are_kept_with_every_optimizer(scenario):
    assert_keeps_old_logits("supsup", scenario=scenario, batch_size=50)


def test_weights_are_signed_constants_without_biases_and_never_move():
    plain = learner_for(digits_run("finetune", **CASE))
    learner = learner_for(case(optimizer="adamw", weight_decay=0.05, hidden=(33, 17)))
    first, second = hidden_state(learner), learner_for(case(hidden=(33, 17)))
    for layer in learner.method.layers:
        real = layer.weight[:, : layer.inputs, : layer.outputs]
        assert bool((real.abs() == real.abs()[0, 0, 0]).all()) and bool((layer.bias == 0).all())
        assert abs(float(real.abs()[0, 0, 0]) - (2 / layer.inputs) ** 0.5) < 1e-6
        assert 0.3 < (real > 0).double().mean() < 0.7
        assert not layer.weight[:, layer.inputs :].any() and not layer.weight[..., layer.outputs :].any()
    for task in learner.stream.tasks:
        learner.learn(task)
        assert all(layer.weight.grad is None and layer.bias.grad is None for layer in learner.method.layers)
    assert identical(first, hidden_state(learner)) and identical(first, hidden_state(second))
    same = learner_for(case()).method.layers[0].weight
    assert torch.equal(same.sign(), plain.classifier.network.layers[0].weight.sign())


@pytest.mark.parametrize("infer", ["entropy", "one-shot"])
@pytest.mark.parametrize("infer_from", ["example", "batch"])
@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_predictions_never_use_the_task_that_is_given(infer, infer_from, scenario):
    settings = {"infer": infer, "infer_from": infer_from, "extra_outputs": 30}
    learner = trained(case(settings, scenario=scenario, benchmark="split-digits", epochs=1))
    x, _ = examples(learner, 2)
    answers = [learner.method.predict(x, given) for given in range(5)]
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    told = [learner.method.known_task_logits(x, given) for given in range(5)]
    assert not torch.equal(told[0], told[1])


@pytest.mark.parametrize("infer", ["entropy", "one-shot"])
def test_a_single_task_is_inferred_as_itself(infer):
    learner = trained(case({"infer": infer}), tasks=1)
    x, _ = examples(learner, 2)
    assert bool((learner.method.infer(x) == 0).all())
    assert torch.equal(learner.method.predict(x, 2), learner.method.known_task_logits(x, 0))


def test_the_surest_mask_answers():
    learner = trained(case())
    x, _ = examples(learner, 1)
    told = torch.stack([learner.method.known_task_logits(x, t) for t in range(3)])
    p = told.softmax(-1).double()
    surest = (-(p * p.clamp_min(1e-300).log()).sum(-1)).argmin(0)
    assert (surest == learner.method.infer(x)).double().mean() > 0.99 and len(surest.unique()) > 1
    answers = learner.method.predict(x, 0)
    for k in range(2):
        for b in range(64):
            assert torch.equal(answers[k, b], told[learner.method.infer(x)[k, b], k, b])


def test_the_slopes_are_the_gradient_of_the_entropy_by_the_shares():
    """∂H/∂α_i by autograd through W ⊙ Σ α_i m_i, for every example and mask."""
    learner = trained(case({"extra_outputs": 30}, hidden=(33, 17)))
    x, _ = examples(learner, 0, 12)
    shares = torch.full((3, 2, 12), 1 / 3, requires_grad=True)
    h = x.flatten(2)
    for at, layer in enumerate(learner.method.layers):
        h = sum(shares[t].unsqueeze(2) * (h @ (layer.weight * learner.method.masks.of(t)[at])) for t in range(3))
        h = torch.relu(h) if at < 2 else h[..., :40]
    log_p = h.log_softmax(-1)
    (expected,) = torch.autograd.grad(-(log_p.exp() * log_p).sum(), shares)
    found = learner.method.slopes(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert found.abs().max() > 0.01


def test_a_batch_is_decided_as_one():
    learner = trained(case({"infer_from": "batch"}))
    x, _ = examples(learner, 2)
    inferred = learner.method.infer(x)
    assert bool((inferred == inferred[:, :1]).all())
    assert torch.equal(inferred[:, 0], learner.method.entropies(x).mean(2).argmin(0))
    learner.method.hyper.infer_from = "example"
    assert not torch.equal(learner.method.infer(x), inferred)


def test_a_batch_is_not_decided_by_what_fills_it_up():
    """The last examples of a split are few; the rest of their batch must not be one example a hundred times over."""
    learner = learner_for(case(tasks=2))
    split = learner.stream.tasks[0].test
    assert int(split.lengths[0]) % CHUNK
    *_, (x, _, weight) = _chunks(split)
    assert len(x[0].unique(dim=0)) == CHUNK and not weight.all()


def test_in_the_class_scenario_the_answer_is_a_class_of_the_inferred_task():
    learner = trained(case(benchmark="split-digits", scenario="class", epochs=5))
    x, _ = examples(learner, 3)
    inferred, answers = learner.method.infer(x), learner.method.predict(x, 0)
    assert torch.equal(answers.argmax(-1) // 2, inferred)
    right = learner.method.insight()["inferred_task"].diagonal(dim1=1, dim2=2).mean(1)
    assert bool((right > 0.4).all()), "twice as good as guessing among five tasks"


def test_extra_outputs_are_trained_away_and_never_predicted():
    learner = trained(case({"extra_outputs": 30}), tasks=1)
    x, _ = examples(learner, 0)
    assert learner.method.predict(x, 0).shape == (2, 64, 10)
    with looking_through(learner.method.layers, learner.method.masks.of(0)):
        everything = learner.classifier(x)
    assert everything.shape == (2, 64, 40)
    assert float(everything[..., 10:].amax(-1).mean()) < float(everything[..., :10].amax(-1).mean())
    assert learner.footprint()[0]["parameters"] == 4 * (65 * 32 + 33 * 32 + 33 * 40)
    run, shape = case({"extra_outputs": 30}), (8, 8)
    assert capacity.held_parameters(run, shape, 10) == capacity.parameter_count(run, shape, 40)
    told = learner_for(case({"extra_outputs": 30}, scenario="task"))
    assert told.classifier.network.head.outputs == 30  # three tasks of ten classes, nothing beside them


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_of_the_weights(share):
    density = trained(case({"share": share}, hidden=(33, 17)), tasks=2).method.insight()["mask_density"]
    counts = torch.tensor([int(share * n + 0.5) / n for n in (64 * 33, 33 * 17, 17 * 10)], dtype=torch.float64)
    torch.testing.assert_close(density, counts.expand(2, 2, 3))


def test_no_mask_is_empty():
    with pytest.raises(RequestError, match=r"supsup.share = 0.0 is not allowed: give a number from 0.01 to 1"):
        case({"share": 0.0})
    density = trained(case({"share": 0.01}, hidden=(4, 4)), tasks=1).method.insight()["mask_density"]
    assert density[0, 0].tolist() == [3 / 256, 1 / 16, 1 / 40]  # rounded, a hundredth of sixteen would be none


def test_it_finds_the_tasks_of_permuted_digits_and_forgets_less_than_fine_tuning():
    settings = dict(benchmark="permuted-digits", scenario="domain", seeds=(0, 1), tasks=3, epochs=4, hidden=(50, 50))
    plain = result_of(digits_run("finetune", **settings))["replicas"]
    per_batch = {"supsup.infer_from": "batch"}
    inferred = result_of(digits_run("supsup", settings=per_batch, **settings))["replicas"]
    for theirs, ours in zip(plain, inferred, strict=True):
        assert ours["acc"] > 0.8 and ours["forgetting"] < theirs["forgetting"] / 2
        assert ours["acc"] > theirs["acc"]


def test_one_shot_needs_extra_outputs():
    found = {}
    for extra in (0, 200):
        learner = trained(case({"infer": "one-shot", "extra_outputs": extra}, epochs=3))
        pictures = learner.method.insight()["inferred_task"]
        assert pictures.shape == (2, 3, 3) and torch.allclose(pictures.sum(2), torch.ones(2, 3))
        found[extra] = float(pictures.diagonal(dim1=1, dim2=2).mean())
    assert found[200] > 0.8 and found[0] < found[200]


def test_predicting_in_the_middle_of_a_task_changes_nothing():
    learner = trained(case({"infer": "one-shot"}), tasks=1)
    learner.classifier.learning = 1
    learner.method.begin(learner.stream.tasks[1])
    network, method = learner.classifier.network, learner.method
    before = {n: v.clone() for n, v in network.state_dict().items()}
    common, states = method.masks.common.clone(), method.draws.state_dict()["states"]
    learner.evaluator.row(2)
    assert all(torch.equal(v, before[n]) for n, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters() if not p.requires_grad)
    assert all(layer.mask is None and layer.rule is not None and layer.tape is None for layer in method.layers)
    assert torch.equal(method.masks.common, common) and torch.equal(method.draws.state_dict()["states"], states)


def test_weights_that_no_mask_shows_may_be_anything():
    learner = trained(case(scenario="task"), tasks=2)
    x, _ = examples(learner, 0)
    before = learner.method.predict(x, 0)
    for layer, mask in zip(learner.method.layers, learner.method.masks.of(0), strict=True):
        with torch.no_grad():
            layer.weight.copy_(torch.where(mask, layer.weight, torch.randn_like(layer.weight) * 100))
    assert torch.equal(learner.method.predict(x, 0), before)
    assert not torch.equal(learner.method.predict(x, 1), before)


def test_the_result_says_how_the_task_is_known():
    notes = {
        "told the task": result_of(case(scenario="task", epochs=1, tasks=2)),
        "least entropy, for each example by itself": result_of(case(epochs=1, tasks=2)),
        "one-shot gradient of the entropy, for up to 128": result_of(
            case({"infer": "one-shot", "infer_from": "batch"}, epochs=1, tasks=2)
        ),
    }
    for text, result in notes.items():
        assert text in result["note"]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_unseen_tasks_have_a_meaning_only_where_the_task_is_inferred(scenario):
    matrix = result_of(case(scenario=scenario, epochs=1))["replicas"][0]["accuracy_matrix"]
    unseen = {"task": None, "class": 0.0}.get(scenario, matrix[1][2])
    assert matrix[1][2] == unseen and matrix[1][0] is not None
    assert scenario != "domain" or matrix[1][2] < 0.5


INDEPENDENT = {
    "inferred": dict(seeds=range(16), tasks=2, benchmark="permuted-digits", scenario="domain"),
    "odd widths": dict(seeds=range(16), hidden=(33, 17), scenario="class", settings={"supsup.extra_outputs": 7}, **SPLIT),
    "shares": dict(seeds=range(16), hidden=(33, 17), scenario="task", tasks=2, batch_size=50, settings={"supsup.share": 0.3}),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_replica_is_the_same_alone_and_among_others(name):
    assert_independent(method="supsup", **INDEPENDENT[name])


@pytest.mark.parametrize("infer", ["entropy", "one-shot"])
def test_inference_does_not_depend_on_who_else_is_there(infer):
    run = case({"infer": infer, "extra_outputs": 10}, seeds=range(8), epochs=1, scenario="class", **SPLIT)
    together, alone = trained(run), trained(run, members=[5])
    x, _ = examples(together, 1, 32)
    assert torch.equal(together.method.predict(x, 0)[5], alone.method.predict(x[5:6], 0)[0])


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_it_resumes(tmp_path, scenario):
    assert_resumes(case(scenario=scenario, benchmark="split-digits", epochs=1), tmp_path / "checkpoint.pt")


def test_resumed_masks_are_the_same_bits_and_training_goes_on():
    learner = trained(case(), tasks=2)
    other = learner_for(case())
    other.load_state_dict(learner.state_dict())
    x, _ = examples(learner, 0)
    assert torch.equal(other.method.predict(x, 0), learner.method.predict(x, 0))
    for either in (learner, other):
        either.learn(either.stream.tasks[2])
    assert identical(weights_of(learner, 1), weights_of(other, 1))


def test_what_it_keeps():
    """Every task costs one bit for every weight."""
    learner = learner_for(case(hidden=(33, 17)))
    sizes = []
    for task in learner.stream.tasks:
        learner.learn(task)
        sizes.append(learner.footprint()[0])
    bits = -(-64 * 33 // 8) + -(-33 * 17 // 8) + -(-17 * 10 // 8)
    assert [s["masks"] for s in sizes] == [bits, 2 * bits, 3 * bits]
    assert set(sizes[0]) == {"parameters", "masks"}


def test_its_pictures():
    learner = trained(case(hidden=(33, 17)), tasks=2)
    shapes = {name: tuple(v.shape) for name, v in learner.method.insight().items()}
    assert shapes == {"mask_density": (2, 2, 3), "mask_overlap": (2, 2, 2), "inferred_task": (2, 2, 2)}
    assert "inferred_task" not in trained(case(scenario="task"), tasks=1).method.insight()
