"""Features of a frozen backbone: that they are the network's own, computed once, and what happens when something is missing."""

from __future__ import annotations

from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from clcore.benchmarks import downloads, features
from clcore.benchmarks.features import Backbone, featured
from clcore.benchmarks.split_cifar10 import SplitCIFAR10
from clcore.errors import Cancelled, DataError, RequestError
from clcore.events import Answers, Insight
from clcore.packing import unpacked
from clcore.training import train
from tests.colour_cases import TEST, TRAIN, small_cifar10
from tests.training_cases import assert_independent, digits_run

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")


@pytest.fixture(autouse=True)
def cifar(monkeypatch):
    small_cifar10(monkeypatch)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights for each name, with a last layer for 7 classes."""
    folder = tmp_path_factory.mktemp("weights")
    made = {}
    for name in NAMES:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network = models.get_model(name, weights=None, num_classes=7).train()
            for layer in network.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.momentum = None
            network(torch.randn(32, 3, 32, 32))  # with statistics of its own, or activations would fade away
            torch.save(network.state_dict(), folder / f"{name}.pth")
        made[name] = str(folder / f"{name}.pth")
    return made


def build(tmp_path, name, weights, **options):
    options = {"features": name, "weights": weights, "feature_size": 32, **options}
    return SplitCIFAR10(options, scenario="class", data_dir=tmp_path)


def direct(name, file, images):
    """Features as torchvision's own network computes them: what enters its last layer. The images have the size it is shown."""
    network = models.get_model(name, weights=None, num_classes=7).eval()
    network.load_state_dict(torch.load(file))
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images.float() / 255 - mean.view(3, 1, 1)) / spread.view(3, 1, 1)
    with torch.no_grad():
        if name.startswith("squeezenet"):
            return network.features(x).mean((2, 3))
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        found = []
        last.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0]))
        network(x)
    return found[0]


@pytest.mark.parametrize("name", NAMES)
def test_features_are_what_enters_the_networks_last_layer(name, weights, tmp_path):
    state = torch.random.get_rng_state()
    made = build(tmp_path, name, weights[name])
    x, _ = made.stream([0]).tasks[0].train.gather(torch.arange(10)[None])
    assert torch.equal(state, torch.random.get_rng_state())
    ids = made.stream([0]).tasks[0].train.ids(torch.arange(10)[None])[0]
    expected = direct(name, weights[name], made.source.pictures[ids])
    assert made.facts.shape == x.shape[2:] == expected.shape[1:] and made.source.data.dtype == torch.float16
    torch.testing.assert_close(x[0], expected, rtol=2e-3, atol=1e-4)
    assert expected.std() > 1e-2


def test_images_are_stretched_to_the_size_that_weights_expect():
    backbone = Backbone("resnet18")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = backbone.seen(images)
    assert backbone.side == 224 and backbone.width == 512 and seen.shape == (2, 3, 224, 224)
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    plain = nn.functional.interpolate(images.float() / 255, (224, 224), mode="bilinear")
    torch.testing.assert_close(seen, (plain - mean.view(3, 1, 1)) / spread.view(3, 1, 1))
    grey = backbone.seen(images[:, :1])
    assert grey.shape == (2, 3, 224, 224)
    assert Backbone("regnet_y_400mf").width == 440 and Backbone("vit_b_32").width == 768  # one that must be built to know


