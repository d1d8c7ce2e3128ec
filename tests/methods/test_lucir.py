"""LUCIR: cosine outputs, features that keep their direction, a margin around old classes."""

import pytest
import torch
import torch.nn.functional as F

from clcore.errors import RequestError
from clcore.methods.parts.exemplars import features
from tests.methods.test_lwf import first_examples, stir
from tests.training_cases import assert_independent, assert_resumes, digits_run, learner_for, trained

pytestmark = pytest.mark.usefixtures("one_thread")


def digits(**case):
    return digits_run("lucir", benchmark="split-digits", scenario="class", **{"seeds": (0, 1), **case})


def in_second_task(**case):
    """A learner of two replicas whose second task has begun."""
    learner = trained(digits(**case), tasks=1)
    task = learner.stream.tasks[1]
    learner.classifier.learning = 1
    learner.method.begin(task)
    return learner, task


@pytest.mark.parametrize(
    "case",
    [
        dict(memories=(0, 7, 50, 300), strengths=(0.0, 5.0), seeds=(0, 1)),
        dict(memories=(0, 7, 50, 300), seeds=range(4), weight_decay=1e-2, hidden=(33, 17), batch_size=7),
        dict(memories=(40,), seeds=range(16), options={"order": "seeded"}, optimizer="adam"),
    ],
    ids=["strengths and budgets", "odd widths", "unequal streams"],
)
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(method="lucir", benchmark="split-digits", scenario="class", **case)


def test_outputs_are_scaled_cosines_whatever_the_length_of_features_and_weights():
    learner = trained(digits(), tasks=2)
    head = learner.method.head
    phi = features(learner.classifier, first_examples(learner, learner.stream.tasks[0]).x)
    outputs = head(phi)
    assert bool((outputs.abs() <= head.scale.abs().unsqueeze(2) * (1 + 1e-6)).all())
    expected = head.scale.unsqueeze(2) * F.cosine_similarity(phi.unsqueeze(3), head.weight.unsqueeze(1), dim=2)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(head(7 * phi), outputs)
    with torch.no_grad():
        head.weight[:, :, 3] *= 5
    torch.testing.assert_close(head(phi), outputs)


def test_the_scale_is_learned():
    learner = trained(digits())
    scales = learner.method.head.scale
    assert bool((scales > 1.5).all()) and scales[0] != scales[1]


def test_new_classes_start_from_their_mean_feature_as_long_as_the_old_ones():
    learner, task = in_second_task(seeds=(0,))
    weight = learner.method.head.weight[0]
    split = task.train
    n = min(128, int(split.lengths[0]))
    x, y = split.gather(torch.arange(n).unsqueeze(0))
    phi = F.normalize(features(learner.classifier, x), dim=-1)[0]
    for unit in (2, 3):
        mean = F.normalize(phi[y[0] == unit].mean(0), dim=0)
        torch.testing.assert_close(F.normalize(weight[:, unit], dim=0), mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weight[:, unit].norm(), weight[:, :2].norm(dim=0).mean())
    untouched = learner_for(digits(seeds=(0,))).method.head.weight[0]
    assert torch.equal(weight[:, 4:], untouched[:, 4:])


def test_the_losses_are_those_of_the_paper():
    """Against loops over examples and classes."""
    learner, task = in_second_task(settings={"lucir.margin": 0.4, "lucir.ranking": 2.0})
    method, classifier = learner.method, learner.classifier
    then = [features(classifier, first_examples(learner, t).x) for t in learner.stream.tasks[:2]]
    stir(learner)
    for t, old_features in zip(learner.stream.tasks[:2], then, strict=True):
        batch = first_examples(learner, t)
        method.task_loss(batch)
        terms = method.terms(batch)
        phi = features(classifier, batch.x)
        cosines = F.cosine_similarity(phi.unsqueeze(3), method.head.weight.detach().unsqueeze(1), dim=2)
        for k in range(2):
            real = [i for i in range(batch.y.shape[1]) if batch.weight[k, i] > 0]
            turned = sum(1 - F.cosine_similarity(phi[k, i], old_features[k, i], dim=0) for i in real) / len(real)
            torch.testing.assert_close(terms["features"][k], method.hyper.strength[k] * turned, atol=1e-5, rtol=1e-4)
            missing = []
            for i in real:
                y = int(batch.y[k, i])
                if y < 2:
                    missing += [max(0.0, 0.4 - float(cosines[k, i, y]) + float(cosines[k, i, c])) for c in (2, 3)]
            expected = 2.0 * sum(missing) / len(missing) if missing else 0.0
            assert float(terms["margin"][k].detach()) == pytest.approx(expected, abs=1e-5)
    assert t.index == 1 and expected == 0.0  # a batch of new examples alone has no margin


def test_the_first_task_has_no_old_network():
    learner = learner_for(digits())
    learner.method.begin(learner.stream.tasks[0])
    batch = first_examples(learner, learner.stream.tasks[0])
    learner.method.task_loss(batch)
    assert learner.method.terms(batch) == {}


def test_features_turn_less_the_stiffer_they_are_held():
    learner = trained(digits(seeds=(0,), strengths=(0.0, 30.0), epochs=3), tasks=1)
    batch = first_examples(learner, learner.stream.tasks[0])
    before = features(learner.classifier, batch.x)
    learner.learn(learner.stream.tasks[1])
    turned = 1 - F.cosine_similarity(features(learner.classifier, batch.x), before, dim=2).mean(1)
    assert turned[1] < 0.5 * turned[0]


def test_everything_kept_is_charged():
    learner = trained(digits(memories=(0, 50)), tasks=1)
    learner.learn(learner.stream.tasks[1])
    without, sizes = learner.footprint()[:2]
    plain = 64 * 32 + 32 + 32 * 32 + 32
    assert sizes["parameters"] == sizes["old_networks"] == 4 * (plain + 32 * 10 + 1)
    assert without["memory_samples"] == 0 and sizes["memory_samples"] == 50 * (64 + 8)
    insight = learner.method.insight()
    assert insight["scale"].shape == (4, 1) and insight["memory_by_class"].shape == (4, 10)


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_other_scenarios_are_refused_with_the_reason(scenario):
    with pytest.raises(RequestError, match="one softmax"):
        digits_run("lucir", benchmark="split-digits", scenario=scenario)


def test_it_is_not_composed():
    with pytest.raises(RequestError):
        learner_for(digits_run("lucir+ewc", benchmark="split-digits", scenario="class"))


def test_it_forgets_less_than_fine_tuning_and_less_than_without_its_memory():
    case = dict(epochs=5, hidden=(64, 64), live_points=0)
    plain = trained(digits_run("finetune", benchmark="split-digits", scenario="class", seeds=(0, 1), **case))
    ours = trained(digits(memories=(0, 200), **case))
    finetuned = torch.tensor(plain.row(5, "test")).mean(1)
    final = torch.tensor(ours.row(5, "test")).mean(1).view(2, 2)
    assert bool((final[:, 1] > finetuned + 0.4).all()) and bool((final[:, 1] > final[:, 0] + 0.2).all())


def test_it_resumes(tmp_path):
    assert_resumes(digits(memories=(0, 50)), tmp_path / "at")
