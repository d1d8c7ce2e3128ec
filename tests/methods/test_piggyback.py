"""Piggyback: a backbone that never moves, masks of one bit a weight, and an honest word on where the backbone comes from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clcore.errors import RequestError
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


def case(settings=None, **more):
    settings = {f"piggyback.{name}": value for name, value in (settings or {}).items()}
    return digits_run("piggyback", settings=settings, **{**CASE, **more})


def state_of(learner):
    return {name: p.detach().clone() for name, p in learner.classifier.network.named_parameters()}


@pytest.fixture
def backbone(tmp_path):
    """A file with the hidden layers of a network that was trained on all classes."""
    learner = trained(digits_run("joint", benchmark="split-digits", scenario="class", epochs=2), tasks=5)
    path = tmp_path / "backbone.npz"
    np.savez(path, **{name: p[0].numpy() for name, p in state_of(learner).items()})
    return path


def test_old_logits_are_kept_with_every_optimizer():
    assert_keeps_old_logits("piggyback", settings={"piggyback.mask_lr": 0.003})


@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "adamw", "weight_decay": 0.05}], ids=["sgd", "adamw"])
def test_the_first_task_is_fine_tuning_and_the_backbone_never_moves_again(optimizer):
    plain = trained(digits_run("finetune", **CASE, **optimizer), tasks=1)
    learner = trained(case(**optimizer), tasks=1)
    hidden = [p for layer in learner.method.layers for p in (layer.weight, layer.bias)]
    for ours, theirs in zip(hidden, list(plain.classifier.network.parameters())[:4], strict=True):
        assert torch.equal(ours, theirs)
    before = [p.detach().clone() for p in hidden]
    for task in learner.stream.tasks[1:]:
        learner.learn(task)
        assert all(p.grad is None for p in hidden)
    assert identical(before, [p.detach() for p in hidden])


def test_masks_are_learned_and_differ():
    learner = trained(case())
    masks = learner.method.masks
    assert masks.of(0) is None
    for t in range(1, 5):
        for mask, layer in zip(masks.of(t), learner.method.layers, strict=True):
            assert mask.dtype == torch.bool and mask.shape == layer.weight.shape
            assert 0.05 < mask.double().mean() < 0.999
    assert not torch.equal(masks.of(1)[0], masks.of(2)[0])


def test_a_task_begins_with_the_backbone_itself():
    learner = trained(case(), tasks=1)
    x = torch.rand(2, 16, *learner.stream.input_shape)
    before = learner.method.predict(x, 0)
    learner.method.begin(learner.stream.tasks[1])
    assert all(bool(layer.current_mask().all()) for layer in learner.method.layers)
    assert torch.equal(learner.classifier(x), before)


def test_what_is_evaluated_is_the_mask_and_not_the_score():
    learner = trained(case(), tasks=2)
    x = torch.rand(2, 16, *learner.stream.input_shape)
    before = learner.method.predict(x, 1)
    for layer in learner.method.layers:
        with torch.no_grad():
            layer.scores.normal_()
    assert torch.equal(learner.method.predict(x, 1), before)
    learner.method.begin(learner.stream.tasks[2])
    assert not torch.equal(learner.method.predict(x, 2), before)


def test_evaluating_old_tasks_in_the_middle_of_one_changes_nothing():
    learner = trained(case(), tasks=2)
    learner.classifier.learning = 2
    learner.method.begin(learner.stream.tasks[2])
    network, method = learner.classifier.network, learner.method
    before = ({n: v.clone() for n, v in network.state_dict().items()}, method.masks.common.clone())
    rules = [layer.rule for layer in method.layers]
    learner.evaluator.row(3)
    assert all(torch.equal(v, before[0][n]) for n, v in network.state_dict().items())
    assert torch.equal(method.masks.common, before[1]) and rules == [layer.rule for layer in method.layers]
    assert all(layer.mask is None for layer in method.layers)


def test_weights_that_no_mask_shows_may_be_anything():
    learner = trained(case(), tasks=3)
    x = torch.rand(2, 16, *learner.stream.input_shape)
    before = learner.method.predict(x, 2)
    for layer, mask in zip(learner.method.layers, learner.method.masks.of(2), strict=True):
        with torch.no_grad():
            layer.weight.copy_(torch.where(mask, layer.weight, torch.randn_like(layer.weight) * 100))
    assert torch.equal(learner.method.predict(x, 2), before)
    assert not torch.equal(learner.method.predict(x, 0), before)


def test_a_score_must_travel_to_the_threshold_before_a_bit_flips():
    """At lr 1e-4 from 0.01 to 0.005: 50 steps of Adam in one direction."""
    lengths = {"epochs": 1, "batch_size": 16, "options": {"train_per_task": 16 * 40}, "benchmark": "permuted-digits"}
    full = []
    for lr in (1e-4, 1e-3):
        pictures = trained(case({"mask_lr": lr}, **lengths), tasks=2).method.insight()
        full.append(bool((pictures["mask_density"][:, 1] == 1).all()))
    assert full == [True, False]


@pytest.mark.parametrize("settings", [{"start": 0.0}, {"start": 0.005}, {"threshold": 0.02}, {"threshold": 1.0}])
def test_masks_that_would_start_empty_are_refused(settings):
    with pytest.raises(RequestError, match=r"piggyback.start = .* is not above piggyback.threshold = .* give a start above"):
        learner_for(case(settings))


def test_a_mask_starts_full_wherever_the_threshold_is():
    learner = learner_for(case({"start": -0.3, "threshold": -0.4}))
    learner.method.begin(learner.stream.tasks[1])
    assert all(bool(layer.current_mask().all()) for layer in learner.method.layers)


def test_it_learns_later_tasks_and_forgets_nothing_where_fine_tuning_does():
    case = {"benchmark": "permuted-digits", "scenario": "task", "seeds": (0, 1), "epochs": 6, "tasks": 2, "hidden": (50, 50)}
    plain, masked = (result_of(digits_run(m, **case))["replicas"] for m in ("finetune", "piggyback"))
    for theirs, ours in zip(plain, masked, strict=True):
        assert ours["bwt"] == 0 and theirs["bwt"] < -0.05
        assert ours["learning_accuracy"] > 0.8 and ours["acc"] > theirs["acc"]


def test_other_scenarios_are_refused_with_the_reason():
    for scenario in ("domain", "class"):
        with pytest.raises(RequestError, match="must be told which task's mask"):
            digits_run("piggyback", benchmark="split-digits", scenario=scenario)


def test_the_result_says_where_the_backbone_came_from(backbone):
    assert "trained on task 1" in result_of(case(seeds=(0,), epochs=1))["note"]
    told = result_of(case({"backbone": str(backbone)}, seeds=(0,), epochs=1))["note"]
    assert "file backbone.npz (SHA-256 " in told


def test_the_file_may_be_gone_when_the_run_ends(backbone):
    learner = learner_for(case({"backbone": str(backbone)}, seeds=(0,)))
    told = learner.method.note()
    backbone.unlink()
    assert learner.method.note() == told and "SHA-256" in told


@pytest.mark.parametrize("form", ["npz", "pt", "with a leading axis"])
def test_a_backbone_from_a_file_is_used_from_the_first_task_on(backbone, tmp_path, form):
    held = dict(np.load(backbone))
    path = backbone
    if form != "npz":
        path = tmp_path / "other.pt"
        axis = form == "with a leading axis"
        torch.save({n: torch.as_tensor(v[None] if axis else v) for n, v in held.items()}, path)
    learner = trained(case({"backbone": str(path)}), tasks=2)
    for i, layer in enumerate(learner.method.layers):
        for k in range(2):
            assert torch.equal(layer.weight[k], torch.as_tensor(held[f"layers.{i}.weight"]))
            assert torch.equal(layer.bias[k], torch.as_tensor(held[f"layers.{i}.bias"]))
    assert learner.method.masks.of(0) is not None
    assert learner.method.footprint() == {"masks": 2 * (64 * 32 + 32 * 32) // 8}


def test_a_file_with_dead_units_or_without_them_means_the_same(tmp_path):
    learner = trained(case(hidden=(33, 17), seeds=(0,)), tasks=1)
    layers = learner.method.layers
    assert layers[1].width > 17
    physical = {f"layers.{i}.{n}": getattr(x, n)[0].detach() for i, x in enumerate(layers) for n in ("weight", "bias")}
    logical = {}
    for i, x in enumerate(layers):
        logical[f"layers.{i}.weight"] = physical[f"layers.{i}.weight"][: x.inputs, : x.outputs].clone()
        logical[f"layers.{i}.bias"] = physical[f"layers.{i}.bias"][: x.outputs].clone()
    found = []
    for name, state in (("physical", physical), ("logical", logical)):
        torch.save(state, tmp_path / f"{name}.pt")
        fresh = learner_for(case({"backbone": str(tmp_path / f"{name}.pt")}, hidden=(33, 17), seeds=(0,)))
        found.append([p.detach() for x in fresh.method.layers for p in (x.weight, x.bias)])
    assert identical(*found) and identical([p[0] for p in found[0]], list(physical.values()))


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("missing.npz", None, "cannot be read"),
        ("notes.txt", b"hello", "give a .npz or .pt file"),
        ("broken.npz", b"hello", "cannot be read"),
        ("broken.pt", b"hello", "cannot be read"),
        ("empty.npz", {}, "has no 'layers.0.weight'"),
        ("shape.npz", {"layers.0.weight": np.zeros((3, 4))}, r"has the shape \(3, 4\); it must .*weight \(64, 32\)"),
        ("turned.npz", {"layers.0.weight": np.zeros((32, 64))}, "has the shape"),
        ("objects.npz", {"layers.0.weight": np.array([{}], dtype=object)}, "cannot be read"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_gets_one_sentence(tmp_path, name, content, said):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(RequestError, match=said) as refused:
        learner_for(case({"backbone": str(path)}))
    assert "\n" not in str(refused.value)


INDEPENDENT = {
    "plain": dict(seeds=range(16), tasks=2, benchmark="permuted-digits"),
    "odd widths, Adam": dict(seeds=range(16), hidden=(33, 17), optimizer="adam", benchmark="split-digits"),
    "unequal streams": dict(
        seeds=range(16), benchmark="split-digits", options={"order": "seeded"}, settings={"piggyback.mask_lr": 0.003}
    ),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_replica_is_the_same_alone_and_among_others(name):
    assert_independent(method="piggyback", scenario="task", **INDEPENDENT[name])


def test_it_resumes(tmp_path):
    assert_resumes(case(), tmp_path / "checkpoint.pt")


def test_resumed_masks_are_the_same_bits():
    learner = trained(case(), tasks=3)
    other = learner_for(case())
    other.load_state_dict(learner.state_dict())
    x = torch.rand(2, 16, *learner.stream.input_shape)
    for t in range(3):
        assert torch.equal(other.method.predict(x, t), learner.method.predict(x, t))
    for either in (learner, other):
        either.classifier.learning = 3
        either.learn(either.stream.tasks[3])
    assert identical(weights_of(learner, 1), weights_of(other, 1))


def test_what_it_keeps():
    """A task after the first costs one bit for every weight of a hidden layer."""
    learner = learner_for(case(hidden=(33, 17)))
    sizes = []
    for task in learner.stream.tasks:
        learner.learn(task)
        sizes.append(learner.footprint()[0])
    bits = -(-64 * 33 // 8) + -(-33 * 17 // 8)
    assert [s.get("masks", 0) for s in sizes] == [0, bits, 2 * bits, 3 * bits, 4 * bits]
    assert all(s["parameters"] == 4 * (65 * 33 + 34 * 17 + 18 * 10) for s in sizes)


def test_its_pictures():
    pictures = trained(case(hidden=(33, 17)), tasks=3).method.insight()
    assert {name: tuple(v.shape) for name, v in pictures.items()} == {"mask_density": (2, 3, 2), "mask_overlap": (2, 3, 3)}
    assert bool((pictures["mask_density"][:, 0] == 1).all()) and bool((pictures["mask_density"][:, 1:] < 1).all())
    assert bool((pictures["mask_overlap"].diagonal(dim1=1, dim2=2) == 1).all())


def test_without_hidden_layers_there_are_only_heads():
    result = result_of(case(hidden=()))
    assert all(r["bwt"] == 0 and r["learning_accuracy"] > 0.8 for r in result["replicas"])