def test_they_are_computed_once_for_a_data_set_a_backbone_and_its_weights(weights, tmp_path, monkeypatch):
    name = "shufflenet_v2_x0_5"
    told = []
    made = build(tmp_path, name, weights[name])
    made.prepare(lambda message, share: told.append((message, share)))
    assert told[0] == (f"Computing features of {name}: 0 of 160 images", 0.0) and told[-1][1] == 128 / 160
    first = made.source.data
    computed = features._computed

    def refuse(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(features, "_computed", refuse)
    assert torch.equal(build(tmp_path, name, weights[name]).source.data, first)
    with pytest.raises(AssertionError, match="computed again"):  # another size is another file
        build(tmp_path, name, weights[name], feature_size=40).prepare()
    other = replace(made.source, data=255 - made.source.pictures)
    with pytest.raises(AssertionError, match="computed again"):  # other images too
        featured(other, made.backbone, tmp_path, made.device, lambda message, share: None)
    (kept,) = (tmp_path / "features").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    monkeypatch.setattr(features, "_computed", computed)
    assert torch.equal(build(tmp_path, name, weights[name]).source.data, first)
    assert np.load(kept).shape == (160, 1024)


def test_a_cancelled_computation_leaves_nothing(weights, tmp_path):
    def stop(message, share):
        if share and share > 0.5:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        build(tmp_path, NAMES[1], weights[NAMES[1]]).prepare(stop)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_standardised_features_have_mean_0_and_deviation_1_each(weights, tmp_path):
    made = build(tmp_path, NAMES[0], weights[NAMES[0]], standardise=True, validation=0.0)
    x = torch.cat([task.train.gather(torch.arange(2 * TRAIN)[None])[0] for task in made.stream([0]).tasks], 1)[0]
    alive = made.source.data[made.source.train_ids].double().std(0) > 1e-3
    torch.testing.assert_close(x[:, alive].mean(0), torch.zeros(int(alive.sum())), atol=2e-3, rtol=0)
    torch.testing.assert_close(x[:, alive].std(0, correction=0), torch.ones(int(alive.sum())), atol=2e-3, rtol=0)
    assert torch.isfinite(x).all()


def test_without_network_the_sentence_says_where_weights_may_lie(tmp_path, monkeypatch):
    def refuse(url):
        raise URLError("Name or service not known")

    monkeypatch.setattr(downloads, "_open", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(DataError) as caught:
        SplitCIFAR10({"features": "resnet18"}, scenario="class", data_dir=tmp_path).prepare()
    sentence = str(caught.value)
    assert "resnet18's file of weights is not in" in sentence and "could not be downloaded (Name or service" in sentence
    assert "put resnet18-f37072fd.pth there, or give weights = FILE" in sentence and sentence.endswith(".")


def test_weights_that_torch_has_downloaded_already_are_used(weights, tmp_path, monkeypatch):
    hub = tmp_path / "hub"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(hub))
    backbone = Backbone(NAMES[0])
    file = hub / "checkpoints" / backbone._published.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not what was published")
    with pytest.raises(DataError, match="is damaged"):
        backbone.file(tmp_path, lambda message, share: None)
    monkeypatch.setattr(downloads, "matches", lambda file, checksum: checksum == "sha256:047dcff4")
    assert backbone.file(tmp_path, lambda message, share: None) == file


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"features": "resnet19"}, "features = resnet19 is not allowed: torchvision has no such .* did you mean resnet1"),
        ({"weights": "mine.pth"}, "weights = mine.pth needs a network that computes features"),
        ({"feature_size": 64}, "feature_size = 64 needs a network"),
        ({"features": "resnet18", "augment": "crop"}, "augment = crop needs images, but features = resnet18"),
    ],
)
def test_what_cannot_be_is_refused(options, sentence, tmp_path):
    with pytest.raises(RequestError, match=sentence):
        SplitCIFAR10(options, scenario="class", data_dir=tmp_path).memory_estimate(1)


def test_a_file_that_does_not_fit_is_named(weights, tmp_path):
    with pytest.raises(DataError, match=r"weights = nowhere\.pth is not a file"):
        build(tmp_path, NAMES[0], "nowhere.pth").prepare()
    with pytest.raises(DataError, match="does not hold weights of torchvision's mobilenet_v3_small"):
        build(tmp_path, NAMES[0], weights[NAMES[1]]).prepare()
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(DataError, match=r"text\.pth does not hold weights"):
        build(tmp_path, NAMES[0], str(tmp_path / "text.pth")).prepare()


def test_they_need_less_memory_than_images(tmp_path, weights):
    images = SplitCIFAR10({}, scenario="class", data_dir=tmp_path)
    made = build(tmp_path, "squeezenet1_1", weights["squeezenet1_1"])
    assert images.facts.bytes == 10 * (TRAIN + TEST) * (3072 + 8)
    assert made.facts.bytes == 10 * (TRAIN + TEST) * (2 * 512 + 8)
    assert "features = resnet18" in images.ways_to_shrink() and "features" not in made.ways_to_shrink()


CASE = {"benchmark": "split-cifar10", "scenario": "class", "hidden": (16,), "lr": 0.1, "tasks": 5, "batch_size": 8, "epochs": 3}


def test_a_run_on_features_shows_the_original_pictures(weights, tmp_path):
    name = NAMES[0]
    run = digits_run(
        "er", memories=(20,), options={"features": name, "weights": weights[name], "feature_size": 32}, **CASE
    )
    events = []
    result = train(run, data_dir=tmp_path, report=events.append)
    assert result["replicas"][0]["status"] == "finished"
    assert result["replicas"][0]["footprint"]["memory_samples"] == 20 * (2 * 1024 + 8)
    examples = next(e for e in events if isinstance(e, Answers)).examples
    pictures = build(tmp_path, name, weights[name]).source.pictures
    for one in examples:
        assert one.shape == (3, 32, 32)
        pixels = torch.frombuffer(bytearray(unpacked(one.image)), dtype=torch.uint8).view(one.shape)
        assert bool((pictures == pixels).flatten(1).all(1).any())
    shown = [e.arrays["memory_examples"] for e in events if isinstance(e, Insight)][-1]
    assert np.array(shown).shape == (1, 10, 3, 32, 32) and 0 <= np.min(shown) < np.max(shown) <= 1


def test_a_replica_is_the_same_alone_and_among_others(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.training_cases.Path", lambda name: tmp_path)
    options = {"features": NAMES[0], "weights": weights[NAMES[0]], "feature_size": 32}
    assert_independent(method="er", seeds=range(8), memories=(10, 30), options=options, **CASE)
