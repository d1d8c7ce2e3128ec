"""Crops and flips: against one image at a time, where they are applied and where not, and that replicas stay independent."""

from __future__ import annotations

import pytest
import torch

from clcore import minibatches
from clcore.benchmarks.augmentation import Augmentation
from clcore.benchmarks.split_cifar10 import SplitCIFAR10
from clcore.minibatches import MiniBatches
from clcore.randomness import Generators
from tests.colour_cases import small_cifar10
from tests.training_cases import assert_independent, assert_resumes, digits_run, identical, trained, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def cifar(monkeypatch):
    small_cifar10(monkeypatch)


def slowly(image, view, padding=4):
    """One image (C, H, W): a border of zeros, a cut, a mirror."""
    top, left, flipped = (int(v) for v in view)
    channels, height, width = image.shape
    bordered = torch.zeros(channels, height + 2 * padding, width + 2 * padding)
    bordered[:, padding : padding + height, padding : padding + width] = image
    cut = bordered[:, top : top + height, left : left + width]
    return cut.flip(2) if flipped else cut


@pytest.mark.parametrize("flip", (True, False))
def test_every_image_is_cut_and_mirrored_as_its_view_says(flip):
    augmentation = Augmentation(flip)
    draw = torch.Generator().manual_seed(3)
    images = torch.rand(3, 40, 2, 6, 9, generator=draw)
    views = augmentation.draw(120, draw).view(3, 40, 3)
    made = augmentation(images.flatten(2), views, (2, 6, 9)).view_as(images)
    for k in range(3):
        for i in range(40):
            assert torch.equal(made[k, i], slowly(images[k, i], views[k, i]))
    assert set(views[..., :2].flatten().tolist()) == set(range(9))
    assert set(views[..., 2].flatten().tolist()) == ({0, 1} if flip else {0})


def build(augment="crop-flip", **options):
    return SplitCIFAR10({"augment": augment, **options}, scenario="class", data_dir="unused")


def batches_of(stream, tasks=(1,), epochs=3):
    made = MiniBatches(
        stream, tasks, batch_size=8, epochs=epochs, generators=Generators([0, 1], "batches"),
        active=torch.ones(2, dtype=torch.bool), widths=(64,),
    )  # fmt: skip
    return list(made)


@pytest.mark.parametrize("tasks", ((1,), (0, 2)))
@pytest.mark.parametrize("standardise", (False, True))
def test_mini_batches_are_views_of_their_examples_and_the_border_is_black(tasks, standardise):
    made = build(standardise=standardise)
    stream, raw = made.stream([0, 1]), made.source.data.float() / 255
    inputs = stream.examples.inputs
    seen = []
    for batch in batches_of(stream, tasks, epochs=1):
        shown = inputs.shown(batch.x, batch.ids)
        for k, i in (batch.weight > 0).nonzero().tolist():
            image = raw[batch.ids[k, i]]
            views = [(top, left, flip) for top in range(9) for left in range(9) for flip in range(2)]
            fitting = [v for v in views if torch.allclose(shown[k, i], slowly(image, v), atol=1e-5)]
            assert len(fitting) == 1
            seen += fitting
    assert len(set(seen)) > 25
    plain = build("none", standardise=standardise).stream([0, 1])
    assert torch.equal(batches_of(plain, tasks)[0].ids, batches_of(stream, tasks)[0].ids)


def test_views_do_not_depend_on_how_many_steps_are_gathered_together(monkeypatch):
    stream = build().stream([0, 1])
    whole = batches_of(stream)
    monkeypatch.setitem(minibatches._CHUNK_FLOATS, "cpu", 1)
    monkeypatch.setattr(minibatches, "_STEPS", 1)
    for a, b in zip(whole, batches_of(stream), strict=True):
        assert torch.equal(a.x, b.x)


def test_who_looks_at_examples_themselves_sees_them_as_they_are():
    stream, plain = build().stream([0]), build("none").stream([0])
    for task, other in zip(stream.tasks, plain.tasks, strict=True):
        for which in ("train", "validation", "test"):
            positions = torch.arange(2)[None]
            assert torch.equal(getattr(task, which).gather(positions)[0], getattr(other, which).gather(positions)[0])


CASE = {"benchmark": "split-cifar10", "scenario": "class", "hidden": (16,), "lr": 0.03, "tasks": 5, "batch_size": 8}


def test_replayed_examples_are_drawn_anew_and_a_whole_memory_is_not():
    learner = trained(digits_run("er", memories=(12,), options={"augment": "crop"}, **CASE), tasks=2)
    memory, stream = learner.method.memory, learner.stream
    memory.restored()
    first, second = memory.draw(8), memory.draw(8)
    plain, _ = stream.gather(first.task, first.ids)
    assert not torch.equal(first.x, plain) and not torch.equal(first.x, second.x)
    for part in memory.everything():
        assert torch.equal(part.x, stream.gather(part.task, part.ids)[0])


@pytest.mark.parametrize(
    "method, grid",
    [("finetune", {"seeds": range(16)}), ("er", {"seeds": range(8), "memories": (0, 30)}),
     ("derpp", {"seeds": range(8), "memories": (0, 30)})],
)  # fmt: skip
def test_a_replica_is_the_same_alone_and_among_others(method, grid):
    assert_independent(method=method, options={"augment": "crop-flip"}, **grid, **CASE)


def test_training_with_augmentation_resumes_where_it_stopped(tmp_path):
    run = digits_run("er", memories=(20,), seeds=(0, 1), options={"augment": "crop-flip"}, epochs=2, **CASE)
    assert_resumes(run, tmp_path / "checkpoint.pt")


def test_augmentation_changes_what_is_learned():
    plain, varied = (trained(digits_run("finetune", options={"augment": a}, **CASE)) for a in ("none", "crop"))
    assert not identical(weights_of(plain, 0), weights_of(varied, 0))
