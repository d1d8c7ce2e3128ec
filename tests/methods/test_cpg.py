"""CPG: goals on validation data, growth only where one is missed, picks over old weights, and answers that never change."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from clcore.errors import RequestError
from clcore.methods.base import Method, PhaseResult
from clcore.methods.cpg import CPG
from clcore.methods.parts.ownership import FREE, RESERVED
from clcore.methods.parts.reserve import widths
from clcore.networks.mlp import MLP
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
SPLIT = dict(benchmark="split-digits", scenario="task")
QUICK = {"cpg.stages": 2, "cpg.slack": 0.0}
FEW = {"train_per_task": 100, "validation": 0.2}


def driven(learner, task, script, meddle=lambda phase: None):
    """Runs a task's plan with accuracies (K,) from a script instead of training; returns the names and who took part."""
    method = learner.method
    learner.classifier.learning = task
    method.begin(learner.stream.tasks[task])
    plan, result, seen = method.phases(learner.stream.tasks[task]), None, []
    script = iter(script)
    while True:
        try:
            phase = plan.send(result)
        except StopIteration:
            break
        seen.append((phase.name, None if phase.active is None else phase.active.tolist()))
        meddle(phase)
        accuracy = torch.tensor(next(script), dtype=torch.float64)
        result = PhaseResult(accuracy, lambda accuracy=accuracy: accuracy)
    assert next(script, None) is None
    method.end(learner.stream.tasks[task])
    return seen


def three(**settings):
    """Three replicas that have been through the first task of five, in script."""
    settings = {f"cpg.{k}": v for k, v in {"stages": 4, "slack": 0.0, "largest": 2.0, **settings}.items()}
    learner = learner_for(digits_run("cpg", seeds=(0, 1, 2), settings=settings, **SPLIT))
    driven(learner, 0, [[1.0] * 3] + [[0.0] * 3] * settings["cpg.stages"])
    return learner


@pytest.mark.parametrize(
    "case",
    [
        dict(settings=QUICK, options=FEW | {"tasks": 2}),
        dict(
            settings=QUICK | {"cpg.largest": 2.0}, optimizer="adam", hidden=(33, 17), batch_size=7,
            options={"order": "seeded", "tasks": 2, "validation": 0.3},
        ),
    ],
    ids=["some grow", "odd widths, unequal streams, adam"],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="cpg", seeds=range(16), **SPLIT, **case)


def test_replicas_side_by_side_decide_for_themselves():
    """The case above would prove nothing if all grew alike."""
    books = trained(digits_run("cpg", seeds=range(16), settings=QUICK, options=FEW | {"tasks": 2}, **SPLIT)).method.books
    assert set(books["size"][:, 1].tolist()) == {1.0, 1.5}
    assert len(set(books["freed"][:, 1].tolist())) > 1


@pytest.mark.parametrize("settings", [QUICK, {"cpg.stages": 1, "cpg.pick_lr": 0.0, "cpg.slack": 0.2, "cpg.largest": 1.0}])
def test_old_answers_stay_the_same_bits(settings):
    assert_keeps_old_logits("cpg", settings=settings, options=FEW, live_points=0)


def test_the_network_grows_only_where_the_goal_is_missed_and_only_so_far():
    learner = three()
    script = [
        [0.9, 0.9, 0.9],  # reference
        [0.95, 0.85, 0.5],  # train
        [0.95, 0.9, 0.5],  # grow: the first met its goal
        [0.95, 0.9, 0.6],  # grow: the third is at its largest now
        [0.95, 0.90, 0.6],
        [0.92, 0.80, 0.6],
        [0.91, 0.90, 0.1],
        [0.70, 0.10, 0.2],  # compact 1 to 4
        [0.99, 0.50, 0.3],  # retrain
    ]
    seen = driven(learner, 1, script)
    assert [name for name, _ in seen] == [
        "reference", "train", "grow", "grow", "compact 1", "compact 2", "compact 3", "compact 4", "retrain",
    ]  # fmt: skip
    assert [active for name, active in seen if name == "grow"] == [[False, True, True], [False, False, True]]
    books = {name: values[:, 1].tolist() for name, values in learner.method.books.items()}
    assert books["size"] == [1.0, 1.5, 2.0] and books["goal"] == [0.9] * 3
    # The sparsest stage that meets the goal, also after one that did not; the third must leave room for three more tasks.
    assert books["freed"] == pytest.approx([0.7125, 0.7125, 0.75])
    assert books["reached"] == [0.99, 0.9, 0.3]


