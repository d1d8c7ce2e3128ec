"""CIFAR: downloading, verifying and unpacking (against a small stand-in), the orders of classes, and the real CIFAR-100."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from clcore.benchmarks import downloads
from clcore.benchmarks.cifar import CIFAR100, SUPERCLASSES, load_cifar
from clcore.benchmarks.partition import partition, shuffled_test, subset
from clcore.benchmarks.sources import SourceFacts
from clcore.benchmarks.split_cifar10 import SplitCIFAR10
from clcore.benchmarks.split_cifar100 import SplitCIFAR100
from clcore.errors import DataError, RequestError
from clcore.settings import settings

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = SourceFacts((3, 32, 32), train_counts=(4,) * 10, test_counts=(2,) * 10, class_names=tuple("abcdefghij"))


def pickled(first: int, n: int) -> bytes:
    """A batch file: image i is red i, green 100, blue 200; labels 0, 1, … 9, 0, …"""
    data = np.empty((n, 3, 1024), np.uint8)
    data[:, 0] = np.arange(first, first + n, dtype=np.uint8)[:, None]
    data[:, 1], data[:, 2] = 100, 200
    return pickle.dumps({"data": data.reshape(n, 3072), "labels": [i % 10 for i in range(n)]}, protocol=2)


@pytest.fixture
def tiny(monkeypatch):
    """torchvision gains a data set of 60 images in three files; its archive is what `server` sends."""
    from torchvision import datasets

    contents = {"batch_1": pickled(0, 20), "batch_2": pickled(20, 20), "test_batch": pickled(40, 20), "names": b"abc"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in [*contents.items(), ("../escape", b"no"), ("readme", b"no")]:
            info = tarfile.TarInfo(f"tiny-batches/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    made = type("TinyCIFAR", (datasets.CIFAR10,), {
        "base_folder": "tiny-batches", "url": "http://server.invalid/tiny.tar.gz", "filename": "tiny.tar.gz",
        "tgz_md5": hashlib.md5(packed.getvalue()).hexdigest(),
        "train_list": [[n, md5[n]] for n in ("batch_1", "batch_2")], "test_list": [["test_batch", md5["test_batch"]]],
        "meta": {"filename": "names", "key": "label_names", "md5": md5["names"]},
    })  # fmt: skip
    monkeypatch.setattr(datasets, "TinyCIFAR", made, raising=False)
    return packed.getvalue()


@pytest.fixture
def server(tiny, monkeypatch):
    """Answers with the archive; `asked` counts."""
    asked = []

    class Answer(io.BytesIO):
        headers = {"Content-Length": str(len(tiny))}

    def answer(url):
        asked.append(url)
        return Answer(tiny)

    monkeypatch.setattr(downloads, "_open", answer)
    return asked


def load(folder, progress=lambda message, share: None):
    return load_cifar("TinyCIFAR", TINY, folder, progress)


def test_it_is_downloaded_verified_unpacked_and_read_once(server, tmp_path):
    told = []
    source = load(tmp_path, lambda message, share: told.append(message))
    assert source.data.shape == (60, 3, 32, 32) and source.data.dtype == torch.uint8
    assert source.data[:, 0, 3, 5].tolist() == list(range(60)) and bool((source.data[:, 2] == 200).all())
    assert source.train_ids.tolist() == list(range(40)) and source.test_ids.tolist() == list(range(40, 60))
    assert sorted(p.name for p in (tmp_path / "tiny-batches").iterdir()) == ["batch_1", "batch_2", "names", "test_batch"]
    assert not (tmp_path / "escape").exists()
    assert any(m.startswith("Downloading TinyCIFAR: tiny.tar.gz") for m in told)
    load(tmp_path)
    assert len(server) == 1


def test_a_file_is_not_unpickled_before_its_checksum_is_right(server, tmp_path):
    load(tmp_path)
    file = tmp_path / "tiny-batches" / "batch_2"
    file.write_bytes(pickle.dumps(print))
    with pytest.raises(DataError, match=r"batch_2 is damaged .* delete it and start again\."):
        load(tmp_path)
    file.unlink()
    assert len(load(tmp_path).data) == 60 and len(server) == 1  # from the archive, which is still there


def test_a_damaged_archive_is_named(server, tmp_path):
    (tmp_path / "tiny.tar.gz").write_bytes(b"half")
    with pytest.raises(DataError, match=r"tiny\.tar\.gz is damaged"):
        load(tmp_path)


@pytest.mark.parametrize("benchmark", (SplitCIFAR10, SplitCIFAR100))
def test_without_network_one_sentence_says_what_runs_offline(benchmark, tmp_path, no_network):
    with pytest.raises(DataError, match=r"CIFAR-100? is not in .* could not be downloaded .* toy-2d"):
        benchmark({}, scenario="class", data_dir=tmp_path).prepare()


def build(scenario="class", **options):
    return SplitCIFAR100(options, scenario=scenario, data_dir="unused")


def test_class_orders_are_the_same_on_every_machine():
    """Drawn from the seed alone; written down once."""
    assert build(order="seeded").class_order(0)[0].tolist() == SEEDED[0]
    assert build(order="seeded").class_order(1)[0].tolist() == SEEDED[1]
    assert build(order="seeded", tasks=20).class_order(0)[:2].flatten().tolist() == SEEDED[0]
    assert build().class_order(7).flatten().tolist() == list(range(100))


SEEDED = {
    0: [19, 35, 65, 59, 7, 69, 9, 79, 41, 96],
    1: [33, 22, 68, 52, 89, 43, 23, 92, 83, 47],
}


def test_splits_are_the_same_on_every_machine():
    """Which examples a seed holds out, draws for a task, and in which order it tests: drawn from the seed alone."""
    labels = torch.arange(300) % 10
    held = partition(torch.arange(300), labels, 10, 0.1, seed=0)
    assert sorted(held.validation.tolist()) == HELD
    assert torch.bincount(labels[held.validation]).tolist() == [3] * 10
    assert subset(held.train, 6, 0, 4).tolist() == DRAWN and shuffled_test(torch.arange(50))[:6].tolist() == TESTED


HELD = [
    22, 27, 29, 33, 41, 53, 60, 79, 84, 92, 96, 97, 104, 114, 118, 130, 135, 136, 147, 153, 169, 172, 195, 200, 208, 261, 265,
    266, 281, 288,
]  # fmt: skip
DRAWN = [18, 48, 197, 284, 175, 59]
TESTED = [18, 36, 5, 28, 42, 43]


def test_by_superclass_a_task_is_a_superclass():
    made = build(order="superclass", tasks=20)
    order = made.class_order(3)
    for task, (name, members) in enumerate(SUPERCLASSES.items()):
        assert tuple(CIFAR100.class_names[label] for label in order[task]) == members
        assert made.name_of_task(order[task].tolist()) == name
    assert build(order="superclass", tasks=10).name_of_task(order[:2].flatten().tolist()) == "aquatic mammals · fish"
    with pytest.raises(RequestError, match=r"tasks = 50 .* must divide 20: 1, 2, 4, 5, 10, 20\."):
        build(order="superclass", tasks=50).check_classes()


def real_data() -> Path:
    for data_dir in (settings().data_dir, Path(__file__).parents[2] / "data"):
        if (Path(data_dir) / "cifar-100-python" / "train").exists():
            return Path(data_dir)
    pytest.skip("CIFAR-100 is neither in CLCORE_DATA_DIR nor in ./data")


@pytest.fixture(scope="module")
def real():
    made = SplitCIFAR100({"tasks": 20, "order": "superclass", "standardise": True}, scenario="task", data_dir=real_data())
    made.prepare()
    return made


@pytest.mark.data
def test_the_real_cifar100_has_the_published_statistics(real):
    source = real.source
    assert source.data.shape == (60_000, 3, 32, 32) and source.data.dtype == torch.uint8
    for ids, count in ((source.train_ids, 500), (source.test_ids, 100)):
        assert torch.bincount(source.labels[ids]).tolist() == [count] * 100
    # The means and deviations that published protocols write into their code, channel by channel.
    mean, spread = -source.shift / source.scale / 255, 1 / source.scale / 255
    assert [round(v, 4) for v in mean.tolist()] == [0.5071, 0.4865, 0.4409]
    assert [round(v, 4) for v in spread.tolist()] == [0.2673, 0.2564, 0.2762]


@pytest.mark.data
def test_the_real_superclasses_are_those_of_the_files(real):
    files = real.data_dir / "cifar-100-python"
    meta = pickle.loads((files / "meta").read_bytes(), encoding="latin1")
    test = pickle.loads((files / "test").read_bytes(), encoding="latin1")
    assert [name.replace("_", " ") for name in meta["fine_label_names"]] == list(CIFAR100.class_names)
    assert [name.replace("_", " ") for name in meta["coarse_label_names"]] == list(SUPERCLASSES)
    coarse, fine = np.array(test["coarse_labels"]), np.array(test["fine_labels"])
    for number, members in enumerate(SUPERCLASSES.values()):
        assert tuple(CIFAR100.class_names[label] for label in sorted(set(fine[coarse == number]))) == members


@pytest.mark.data
def test_a_real_task_holds_its_superclass_and_standardised_images(real):
    stream = real.stream([0, 1])
    task = stream.tasks[1]
    assert task.name == "fish" and stream.classes_per_task == 5 and stream.outputs == 100
    assert task.train.lengths.tolist() == [2250, 2250] and task.test.lengths.tolist() == [500, 500]
    x, y = task.train.gather(torch.arange(2000).expand(2, -1))
    assert x.shape == (2, 2000, 3, 32, 32) and set(y.flatten().tolist()) == {5, 6, 7, 8, 9}
    whole = [t.train.gather(torch.arange(500).expand(2, -1))[0][0] for t in stream.tasks]
    mean, spread = torch.cat(whole).mean((0, 2, 3)), torch.cat(whole).std((0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(spread, torch.ones(3), atol=0.03, rtol=0)
    # What a person sees is the photograph again.
    ids = task.train.ids(torch.arange(3).expand(2, -1))
    shown = stream.examples.inputs.shown(x[:, :3], ids)
    torch.testing.assert_close(shown, real.source.data[ids].float() / 255, atol=1e-5, rtol=0)
