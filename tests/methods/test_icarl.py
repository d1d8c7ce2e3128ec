"""iCaRL: albums of typical examples and the nearest mean."""

import pytest
import torch
import torch.nn.functional as F

from clcore.errors import RequestError
from clcore.methods.parts.exemplars import features
from tests.methods.test_lwf import first_examples, stir
from tests.training_cases import (
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


def digits(scenario="class", **case):
    return digits_run("icarl", benchmark="split-digits", scenario=scenario, **{"seeds": (0, 1), **case})


def everything(learner):
    """Every example held by a replica 0: inputs (1, n, …) of its own, and their classes."""
    parts = list(learner.method.memory.everything())
    held = torch.cat([part.weight[0] > 0 for part in parts])
    return torch.cat([p.x for p in parts], 1)[:, held], torch.cat([p.y for p in parts], 1)[:, held]


@pytest.mark.parametrize(
    "case",
    [
        dict(scenario="class", memories=(0, 7, 50, 300), seeds=range(4)),
        dict(
            scenario="task", memories=(0, 7, 50, 300), seeds=range(4), weight_decay=1e-2, hidden=(33, 17), batch_size=7
        ),
        dict(scenario="class", memories=(40,), seeds=range(16), options={"order": "seeded"}, optimizer="adam"),
    ],
    ids=["budgets", "task, odd widths", "unequal streams"],
)
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="icarl", benchmark="split-digits", **case)


def test_so_is_its_accuracy():
    run = digits_run(
        "icarl", benchmark="split-digits", scenario="class", memories=(0, 7, 50, 300), seeds=range(4),
        options={"order": "seeded"},
    )  # fmt: skip
    together = trained(run, tasks=3).row(3, "test")
    for row in (0, 5, 14):
        assert together[row] == trained(run, members=[row], tasks=3).row(3, "test")[0]


@pytest.mark.parametrize("scenario", ["class", "task"])
def test_without_a_memory_it_is_lwf_mc_bit_for_bit(scenario):
    run = digits(scenario, memories=(0, 50))
    plain = trained(digits_run("lwf-mc", benchmark="split-digits", scenario=scenario, seeds=(0, 1)))
    ours = trained(run)
    for seed in range(2):
        assert identical(weights_of(plain, seed), weights_of(ours, 2 * seed))
        assert not identical(weights_of(plain, seed), weights_of(ours, 2 * seed + 1))
        assert plain.row(5, "test")[seed] == ours.row(5, "test")[2 * seed]


def test_the_memory_is_shared_by_all_classes_alike_and_shrinks_to_prefixes():
    learner = learner_for(digits(memories=(43, 100)))
    memory, before = learner.method.memory, None
    for task in learner.stream.tasks:
        learner.learn(task)
        counts = memory.counts_by_class()[:, : 2 * task.index + 2]
        assert counts.sum(1).tolist() == [43, 100, 43, 100]
        assert bool((counts.amax(1) - counts.amin(1) <= 1).all())
        albums = [
            {u: memory.ids[k][memory.held[k] & (memory.units[k] == u)].tolist() for u in range(2 * task.index + 2)}
            for k in range(4)
        ]
        for then, now in zip(before or [], albums, strict=bool(before)):
            assert all(now[u] == then[u][: len(now[u])] for u in then)
        before = albums


def test_the_loss_is_over_current_examples_and_exemplars_together():
    learner = trained(digits(memories=(20,)), tasks=2)
    task = learner.stream.tasks[2]
    learner.classifier.learning = 2
    learner.method.begin(task)
    phase = next(learner.method.phases(task))
    assert phase.tasks == (0, 1, 2) and phase.splits[2] is task.train
    assert sum(split.lengths for split in phase.splits[:2]).tolist() == [20, 20]
    old = {int(i) for split in phase.splits[:2] for i in split.indices[0, : split.lengths[0]]}
    assert old == set(learner.method.memory.ids[0].tolist())


def test_the_old_networks_answers_can_be_softened():
    learner = trained(digits(settings={"icarl.temperature": 2.0}), tasks=1)
    task = learner.stream.tasks[1]
    learner.classifier.learning = 1
    learner.method.begin(task)
    batch = first_examples(learner, task)
    said = learner.classifier(batch.x).detach()
    targets = learner.method.targets(batch)
    torch.testing.assert_close(targets[..., :2], (said[..., :2] / 2).sigmoid())
    assert torch.equal(targets[..., 2:], F.one_hot(batch.y, 10).float()[..., 2:])


def test_prediction_is_the_nearest_mean_of_unit_features():
    learner = trained(digits(seeds=(0,)))
    x, y = everything(learner)
    phi = F.normalize(features(learner.classifier, x), dim=-1)[0]
    mu = torch.stack([F.normalize(phi[y[0] == u].mean(0), dim=0) for u in range(10)])
    torch.testing.assert_close(learner.method.means()[0], mu)
    torch.testing.assert_close(learner.method.means()[0].norm(dim=1), torch.ones(10))
    inputs, _ = learner.stream.tasks[0].test.gather(torch.arange(64).unsqueeze(0))
    found = F.normalize(features(learner.classifier, inputs), dim=-1)[0]
    nearest = torch.cdist(found.double(), mu.double()).argmin(1)
    assert torch.equal(learner.method.predict(inputs, 0)[0].argmax(1), nearest)