def test_a_task_that_misses_its_goal_leaves_room_and_not_more_than_it_must():
    settings = {"cpg.stages": 4, "cpg.slack": 0.0, "cpg.largest": 1.0}
    learner = learner_for(digits_run("cpg", seeds=(0, 1, 2), settings=settings, **SPLIT))
    method = learner.method

    def meddle(phase):
        """Of a stage, the one step at which its ramp ends."""
        if method.ramp:
            method.restored()
            method.after_step(SimpleNamespace(passes=(1, 1, 1)), 0.1)

    driven(learner, 0, [[1.0] * 3] * 5, meddle)
    for task, stages, share in ((1, 4, 3 / 4), (2, 3, 2 / 3), (3, 3, 1 / 2), (4, 0, 0.0)):
        claimed = method.ownership.counts(5)[..., -1]
        script = [[0.9] * 3, [0.5, 0.5, 0.9]] + [[0.4, 0.4, 0.9]] * 4 + [[0.4] * 3]  # the third meets its goal
        seen = driven(learner, task, script, meddle)
        assert [active[0] for name, active in seen if name.startswith("compact")] == [True] * stages + [False] * (4 - stages)
        freed = torch.tensor([share, share, 0.95], dtype=torch.float64)
        torch.testing.assert_close(method.books["freed"][:, task], freed)
        kept = method.ownership.counts(5)[..., task]
        assert torch.equal(kept, claimed - (freed.unsqueeze(1) * claimed).round().long())


@pytest.mark.parametrize("stages", [1, 2, 10])
def test_what_a_missed_goal_frees_does_not_depend_on_the_number_of_stages(stages):
    learner = three(largest=1.0, stages=stages)
    compacting = [[0.4] * 3] * min(stages, 8)  # three quarters are .95 in the eighth tenth
    driven(learner, 1, [[0.9] * 3, [0.5] * 3, *compacting, [0.4] * 3])
    assert learner.method.books["freed"][:, 1].tolist() == pytest.approx([0.75] * 3)


def test_slack_lowers_the_goal_and_a_goal_that_is_met_exactly_is_met():
    learner = three(slack=0.1, stages=0, retrain_epochs=0)
    seen = driven(learner, 1, [[0.9] * 3, [0.8] * 3])
    assert [name for name, _ in seen] == ["reference", "train"]
    assert learner.method.books["goal"][:, 1].tolist() == pytest.approx([0.8] * 3)


def test_the_stage_that_is_taken_is_put_back_whole_and_retraining_only_if_better():
    learner = three()
    method, marks = learner.method, {}

    def meddle(phase):
        """What training might do, recognisably: each phase moves the task's own weights."""
        for layer, owner in zip(method.ownership.layers, method.ownership.owner, strict=True):
            layer.weight.data[owner == 1] += 0.125
        marks[phase.name] = [layer.weight.detach().clone() for layer in method.ownership.layers]

    stages = [[0.9, 0.9, 0.9], [0.9, 0.9, 0.1], [0.9, 0.1, 0.1], [0.1, 0.1, 0.1]]
    driven(learner, 1, [[0.9] * 3, [0.9] * 3, *stages, [0.9, 1.0, 0.8]], meddle)
    for at, layer in enumerate(method.ownership.layers):
        for k, phase in enumerate(("compact 3", "retrain", "compact 1")):
            assert torch.equal(layer.weight[k], marks[phase][at][k]), (k, phase)


def test_growing_leaves_every_old_weight_and_output_as_it_was():
    learner = three()
    method, network = learner.method, learner.classifier.network
    old = [layer.weight.detach().clone() for layer in (*method.ownership.layers, network.head)]
    owner = [o.clone() for o in method.ownership.owner]
    method.begin(learner.stream.tasks[1])
    before = int(network.parameter_count[0])
    method._grow(1, torch.tensor([True, False, True]))
    assert method.size.tolist() == [1.5, 1.0, 1.5]
    for layer, was, then, now in zip(method.ownership.layers, old[:-1], owner, method.ownership.owner, strict=True):
        assert torch.equal(layer.weight, was)
        assert torch.equal(now[1], then[1]) and torch.equal(now[then == 0], then[then == 0])
        assert bool(((now != then) == ((then == RESERVED) & (now == FREE))).all()) and bool((now != then)[0].any())
    head, rows = network.head.weight, slice(32, widths([32], 1.5)[0])
    assert torch.equal(head[:, :32], old[-1][:, :32])
    assert not head[:, rows, :2].any() and bool((head[0, rows, 2:10] != 0).all()) and not head[1, rows].any()
    a, b = widths([32, 32], 1.5)
    grown = 65 * a + (a + 1) * b + (b + 1) * 8 + 33 * 2  # the first task's outputs see the units there were
    assert network.parameter_count.tolist() == [grown, before, grown]
    assert before == MLP.count_parameters((64,), 10, (32, 32))


