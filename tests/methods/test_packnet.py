"""PackNet: weights with an owner, exact shares, and answers that never change."""

import copy

import pytest
import torch

from clcore.errors import RequestError
from clcore.methods.base import Method
from clcore.methods.parts.ownership import FREE
from tests.training_cases import (
    assert_independent,
    assert_is_fine_tuning,
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
SPLIT = dict(benchmark="split-digits", scenario="task")


@pytest.mark.parametrize(
    "case",
    [
        dict(**SPLIT, settings={"packnet.start": "zero"}),
        dict(
            **SPLIT, optimizer="adamw", weight_decay=0.05, hidden=(33, 17), batch_size=7,
            settings={"packnet.biases": "task", "packnet.shares": "constant"},
        ),
        dict(**SPLIT, options={"order": "seeded"}, momentum=0.9, lr=0.02, weight_decay=1e-3),
        dict(**SPLIT, hidden=()),
    ],
    ids=["start at zero", "odd widths, adamw", "unequal streams", "no hidden layer"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="packnet", seeds=range(16), **case)


@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "adam"}, {"optimizer": "adamw", "weight_decay": 0.05}])
def test_with_one_task_it_is_fine_tuning(optimizer):
    assert_is_fine_tuning("packnet", {}, options={"tasks": 1}, **optimizer)


def test_the_first_task_of_several_is_trained_like_any_network():
    plain = trained(digits_run("finetune", **SPLIT), tasks=1)
    settings = {"packnet.shares": "constant", "packnet.prune": 0.0}
    packed = trained(digits_run("packnet", settings=settings, **SPLIT), tasks=1)
    assert identical(weights_of(plain, 0), weights_of(packed, 0))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"packnet.biases": "task", "packnet.start": "zero", "packnet.shares": "constant", "packnet.retrain_lr": 1.0},
        {"packnet.shares": "constant", "packnet.prune": 0.0},
    ],
    ids=["default", "own biases", "nothing left for later tasks"],
)  # fmt: skip
def test_old_answers_stay_the_same_bits(settings):
    assert_keeps_old_logits("packnet", settings=settings)


def test_old_answers_stay_also_where_others_would_train_old_outputs():
    for method in ("er+packnet", "packnet+lwf-mc"):
        learner = trained(digits_run(method, seeds=(0, 1), **SPLIT))
        assert [v["identical"] for v in learner.verdicts()] == [True, True]


def test_every_task_ends_with_an_equal_share_and_the_shares_of_others_never_change():
    learner = learner_for(digits_run("packnet", seeds=(0, 1), hidden=(33, 17), **SPLIT))
    ownership, before = learner.method.ownership, None
    sizes = torch.tensor([layer.inputs * layer.outputs for layer in ownership.layers])
    for task in learner.stream.tasks:
        learner.learn(task)
        counts, t = ownership.counts(5), task.index
        assert torch.equal(counts.sum(2), sizes.expand(2, 2))
        assert bool(((counts[..., t] - sizes / 5).abs() <= 1).all()) and not counts[..., t + 1 : -1].any()
        assert before is None or torch.equal(counts[..., :t], before)
        before = counts[..., : t + 1]
        for layer, owner in zip(ownership.layers, ownership.owner, strict=True):
            assert bool((layer.weight[owner == FREE] == 0).all())
            assert bool((layer.weight[owner <= t] != 0).any())
    assert not counts[..., -1].any()


def test_a_constant_share_leaves_less_and_less_and_the_last_task_all_that_is_left():
    settings = {"packnet.shares": "constant", "packnet.prune": 0.75}
    learner = trained(digits_run("packnet", settings=settings, **SPLIT))
    owned = learner.method.ownership.counts(5)[0].double()
    share = owned / owned.sum(1, keepdim=True)
    expected = [0.25, 0.25 * 0.75, 0.25 * 0.75**2, 0.25 * 0.75**3, 0.75**4, 0.0]
    torch.testing.assert_close(share, torch.tensor([expected] * 2, dtype=torch.float64), atol=2e-3, rtol=0)


def test_the_smallest_of_the_tasks_own_weights_are_freed_after_training_and_the_rest_is_retrained(monkeypatch):
    learner = trained(digits_run("packnet", **SPLIT), tasks=1)
    ownership = learner.method.ownership
    seen = {}

    def prune(task, share):
        seen["before"] = [layer.weight.detach().clone() for layer in ownership.layers]
        type(ownership).prune(ownership, task, share)
        seen["after"] = [layer.weight.detach().clone() for layer in ownership.layers]

    monkeypatch.setattr(ownership, "prune", prune)
    learner.learn(learner.stream.tasks[1])
    for layer, owner, before, after in zip(ownership.layers, ownership.owner, seen["before"], seen["after"], strict=True):
        kept, freed = owner == 1, owner == FREE
        assert before[freed].abs().max() <= before[kept].abs().min()
        assert torch.equal(before[kept], after[kept]) and torch.equal(before[owner == 0], layer.weight[owner == 0])
        assert not torch.equal(layer.weight[kept], after[kept])  # retraining moved them


def test_phases_their_passes_and_learning_rates():
    learner = learner_for(digits_run("packnet", epochs=3, lr=0.5, **SPLIT))
    for t, task in enumerate(learner.stream.tasks):
        learner.method.begin(task)
        phases = list(learner.method.phases(task))
        assert [p.name for p in phases] == (["train", "retrain"] if t < 4 else ["train"])
        assert phases[0].epochs is None and phases[0].covers[0] == 0 and phases[-1].covers[1] == 1
        if t < 4:
            assert phases[1].epochs == 2 and phases[0].covers[1] == phases[1].covers[0] == 0.6
            (optimizer,) = phases[1].optimizers(list(learner.classifier.network.parameters()))
            assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
        learner.method.end(task)
    run = digits_run("packnet", settings={"packnet.retrain_epochs": 0}, **SPLIT)
    assert result_of(run)["train_samples"] == result_of(digits_run("finetune", **SPLIT))["train_samples"]