def test_where_all_examples_are_exemplars_the_mean_is_the_class_mean_and_the_first_is_nearest_to_it():
    learner = trained(digits(seeds=(0,), memories=(5000,)), tasks=1)
    split, memory = learner.stream.tasks[0].train, learner.method.memory
    assert int(memory.counts[0]) == int(split.lengths[0])
    x, y = split.gather(torch.arange(int(split.lengths[0])).unsqueeze(0))
    phi = F.normalize(features(learner.classifier, x), dim=-1)[0]
    for unit in range(2):
        own = phi[y[0] == unit]
        mean = F.normalize(own.mean(0), dim=0)
        assert (learner.method.means()[0, unit] - mean).norm() < 1e-5
        ids = split.ids(torch.arange(len(phi)).unsqueeze(0))[0][y[0] == unit]
        first = memory.ids[0][memory.held[0] & (memory.units[0] == unit)][0]
        assert first == ids[(own - mean).norm(dim=1).argmin()]


def test_means_follow_the_weights():
    learner = trained(digits(), tasks=2)
    before = learner.method.means().clone()
    assert learner.method.means() is learner.method.means()
    stir(learner)
    learner.method.after_step(None, 0.1)
    assert (learner.method.means() - before).abs().max() > 1e-3


def test_a_class_is_known_by_its_own_training_examples_until_it_has_exemplars():
    learner = learner_for(digits())
    task = learner.stream.tasks[0]
    learner.method.begin(task)
    exists = learner.method.means().norm(dim=2) > 0.5
    assert exists.tolist() == [[True] * 2 + [False] * 8] * 2
    scores = learner.method.predict(task.test.gather(torch.arange(8).expand(2, 8))[0], 0)
    assert bool((scores[..., 2:] == -2).all()) and bool((scores[..., :2].abs() <= 1 + 1e-6).all())


def test_a_class_without_a_place_in_the_memory_is_never_predicted():
    learner = trained(digits(seeds=(0,), memories=(3,)))
    held = learner.method.memory.counts_by_class()[0] > 0
    x, _ = learner.stream.tasks[4].test.gather(torch.arange(64).unsqueeze(0))
    scores = learner.method.predict(x, 4)[0]
    assert int(held.sum()) == 3 and bool(torch.isfinite(scores).all())
    assert bool(held[scores.argmax(1)].all())


def test_looking_changes_nothing():
    """Live evaluation computes means; final numbers must not know."""
    watched, unwatched = trained(digits(live_points=5)), trained(digits(live_points=0))
    for row in range(2):
        assert identical(weights_of(watched, row), weights_of(unwatched, row))
    assert watched.row(5, "test") == unwatched.row(5, "test")
    assert torch.equal(watched.method.memory.ids, unwatched.method.memory.ids)


def test_tasks_not_learned_yet_have_no_prediction():
    matrix = result_of(digits("task", seeds=(0,)))["replicas"][0]["accuracy_matrix"]
    assert matrix[0] == [None] * 5 and matrix[2][2:] == [None] * 3 and None not in matrix[5]


def test_the_old_network_does_not_move_while_a_task_is_learned():
    learner = trained(digits(), tasks=1)
    end = {name: p.detach().clone() for name, p in learner.classifier.network.named_parameters()}
    learner.learn(learner.stream.tasks[1])
    assert all(torch.equal(learner.method.teacher.weights[name], then) for name, then in end.items())


def test_everything_kept_is_charged_and_pictures_are_drawn():
    learner = trained(digits(memories=(0, 50)), tasks=1)
    assert "old_networks" not in learner.footprint()[0]
    learner.learn(learner.stream.tasks[1])
    without, sizes = learner.footprint()[:2]
    assert without["memory_samples"] == without["class_means"] == 0
    assert sizes["memory_samples"] == 50 * (64 + 8) and sizes["class_means"] == 4 * 32 * 4
    assert sizes["old_networks"] == sizes["parameters"]
    insight = learner.method.insight()
    assert insight["memory_by_class"].shape == (4, 10) and insight["drift_by_layer"].shape == (4, 3)


def test_in_the_domain_scenario_it_is_refused():
    with pytest.raises(RequestError, match="does not work in the domain scenario"):
        digits_run("icarl", scenario="domain")


def test_it_forgets_less_than_fine_tuning_and_means_less_than_outputs():
    case = dict(benchmark="split-digits", scenario="class", seeds=(0, 1), epochs=5, hidden=(64, 64), live_points=0)
    final = [
        torch.tensor(trained(digits_run(method, settings=settings, **case)).row(5, "test")).mean()
        for method, settings in (("finetune", None), ("icarl", {"icarl.classify": "outputs"}), ("icarl", None))
    ]
    assert final[2] > final[1] + 0.05 and final[2] > final[0] + 0.5


def test_it_resumes(tmp_path):
    assert_resumes(digits("task", memories=(0, 50)), tmp_path / "at")