def test_new_weights_start_as_in_a_network_of_the_units_in_use():
    """Units in reserve add nothing to a sum, so they are no reason to start smaller."""
    drawn = []
    for largest in (1.0, 4.0):
        settings = {"cpg.stages": 0, "cpg.largest": largest}
        learner = learner_for(digits_run("cpg", seeds=(0, 1), settings=settings, **SPLIT))
        method = learner.method
        method.ownership.claim(0)
        method.ownership.prune(0, 0.9)
        method.ownership.claim(1, method.draws)
        pairs = zip(method.ownership.layers, method.ownership.owner, strict=True)
        drawn.append([layer.weight[owner == 1].abs().max().item() for layer, owner in pairs])
    expected = pytest.approx([64**-0.5, 32**-0.5], rel=0.01)
    assert drawn[0] == expected and drawn[1] == expected
    method._grow(1, torch.tensor([True, False]))
    now = widths([32, 32], 1.5)[0]
    assert [fan_in.tolist() for fan_in in method.ownership.fan_in] == [[64, 64], [now, 32]]
    fresh = learner.classifier.network.head.weight[0, 32:now, 2:10].abs().max().item()
    assert now**-0.5 * 0.9 < fresh <= now**-0.5


def test_units_in_reserve_stay_silent_under_any_optimizer():
    run = digits_run("cpg", settings=QUICK | {"cpg.slack": 1.0}, optimizer="adamw", weight_decay=0.05, **SPLIT)
    learner = trained(run)
    assert learner.method.size.tolist() == [1.0]
    for layer, owner in zip(learner.method.ownership.layers, learner.method.ownership.owner, strict=True):
        assert bool((owner == RESERVED).any()) and not layer.weight[owner == RESERVED].any()
        assert not layer.bias[:, 32:].any()
    assert not learner.classifier.network.head.weight[:, 32:].any()


def test_picks_are_over_old_weights_only_and_own_weights_always_count():
    learner = trained(digits_run("cpg", seeds=(0, 1), settings=QUICK | {"cpg.pick_lr": 0.01}, **SPLIT))
    method = learner.method
    for task in range(5):
        for owner, mask in zip(method.ownership.owner, method.masks.of(task), strict=True):
            assert mask.dtype == torch.bool and mask.shape == owner.shape
            assert bool(mask[owner == task].all()) and not mask[owner > task].any()
    some = method.picked[:, 1:]
    assert bool(((some > 0) & (some < 1)).all()) and bool(method.picked[:, 0].isnan().all())


def test_without_picking_every_old_weight_is_used():
    learner = trained(digits_run("cpg", seeds=(0, 1), settings=QUICK | {"cpg.pick_lr": 0.0}, **SPLIT))
    for task in range(5):
        masks = zip(learner.method.ownership.owner, learner.method.masks.of(task), strict=True)
        assert all(torch.equal(mask, owner <= task) for owner, mask in masks)