def test_claimed_weights_start_at_random_or_at_zero():
    for start in ("fresh", "zero"):
        learner = trained(digits_run("packnet", settings={"packnet.start": start}, **SPLIT), tasks=1)
        ownership = learner.method.ownership
        next(learner.method.phases(learner.stream.tasks[1]))
        for layer, owner in zip(ownership.layers, ownership.owner, strict=True):
            assert bool((layer.weight[owner == 1] == 0).all()) == (start == "zero")


@pytest.mark.parametrize("biases", ["first", "task"])
def test_biases_are_locked_with_the_first_task_or_kept_for_each(biases):
    learner = trained(digits_run("packnet", settings={"packnet.biases": biases}, **SPLIT), tasks=1)
    ownership = learner.method.ownership
    first = [layer.bias.detach().clone() for layer in ownership.layers]
    learner.learn(learner.stream.tasks[1])
    now = [layer.bias.detach() for layer in ownership.layers]
    assert identical(first, now) == (biases == "first")
    assert len(ownership.biases) == (2 if biases == "task" else 0)
    if biases == "task":
        assert identical(ownership.biases[0], first) and identical(ownership.biases[1], now)


def test_asking_about_an_old_task_in_mid_task_changes_nothing(monkeypatch):
    plain = trained(digits_run("packnet", optimizer="adam", live_points=0, **SPLIT))
    looked_at = learner_for(digits_run("packnet", optimizer="adam", live_points=9, **SPLIT))
    x, _ = looked_at.stream.tasks[0].test.gather(torch.arange(32).unsqueeze(0))
    answers = []

    def mix(self, batch):
        before = [p.detach().clone() for p in looked_at.classifier.network.parameters()]
        owners = [owner.clone() for owner in self.ownership.owner]
        answers.append(self.predict(x, 0))
        assert identical(before, list(looked_at.classifier.network.parameters()))
        assert identical(owners, self.ownership.owner)
        return batch

    monkeypatch.setattr(Method, "mix", mix)
    for task in looked_at.stream.tasks:
        learned = len(answers)
        looked_at.learn(task)
        if task.index:  # the same in the middle of every later task
            assert all(torch.equal(a, answers[learned]) for a in answers[learned:])
    assert identical(weights_of(plain, 0), weights_of(looked_at, 0))


def test_a_saved_learner_gives_the_same_answers_and_goes_on_the_same():
    run = digits_run("packnet", seeds=(0, 1), settings={"packnet.biases": "task"}, **SPLIT)
    whole = trained(run, tasks=2)
    again = learner_for(run)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    x, _ = whole.stream.tasks[0].test.gather(torch.arange(32).expand(2, -1))
    for task in range(2):
        assert torch.equal(whole.method.predict(x, task), again.method.predict(x, task))
    assert identical(whole.method.ownership.owner, again.method.ownership.owner)
    for learner in (whole, again):
        learner.learn(learner.stream.tasks[2])
    assert all(identical(weights_of(whole, k), weights_of(again, k)) for k in range(2))


def test_interrupted_and_resumed_it_ends_the_same(tmp_path):
    assert_resumes(digits_run("packnet", seeds=(0, 1), **SPLIT), tmp_path / "checkpoint")


def test_footprint_and_insight():
    learner = learner_for(digits_run("packnet", seeds=(0, 1), settings={"packnet.biases": "task"}, **SPLIT))
    plain = learner_for(digits_run("finetune", seeds=(0, 1), **SPLIT)).footprint()
    assert learner.footprint() == plain  # nothing yet
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
    masks = -(-(64 * 32 + 32 * 32) * 3 // 8)  # six owners in three bits
    assert learner.footprint() == [p | {"masks": masks, "biases": 2 * 4 * 64} for p in plain]
    shares = learner.method.insight()["ownership"]
    assert shares.shape == (2, 2, 6)
    torch.testing.assert_close(shares.sum(2), torch.ones(2, 2, dtype=torch.float64))
    assert shares[0, 0, -1] == pytest.approx(0.4, abs=1e-3)


def test_nothing_is_forgotten_and_every_task_is_learned():
    case = dict(scenario="task", seeds=(0, 1), epochs=5, tasks=3, hidden=(50, 50), live_points=0)
    ours, plain = result_of(digits_run("packnet", **case)), result_of(digits_run("finetune", **case))
    for packed, free in zip(ours["replicas"], plain["replicas"], strict=True):
        assert packed["bwt"] == packed["forgetting"] == 0 and free["bwt"] < -0.05
        assert packed["acc"] > 0.85 and packed["acc"] > free["acc"]
        assert packed["old_logits"]["identical"] is True
        assert all(row[t] is None for n, row in enumerate(packed["accuracy_matrix"]) for t in range(n, 3))


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_without_the_task_it_does_not_know_which_weights_to_use(scenario):
    with pytest.raises(RequestError, match=f"not work in the {scenario} scenario: it must be told the task at test"):
        digits_run("packnet", benchmark="split-digits", scenario=scenario)


def test_in_a_layer_of_fewer_weights_than_tasks_the_first_tasks_have_one_each():
    """Rounded, a tenth of four weights is none: the first task would answer at chance, and the proof would call it kept."""
    learner = trained(digits_run("packnet", benchmark="permuted-digits", scenario="task", tasks=10, hidden=(2, 2)), tasks=2)
    assert learner.method.ownership.counts(10)[0, 1].tolist() == [1, 1] + [0] * 8 + [2]
