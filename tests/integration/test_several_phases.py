"""Methods beside others that plan several phases, throw-away copies or earlier tasks' data: what each of them sees."""

import pytest
import torch

from clcore.methods.parts.projection import Gradients
from clcore.methods.parts.vae import VAE
from tests.training_cases import digits_run, identical, learner_for, result_of, trained, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")


def memory_of(learner):
    parts = getattr(learner.method, "parts", {"": learner.method}).values()
    return next(part.memory for part in parts if hasattr(part, "memory"))


def codes(memory):
    return ((memory.tasks[0] << 32) + memory.ids[0])[memory.held[0]].tolist()


@pytest.mark.parametrize(
    "method, scenario, settings",
    [
        ("er+lwf", "class", {"er.memory_update": "online", "lwf.warmup_epochs": 1}),  # two phases
        ("der+vcl", "domain", {"vcl.coreset": "random", "vcl.coreset_size": 10}),  # two, and a throw-away copy
        ("er-ace+joint", "class", {}),  # earlier tasks' data in every phase
        ("er-ace+packnet", "task", {}),
        ("mir+joint", "class", {"mir.memory_update": "online"}),
    ],
)
def test_a_memory_that_fills_from_the_stream_holds_no_example_twice(method, scenario, settings):
    case = {"benchmark": "split-digits", "options": {"train_per_task": 60}, "memories": (300,), "settings": settings}
    memory = memory_of(trained(digits_run(method, scenario=scenario, **case)))
    held = codes(memory)
    coreset = 10 if "vcl.coreset" in settings else 0  # moved out of the training data
    assert len(held) == len(set(held)) == 5 * (60 - coreset)
    assert memory.counts_by_task()[0].tolist() == [60 - coreset] * 5


@pytest.mark.parametrize("epochs", [6, 9])
def test_a_gradual_stream_brings_no_example_in_one_view_twice(epochs):
    options = {"train_per_task": 40, "gradual": True, "max_angle": 10.0}  # four views a task: each outlasts a pass
    case = {"scenario": "task-free", "benchmark": "rotated-digits", "options": options, "memories": (1000,)}
    held = codes(memory_of(trained(digits_run("er", epochs=epochs, **case))))
    assert len(held) == len(set(held)) == 120  # as much as a memory may hold


@pytest.mark.parametrize("watcher", ["si", "rwalk"])
def test_a_path_does_not_lead_through_a_copy_that_is_thrown_away(watcher, monkeypatch):
    settings = {"vcl.coreset": "random", "vcl.coreset_size": 10}
    learner = learner_for(digits_run(f"{watcher}+vcl", options={"train_per_task": 60}, settings=settings))
    steps, train, part = {}, learner._train, learner.method.parts[watcher]

    def measured():
        squares = part.squares.total if watcher == "rwalk" else ()
        return [tensor.clone() for tensor in (*part.path.omega, *squares)]

    def watched(task, phase):
        before = measured()
        result = train(task, phase)
        moved = any(not torch.equal(a, b) for a, b in zip(before, measured(), strict=True))
        steps.setdefault(phase.name, set()).add(moved)
        return result

    monkeypatch.setattr(learner, "_train", watched)
    for task in learner.stream.tasks[:2]:
        learner.learn(task)
    assert steps == {"start": {True}, "train": {True}, "coreset": {False}}


@pytest.mark.parametrize("other, settings", [("packnet", {}), ("joint", {"joint.restart": True})])
def test_a_teacher_is_what_the_last_task_left_in_whatever_order_the_parts_are_named(other, settings):
    case = {"benchmark": "split-digits", "scenario": "task", "settings": settings}
    found = []
    for name in (f"{other}+lwf-mc", f"lwf-mc+{other}"):
        learner = trained(digits_run(name, **case), tasks=1)
        left = weights_of(learner, 0)
        learner.learn(learner.stream.tasks[1])
        kept = learner.method.parts["lwf-mc"].teacher.weights
        teacher = [kept[name][0] for name, _ in learner.classifier.network.named_parameters()]
        assert identical(left, teacher)
        found.append(weights_of(learner, 0))
    assert identical(*found)


@pytest.mark.parametrize("watcher", ["si", "rwalk"])
def test_a_path_is_the_whole_change_in_whatever_order_the_parts_are_named(watcher):
    settings = {f"{watcher}.strength": 0.0, "ewc.strength": 30.0}
    found = [
        trained(digits_run(name, settings=settings), tasks=2).method.parts[watcher].springs.importance.tensors
        for name in (f"ewc+{watcher}", f"{watcher}+ewc")
    ]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)) and any(a.any() for a in found[0])


@pytest.mark.parametrize("method", ["agem+vcl", "gem+vcl"])
def test_a_reference_gradient_has_every_parameter_that_the_network_has(method, monkeypatch):
    """Of a Bayesian network the widths too: as torch differentiates the same loss."""
    case = {"options": {"train_per_task": 60}, "memories": (60,), "epochs": 1}
    learner = trained(digits_run(method, **case), tasks=2)
    batch = next(memory_of(learner).everything(60))
    vcl, network = learner.method.parts["vcl"], learner.classifier.network
    gradients = Gradients(network, 1)
    vcl.noise.start_step([batch.x.shape[1]])
    gradients.record([0], learner.classifier, [batch])
    vcl.noise._passes = 0  # the same draws
    losses = learner.classifier.sample_losses(batch)
    vcl.noise.stop_step()
    asked = torch.autograd.grad(((losses * batch.weight).sum(1) / batch.count).sum(), list(network.parameters()))
    assert all(a.any() for a in asked)
    for (_, view), expected in zip(gradients.views(0).items(), asked, strict=True):
        torch.testing.assert_close(view, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", ["icarl", "lucir", "bic"])
def test_exemplars_among_the_training_data_count_as_replayed(method):
    result = result_of(digits_run(method, benchmark="split-digits", scenario="class", epochs=1))
    fine = result_of(digits_run("finetune", benchmark="split-digits", scenario="class", epochs=1))
    held_out = sum(r["footprint"]["memory_samples"] for r in result["replicas"]) if method == "bic" else 0
    assert result["replayed_samples"] > 0
    if held_out:
        assert 0.9 * fine["train_samples"] < result["train_samples"] < fine["train_samples"]  # BiC holds some out
    else:
        assert result["train_samples"] == fine["train_samples"]
    assert result["gradient_samples"] == result["train_samples"] + result["replayed_samples"]


def test_a_generator_is_charged_for_its_own_passes(monkeypatch):
    passed, errors = [0], VAE.errors

    def counting(self, x, weight, noise):
        passed[0] += int(weight.sum())
        return errors(self, x, weight, noise)

    monkeypatch.setattr(VAE, "errors", counting)
    result = result_of(digits_run("dgr", benchmark="split-digits", scenario="class", options={"train_per_task": 60}))
    solver = result["train_samples"] + result["replayed_samples"]
    assert passed[0] == solver > 0 and result["gradient_samples"] == 2 * solver