def test_weights_are_freed_along_the_ramp_to_exactly_the_stages_sparsity(monkeypatch):
    learner = learner_for(digits_run("cpg", settings={"cpg.stages": 2, "cpg.stage_epochs": 8, "cpg.slack": 1.0}, **SPLIT))
    method, free = learner.method, []
    step = CPG.after_step

    def after_step(self, batch, lr):
        step(self, batch, lr)
        if self.ramp:
            counts = self.ownership.counts(5)
            free.append((counts[..., -1] / counts.sum(2)).flatten().tolist())
            for layer, owner in zip(self.ownership.layers, self.ownership.owner, strict=True):
                assert not layer.weight[owner == FREE].any()

    monkeypatch.setattr(CPG, "after_step", after_step)
    learner.learn(learner.stream.tasks[0])
    shares = torch.tensor(free)
    passes = -(-int(learner.stream.tasks[0].train.lengths[0]) // 16)
    assert len(shares) == 2 * 8 * passes and bool((shares.diff(dim=0) >= 0).all())
    assert len(shares[:, 0].unique()) > 4 and not shares[0].any()
    for stage, sparsity in ((1, 0.475), (2, 0.95)):
        ramp_end = (stage - 1) * 8 * passes + -(-8 * passes // 5)
        for at, n in enumerate((64 * 32, 32 * 32)):
            expected = round(sparsity * n) / n
            assert shares[ramp_end - 1, at] == pytest.approx(expected) and shares[ramp_end - 2, at] < expected
    assert method.books["freed"][0, 0] == 0.95


def test_the_first_task_is_trained_like_any_network_and_the_reference_leaves_no_trace():
    settings = {"cpg.stages": 0, "cpg.retrain_epochs": 0, "cpg.largest": 1.0}
    plain = trained(digits_run("finetune", **SPLIT), tasks=1)
    ours = trained(digits_run("cpg", settings=settings, **SPLIT), tasks=1)
    learned = [p.detach()[0] for p in ours.method._weights()]
    assert identical(weights_of(plain, 0), learned)
    method = ours.method
    before = [p.detach().clone() for p in method._weights()]
    plan = method.phases(ours.stream.tasks[1])
    assert next(plan).name == "reference" and identical(method._weights(), method.initial)
    with torch.no_grad():
        for parameter in method._weights():
            parameter += 1  # as if it had been trained
    half = torch.full((1,), 0.5, dtype=torch.float64)
    assert plan.send(PhaseResult(half, lambda: half)).name == "train"
    assert identical(before, method._weights())  # the first task has kept every weight, so none is claimed


def test_the_reference_is_paid_for():
    settings = {"cpg.stages": 0, "cpg.retrain_epochs": 0, "cpg.largest": 1.0}
    run = digits_run("cpg", settings=settings, epochs=2, **SPLIT)
    first, *later = [int(task.train.lengths[0]) for task in learner_for(run).stream.tasks]
    result = result_of(run)
    assert result["train_samples"] == 2 * first + 2 * 2 * sum(later)
    assert result["replicas"][0]["gradient_samples"] == result["train_samples"]


def test_passes_and_learning_rates_of_the_phases():
    learner = learner_for(digits_run("cpg", epochs=10, lr=0.5, **SPLIT))
    driven(learner, 0, [[1.0]] * 5)
    phases = []
    driven(learner, 1, [[1.0]] * 7, phases.append)
    assert [p.epochs for p in phases] == [None, None, 2, 2, 2, 2, 3]
    assert [p.watched for p in phases] == [False] + [True] * 6
    assert phases[0].covers[0] == 0 and phases[-1].covers[1] == 1
    assert all(a.covers[1] == b.covers[0] for a, b in zip(phases, phases[1:], strict=False))
    rates = [p.optimizers(())[0].param_groups[0]["lr"] for p in phases]
    assert rates == pytest.approx([0.5, 0.5] + [0.05] * 5)


def with_other_tests(learner):
    """Its test splits become training data: whoever looks at them sees something else."""
    learner.stream.tasks[:] = [replace(task, test=task.train) for task in learner.stream.tasks]
    return learner


def test_no_decision_looks_at_test_data():
    run = digits_run("cpg", seeds=(0, 1), settings=QUICK, live_points=0, **SPLIT)
    plain, blind = learner_for(run), with_other_tests(learner_for(run))
    for learner in (plain, blind):
        for task in learner.stream.tasks[:3]:
            learner.learn(task)
    assert all(identical(weights_of(plain, k), weights_of(blind, k)) for k in range(2))
    for name, values in plain.method.books.items():
        assert torch.equal(values[:, :3], blind.method.books[name][:, :3])


def test_it_needs_validation_data_and_hidden_layers():
    with pytest.raises(RequestError, match="cpg decides on validation data"):
        result_of(digits_run("cpg", options={"validation": 0.0}, **SPLIT))
    with pytest.raises(RequestError, match="cpg grows hidden layers"):
        learner_for(digits_run("cpg", hidden=(), **SPLIT))
    with pytest.raises(RequestError, match="must be told the task at test"):
        digits_run("cpg", benchmark="split-digits", scenario="class")
    with pytest.raises(RequestError, match="changes how the network computes"):
        learner_for(digits_run("cpg+ewc", **SPLIT))


def test_asking_about_an_old_task_in_mid_task_changes_nothing(monkeypatch):
    case = dict(optimizer="adam", settings=QUICK, options={"train_per_task": 80}, **SPLIT)
    plain = trained(digits_run("cpg", live_points=0, **case), tasks=3)
    looked_at = learner_for(digits_run("cpg", live_points=3, **case))
    x, _ = looked_at.stream.tasks[0].test.gather(torch.arange(32).unsqueeze(0))
    answers = []

    def mix(self, batch):
        before = [tensor.detach().clone() for tensor in self._tensors()]
        rules = [layer.rule for layer in self.layers]
        answers.append(None if self.referring or not len(self.masks) else self.predict(x, 0))
        self.predict(x, self.classifier.learning)
        assert identical(before, self._tensors()) and rules == [layer.rule for layer in self.layers]
        return batch

    monkeypatch.setattr(Method, "mix", mix)
    for task in looked_at.stream.tasks[:3]:
        looked_at.learn(task)
    old = [a for a in answers if a is not None]
    assert len(old) > 20 and all(torch.equal(a, old[0]) for a in old)
    assert identical(weights_of(plain, 0), weights_of(looked_at, 0))


def test_a_saved_learner_gives_the_same_answers_and_goes_on_the_same():
    run = digits_run("cpg", seeds=(0, 1), settings=QUICK, **SPLIT)
    whole = trained(run, tasks=3)
    again = learner_for(run)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    x, _ = whole.stream.tasks[0].test.gather(torch.arange(32).expand(2, -1))
    for task in range(3):
        assert torch.equal(whole.method.predict(x, task), again.method.predict(x, task))
        assert identical(whole.method.masks.of(task), again.method.masks.of(task))
    assert whole.footprint() == again.footprint()
    for learner in (whole, again):
        learner.learn(learner.stream.tasks[3])
    assert all(identical(weights_of(whole, k), weights_of(again, k)) for k in range(2))


def test_interrupted_and_resumed_it_ends_the_same(tmp_path):
    assert_resumes(digits_run("cpg", seeds=(0, 1), settings=QUICK, options=FEW, **SPLIT), tmp_path / "checkpoint")


def test_footprint_and_insight_are_closed_formulas():
    learner = learner_for(digits_run("cpg", seeds=(0, 1, 2), settings=QUICK | {"cpg.slack": 1.0}, **SPLIT))
    method = learner.method
    assert learner.footprint() == learner_for(digits_run("finetune", seeds=(0, 1, 2), **SPLIT)).footprint()
    for task in learner.stream.tasks[:3]:
        learner.learn(task)
    n = 64 * 32 + 32 * 32
    counts = method.ownership.counts(5)
    assert counts.sum((1, 2)).tolist() == [n] * 3 and bool((counts >= 0).all())
    assert bool((counts[..., 3:-1] == 0).all())
    for k, sizes in enumerate(learner.footprint()):
        old = [int(counts[k, :, :t].sum()) for t in (1, 2)]
        assert sizes["masks"] == -(-n * 3 // 8) + -(-sum(old) // 8)
        assert sizes["biases"] == 2 * 4 * 64 and sizes["parameters"] == 4 * MLP.count_parameters((64,), 10, (32, 32))
    insight = method.insight()
    assert insight["ownership"].shape == (3, 2, 6) and insight["picked"].shape == (3, 5, 2)
    torch.testing.assert_close(insight["ownership"].sum(2), torch.ones(3, 2, dtype=torch.float64))
    assert all(insight[name].shape == (3, 5) for name in ("goal", "reached", "freed", "size"))


def test_estimates_of_memory_know_the_reserve():
    settings = {"largest": 4.0}
    assert CPG.held_parameters(settings, MLP, (64,), 10, (32, 16), 5) == MLP.count_parameters((64,), 10, (64, 32))
    learner = learner_for(digits_run("cpg", hidden=(32, 16), settings={"cpg.largest": 4.0}, **SPLIT))
    held = sum(p[0].numel() for p in learner.method._weights())
    assert held == MLP.count_parameters((64,), 10, (64, 32))


def test_nothing_is_forgotten_every_task_is_learned_and_room_is_left():
    case = dict(seeds=(0, 1), epochs=3, hidden=(50, 50), live_points=0, **SPLIT)
    ours, plain = result_of(digits_run("cpg", **case)), result_of(digits_run("finetune", **case))
    for kept, free in zip(ours["replicas"], plain["replicas"], strict=True):
        assert kept["bwt"] == kept["forgetting"] == 0 and free["bwt"] < -0.05
        assert kept["acc"] > 0.93 and kept["acc"] > free["acc"]
        assert kept["old_logits"]["identical"] is True
    shares = trained(digits_run("cpg", **{**case, "epochs": 1})).method.insight()["ownership"]
    assert bool((shares[..., -1] > 0.2).all())  # nothing is left of PackNet's
