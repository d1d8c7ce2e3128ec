"""Deep generative replay: dreams instead of memories."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from clcore.errors import RequestError
from clcore.methods import dgr
from clcore.methods.parts.distillation import batch_mean
from clcore.state import leaves
from tests.methods.test_lwf import first_examples, stir
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    trained,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"dgr.generator_width": 24, "dgr.latent": 5}


def digits(scenario="class", settings=None, **case):
    case = {"benchmark": "split-digits", "seeds": (0, 1), "strengths": (1,), **case}
    return digits_run("dgr", scenario=scenario, settings={**SMALL, **(settings or {})}, **case)


def at_third_task(scenario="class", settings=None, **case):
    learner = trained(digits(scenario, settings, **case), tasks=2)
    task = learner.stream.tasks[2]
    learner.classifier.learning = 2
    learner.method.begin(task)
    return learner, task


@pytest.mark.parametrize(
    "case",
    [
        dict(benchmark="split-digits", scenario="class", seeds=range(4), strengths=(0, 0.3, 1, 5)),
        dict(
            benchmark="split-digits", scenario="task", seeds=range(16), options={"order": "seeded"}, optimizer="adam",
            settings={**SMALL, "dgr.answers": "soft"},
        ),
        dict(
            benchmark="permuted-digits", scenario="domain", seeds=range(16), batch_size=7, hidden=(17,), tasks=2,
            options={"train_per_task": 250},
            settings={"dgr.generator_width": 13, "dgr.latent": 3, "dgr.decoder": "binary", "dgr.replay_batch": 9},
        ),
    ],
    ids=["strengths", "task, unequal streams", "odd sizes"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="dgr", **{"settings": SMALL, **case})


def test_so_is_its_generator():
    run = digits(seeds=range(4), strengths=(0, 0.3, 1, 5), options={"order": "seeded"})
    together = trained(run, tasks=2).method
    for row in (0, 5, 14):
        alone = trained(run, members=[row], tasks=2).method
        for a, b in zip(together.generator.parameters(), alone.generator.parameters(), strict=True):
            assert torch.equal(a[row], b[0])
        states = [m.noise.generators.state_dict()["states"] for m in (together, alone)]
        assert torch.equal(states[0][row], states[1][0])


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "adam"}, {"weight_decay": 1e-2}], ids=["sgd", "adam", "decay"])
def test_all_weight_on_the_new_task_is_fine_tuning(scenario, optimizer):
    assert_is_fine_tuning("dgr", dict(strengths=(0,)), settings=SMALL, scenario=scenario, **optimizer)


def test_at_the_first_task_it_is_fine_tuning_whatever_the_strength():
    plain = trained(digits_run("finetune", benchmark="split-digits", scenario="class", seeds=(0,)), tasks=1)
    ours = trained(digits(seeds=(0,), strengths=(1, 5)), tasks=1)
    for row in range(2):
        assert identical(weights_of(plain, 0), weights_of(ours, row))


def test_with_strength_one_all_tasks_weigh_alike():
    learner = trained(digits(seeds=(0,), strengths=(0, 1, 3)), tasks=0)
    for t in range(1, 6):
        learner.classifier.learning = t - 1
        share = learner.method._share_of_new()
        torch.testing.assert_close(share, torch.tensor([1.0, 1 / t, 1 / (1 + 3 * (t - 1))]))


@pytest.mark.parametrize("answers", ["hard", "soft"])
def test_dreams_are_answered_with_classes_seen_before(answers):
    learner, _ = at_third_task(settings={"dgr.answers": answers})
    dreams = learner.method._dream()
    assert int(dreams.y.max()) < 4 and dreams.x.shape == (2, 16, 1, 8, 8)
    p = dreams.stored["answers"].softmax(-1)
    assert bool((p[..., 4:] == 0).all())
    torch.testing.assert_close(p.sum(-1), torch.ones(2, 16))
    said = learner.method.old_solver(dreams.x)[..., :4]
    expected = F.one_hot(said.argmax(-1), 4).float() if answers == "hard" else said.softmax(-1)
    torch.testing.assert_close(p[..., :4], expected)
    assert torch.equal(dreams.task, dreams.y // 2)


def test_the_loss_mixes_new_examples_and_dreams():
    learner, task = at_third_task()
    stir(learner)
    batch, method, classifier = first_examples(learner, task), learner.method, learner.classifier
    mixed = method.mix(batch)
    (dreams,) = mixed.replay
    new = batch_mean(classifier.sample_losses(batch), batch)
    old = batch_mean(classifier.sample_losses(dreams), dreams)  # hard labels: the usual cross-entropy
    torch.testing.assert_close(method.task_loss(mixed), new / 3 + 2 * old / 3)


def test_soft_answers_are_compared_at_their_temperature():
    learner, task = at_third_task(settings={"dgr.answers": "soft", "dgr.temperature": 3.0})
    stir(learner)
    method = learner.method
    dreams = method._dream()
    p = (method.old_solver(dreams.x)[..., :4] / 3).softmax(-1)
    log_q = (learner.classifier(dreams.x)[..., :6] / 3).log_softmax(-1)
    torch.testing.assert_close(method._dream_losses(dreams), -9 * (p * log_q[..., :4]).sum(-1))


def test_in_the_task_scenario_every_old_head_answers():
    learner, _ = at_third_task("task")
    stir(learner)
    method = learner.method
    dreams = method._dream()
    said, now = method.old_solver(dreams.x), learner.classifier(dreams.x)
    heads = [
        F.cross_entropy(now[..., s : s + 2].flatten(0, 1), said[..., s : s + 2].argmax(-1).flatten(), reduction="none")
        for s in (0, 2)
    ]
    torch.testing.assert_close(method._dream_losses(dreams).flatten(), (heads[0] + heads[1]) / 2)


def test_the_old_networks_do_not_move_while_a_task_is_learned():
    learner = trained(digits(), tasks=1)
    solver = {n: p.detach().clone() for n, p in learner.classifier.network.named_parameters()}
    decoder = {n: p.detach().clone() for n, p in learner.method.generator.decoder.named_parameters()}
    learner.learn(learner.stream.tasks[1])
    method = learner.method
    assert all(torch.equal(method.old_solver.weights[n], p) for n, p in solver.items())
    assert all(torch.equal(method.old_generator.weights[n], p) for n, p in decoder.items())
    moved = dict(method.generator.decoder.named_parameters())
    assert not any(torch.equal(moved[n], p) for n, p in decoder.items() if n.endswith("bias"))
    x = method._dream().x
    assert not torch.equal(x, method._dream().x)  # new dreams at every step


def test_the_generators_loss_does_not_reach_the_solver_nor_the_solvers_the_generator():
    learner, task = at_third_task()
    method, network = learner.method, learner.classifier.network
    batch = method.mix(first_examples(learner, task))
    network.zero_grad()
    method.terms(batch)["generator"].sum().backward()
    assert all(p.grad is None for p in network.parameters())
    assert all(p.grad is not None for p in method.generator.parameters())
    before = [p.grad.clone() for p in method.generator.parameters()]
    method.task_loss(batch).sum().backward()
    assert all(torch.equal(p.grad, b) for p, b in zip(method.generator.parameters(), before, strict=True))


def test_no_example_is_kept():
    """After a task no state holds inputs, ids or anything else as large as the data: only networks and generators."""
    learner = trained(digits(), tasks=2)
    networks = {id(p) for p in learner.method.generator.parameters()}
    networks |= {
        id(w) for old in (learner.method.old_solver, learner.method.old_generator) for w in old.weights.values()
    }
    kept = [leaf for _, leaf in leaves(learner.method) if isinstance(leaf, torch.Tensor) and id(leaf) not in networks]
    assert kept == [] and not learner.method.uses_memory


def test_networks_are_charged_once_they_exist():
    learner = trained(digits(), tasks=1)
    method = learner.method
    sizes = learner.footprint()[0]
    assert sizes["generator"] == 4 * method.generator.parameter_count and "old_networks" not in sizes
    learner.learn(learner.stream.tasks[1])
    sizes = learner.footprint()[0]
    assert sizes["old_networks"] == sizes["parameters"] + 4 * method.generator.decoder.parameter_count
    assert "memory_samples" not in sizes


def test_dreams_are_shown_for_every_class_seen_and_looking_changes_nothing():
    learner = trained(digits(), tasks=2)
    states = learner.method.codes.generators.state_dict()["states"].clone()
    insight = learner.method.insight()
    assert insight["dreams"].shape == (2, 2 * 4, 1, 8, 8) and insight["dreams_by_class"].shape == (2, 10)
    torch.testing.assert_close(insight["dreams_by_class"].sum(1), torch.ones(2))
    assert bool((insight["dreams_by_class"][:, 4:] == 0).all())
    again = learner.method.insight()
    assert all(torch.equal(insight[name], again[name]) for name in insight)
    assert torch.equal(states, learner.method.codes.generators.state_dict()["states"])


def test_a_binary_decoder_needs_inputs_from_0_to_1():
    learner_for(digits(settings={"dgr.decoder": "binary"}))
    for case in (dict(benchmark="toy-2d", tasks=4), dict(options={"standardise": True})):
        with pytest.raises(RequestError, match="choose gaussian"):
            learner_for(digits("domain", {"dgr.decoder": "binary"}, **case))
        learner_for(digits("domain", **case))


def test_colours_that_are_standardised_one_by_one_are_not_from_0_to_1():
    data = torch.tensor([[0, 0, 255], [255, 128, 0]], dtype=torch.uint8)
    three = lambda scale, shift: SimpleNamespace(  # noqa: E731
        examples=SimpleNamespace(inputs=SimpleNamespace(data=data, scale=torch.tensor(scale), shift=torch.tensor(shift)))
    )
    assert dgr._within_0_1(three([1 / 255] * 3, [0.0] * 3))
    assert not dgr._within_0_1(three([1 / 255, 1 / 64, 1 / 255], [0.0, -2.0, 0.0]))


@pytest.mark.parametrize("answers, gain", [("hard", 0.3), ("soft", 0.3)])
def test_it_forgets_less_than_fine_tuning(answers, gain):
    case = dict(benchmark="split-digits", scenario="class", seeds=(0, 1), epochs=10, hidden=(64, 64), live_points=0)
    settings = {"dgr.strength": 1.0, "dgr.latent": 16, "dgr.answers": answers, "dgr.generator_lr": 0.01}
    final = [
        torch.tensor(trained(digits_run(method, settings=own, **case)).row(5, "test")).mean()
        for method, own in (("finetune", None), ("dgr", settings))
    ]
    assert final[1] > final[0] + gain


def test_it_resumes(tmp_path):
    assert_resumes(digits("task", {"dgr.replay_batch": 5}, strengths=(0, 1)), tmp_path / "at")
