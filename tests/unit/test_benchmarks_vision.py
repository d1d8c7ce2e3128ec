"""SVHN, EMNIST, the five data sets and Omniglot: read from stand-ins in the files' own formats, and the real small Omniglot."""

import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from clcore import capacity
from clcore.benchmarks import downloads, five_datasets, omniglot_files
from clcore.benchmarks.five_datasets import SETS, FiveDatasets
from clcore.benchmarks.mnist_family import load_letters
from clcore.benchmarks.omniglot import Omniglot
from clcore.benchmarks.omniglot_files import alphabets, load_omniglot
from clcore.benchmarks.permuted_fashion_mnist import PermutedFashionMNIST
from clcore.benchmarks.rotated_fashion_mnist import RotatedFashionMNIST
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.benchmarks.split_emnist import SplitEMNIST
from clcore.benchmarks.split_svhn import SplitSVHN
from clcore.benchmarks.svhn import SVHN, load_svhn
from clcore.errors import DataError, RequestError, TooLarge
from clcore.settings import settings
from clcore.training import train
from tests.training_cases import digits_run, result_of

pytestmark = pytest.mark.usefixtures("one_thread")


def quiet(message, share):
    """A progress that nobody watches."""


@pytest.fixture
def sends(monkeypatch):
    """Answers every address with what `sends` holds under its last part."""
    contents: dict[str, bytes] = {}

    class Answer(io.BytesIO):
        headers: dict = {}

    monkeypatch.setattr(downloads, "_open", lambda url: Answer(contents[url.rpartition("/")[2]]))
    return contents


@pytest.mark.parametrize(
    "benchmark", (SplitSVHN, SplitEMNIST, FiveDatasets, Omniglot, PermutedFashionMNIST, RotatedFashionMNIST)
)
def test_every_download_fails_with_one_sentence(benchmark, tmp_path, no_network):
    made = benchmark({}, scenario=benchmark.default_scenario, data_dir=tmp_path)
    with pytest.raises(DataError, match=r"could not be downloaded .* toy-2d"):
        made.prepare()


# ---- SVHN ----------------------------------------------------------------------------------------------------------


def mat(first: int, counts: list[int]) -> bytes:
    """A file as SVHN's: X (32, 32, 3, N) and y (N, 1), where the digit 0 is 10. Image i is i in red at (4, 7)."""
    n = sum(counts)
    images = np.zeros((32, 32, 3, n), np.uint8)
    images[4, 7, 0] = np.arange(first, first + n)
    labels = np.repeat(np.arange(10), counts)
    written = io.BytesIO()
    savemat(written, {"X": images, "y": np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]}, do_compression=True)
    return written.getvalue()


@pytest.fixture
def tiny_svhn(sends, monkeypatch):
    from torchvision import datasets

    sends |= {"train.mat": mat(1, [3] * 10), "test.mat": mat(100, [1] * 10)}
    listed = {
        part: [f"http://server.invalid/{part}.mat", f"{part}.mat", hashlib.md5(sends[f"{part}.mat"]).hexdigest()]
        for part in ("train", "test")
    }
    monkeypatch.setattr(datasets, "TinySVHN", type("TinySVHN", (datasets.SVHN,), {"split_list": listed}), raising=False)
    return SourceFacts((3, 32, 32), (3,) * 10, (1,) * 10, tuple("0123456789"))


def test_svhn_is_read_channels_first_and_ten_is_zero(tiny_svhn, tmp_path):
    source = load_svhn(tmp_path, quiet, "TinySVHN", tiny_svhn)
    assert source.data.shape == (40, 3, 32, 32) and source.data.dtype == torch.uint8 and source.parts == 3
    assert source.data[:, 0, 4, 7].tolist() == [*range(1, 31), *range(100, 110)]
    assert source.labels.tolist() == [d for d in range(10) for _ in range(3)] + list(range(10))
    assert source.test_ids.tolist() == list(range(30, 40))


def test_another_file_in_svhns_place_is_noticed(tiny_svhn, tmp_path):
    with pytest.raises(DataError, match=r"train\.mat is damaged \(its images are not those of TinySVHN\)"):
        load_svhn(tmp_path, quiet, "TinySVHN", SourceFacts((3, 32, 32), (4,) * 10, (1,) * 10, tuple("0123456789")))
    (tmp_path / "test.mat").write_bytes(b"half")
    with pytest.raises(DataError, match=r"test\.mat is damaged \(its checksum"):
        load_svhn(tmp_path, quiet, "TinySVHN", tiny_svhn)


def test_the_numbers_of_svhn():
    assert (sum(SVHN.train_counts), sum(SVHN.test_counts)) == (73_257, 26_032)


# ---- EMNIST --------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny_emnist(sends, monkeypatch):
    """Two images a letter for training, one for test; image i is i at row 3, column 20 when it is upright."""
    from torchvision import datasets

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for part, first, each in (("train", 1, 2), ("test", 100, 1)):
            images = np.zeros((26 * each, 28, 28))
            images[:, 20, 3] = np.arange(first, first + len(images))
            labels = np.repeat(np.arange(1, 27), each)
            for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
                archive.writestr(f"gzip/emnist-letters-{part}-{kind}-ubyte.gz", gzip.compress(idx(content)))
        archive.writestr("gzip/emnist-digits-train-images-idx3-ubyte.gz", b"not unpacked")
    sends["gzip.zip"] = packed.getvalue()
    md5 = hashlib.md5(packed.getvalue()).hexdigest()
    made = type("TinyEMNIST", (datasets.EMNIST,), {"url": "http://server.invalid/gzip.zip", "md5": md5})
    monkeypatch.setattr(datasets, "TinyEMNIST", made, raising=False)
    return SourceFacts((1, 28, 28), (2,) * 26, (1,) * 26, tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))


def test_letters_are_stored_upright(tiny_emnist, tmp_path):
    source = load_letters(tmp_path, quiet, "TinyEMNIST", tiny_emnist)
    assert source.data.shape == (78, 1, 28, 28) and source.data.dtype == torch.uint8 and source.data.is_contiguous()
    assert source.data[:, 0, 3, 20].tolist() == [*range(1, 53), *range(100, 126)]
    assert source.labels.tolist() == [n for n in range(26) for _ in range(2)] + list(range(26))
    names = sorted(p.name for p in (tmp_path / "TinyEMNIST" / "raw").iterdir())
    assert len(names) == 5 and not any("digits" in name for name in names)


def test_truncated_letters_are_named(tiny_emnist, tmp_path):
    load_letters(tmp_path, quiet, "TinyEMNIST", tiny_emnist)
    file = tmp_path / "TinyEMNIST" / "raw" / "emnist-letters-test-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match="test-images-idx3-ubyte is damaged .* delete it"):
        load_letters(tmp_path, quiet, "TinyEMNIST", tiny_emnist)


# ---- five data sets ------------------------------------------------------------------------------------------------


@pytest.fixture
def five(monkeypatch):
    """Small data sets in place of the five: example i of each is filled with its number among the five."""
    sizes = {"CIFAR-10": (3, 32), "MNIST": (1, 28), "SVHN": (3, 32), "KMNIST": (1, 28), "Fashion-MNIST": (1, 28)}

    def small(name, facts):
        number, (channels, side) = list(sizes).index(name), sizes[name]
        n = facts.examples
        labels = torch.cat([
            torch.arange(10).repeat_interleave(torch.tensor(counts)) for counts in (facts.train_counts, facts.test_counts)
        ])  # fmt: skip
        data = torch.full((n, channels, side, side), 10 * (number + 1), dtype=torch.uint8)
        train = sum(facts.train_counts)
        return Source(data, 1 / 255, labels, torch.arange(train), torch.arange(train, n), parts=channels)

    chosen = {}
    for i, (name, facts) in enumerate(SETS.items()):
        chosen[name] = SourceFacts(facts.shape, (3 + i,) * 10, (2 + i % 2,) * 10, facts.class_names)
    monkeypatch.setattr(five_datasets, "SETS", chosen)
    by_name = {"CIFAR10": "CIFAR-10", "MNIST": "MNIST", "KMNIST": "KMNIST", "FashionMNIST": "Fashion-MNIST"}

    def read(name, facts, data_dir, progress):
        return small(by_name[name], chosen[by_name[name]])

    monkeypatch.setattr(five_datasets, "load_cifar", read)
    monkeypatch.setattr(five_datasets, "load_family", read)
    monkeypatch.setattr(five_datasets, "load_svhn", lambda data_dir, progress: small("SVHN", chosen["SVHN"]))
    return chosen


def test_every_task_is_one_of_the_five(five):
    stream = FiveDatasets({"validation": 0.0}, scenario="task", data_dir="unused").stream([0])
    assert [task.name for task in stream.tasks] == list(SETS) and stream.outputs == 50 and stream.classes_per_task == 10
    for number, (task, facts) in enumerate(zip(stream.tasks, five.values(), strict=True)):
        assert int(task.train.lengths) == sum(facts.train_counts) and int(task.test.lengths) == sum(facts.test_counts)
        x, y = task.test.gather(torch.arange(int(task.test.lengths))[None])
        assert x.shape[2:] == (3, 32, 32) and float(x.max()) == pytest.approx(10 * (number + 1) / 255)
        assert set(y.flatten().tolist()) == set(range(10 * number, 10 * number + 10))
        border = x[0, 0, :, 0].abs().max() == 0
        assert bool(border) == (facts.shape[-1] == 28) and torch.equal(x[:, :, 0], x[:, :, 2])


def test_shuffled_data_sets_stay_whole_and_fewer_need_less(five):
    made = FiveDatasets({"order": "seeded", "tasks": 3}, scenario="domain", data_dir="unused")
    stream = made.stream([0, 1, 2])
    seen = set()
    for task in stream.tasks:
        assert task.train.width == 40  # of the largest data set, whichever seed draws it
        for replica in range(3):
            labels = made.source.labels[task.test.indices[replica, : task.test.lengths[replica]]] // 10
            assert len(set(labels.tolist())) == 1
            seen.add((replica, int(labels[0])))
    assert seen == {(replica, number) for replica in range(3) for number in range(3)}
    assert made.facts.examples < FiveDatasets({}, scenario="task", data_dir="unused").facts.examples
    assert made.ways_to_shrink().startswith("fewer tasks or fewer seeds")


def test_the_real_five_need_over_a_gigabyte():
    made = FiveDatasets({}, scenario="task", data_dir="unused")
    assert made.facts.examples == 60_000 + 3 * 70_000 + 99_289
    assert made.memory_estimate(1) == pytest.approx(369_289 * (3072 + 8 + 8), rel=0.001)


@pytest.mark.parametrize(
    "free, sentence",
    [
        (1 << 30, r"The data of five-datasets .* need about 1\.1 GiB, but 1\.0 GiB are free on cpu: it would take less with "
         r"fewer tasks or .*features = resnet18"),
        (1.2 * (1 << 30), r"1 replicas of .* need about 1\.[2-9] GiB, 1\.1 of them for its data, .*: choose a smaller network"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_read(free, sentence, monkeypatch, no_network):
    run = digits_run("finetune", benchmark="five-datasets", scenario="task", tasks=5, hidden=(1500, 1500))
    monkeypatch.setattr(capacity, "free_bytes", lambda device: free)
    with pytest.raises(TooLarge, match=sentence):
        result_of(run)


def test_a_run_says_what_a_large_data_set_takes_before_it_is_read(no_network, tmp_path):
    events = []
    run = digits_run("finetune", benchmark="split-svhn", scenario="task", tasks=5)
    with pytest.raises(DataError, match="could not be downloaded"):
        train(run, data_dir=tmp_path, report=events.append)
    assert events[0].message == "split-svhn takes about 307 MB on cpu"


# ---- Omniglot ------------------------------------------------------------------------------------------------------


def test_the_numbers_of_omniglot():
    counts = alphabets("all")
    assert (len(counts), sum(counts.values()), min(counts.values())) == (50, 1623, 14)
    assert list(alphabets("small1")) == ["Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"]


def test_an_archive_is_read_without_unpacking(sends, tmp_path, monkeypatch):
    """Drawing d of character c: ink on the first 15·(c + 1) rows, the pixel at the lower right for person 7."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for alphabet, count in (("Elvish", 2), ("Dwarvish", 3)):
            for character in range(count):
                for person in range(20):
                    image = np.full((105, 105), 255, np.uint8)
                    image[: 15 * (character + 1)] = 0
                    if person == 7:
                        image[-4:, -4:] = 0
                    written = io.BytesIO()
                    Image.fromarray(image).convert("1").save(written, "PNG")
                    name = f"small/{alphabet}/character{character + 1:02}/{character:04}_{person + 1:02}.png"
                    archive.writestr(name, written.getvalue())
    sends["small.zip"] = packed.getvalue()
    monkeypatch.setitem(omniglot_files._ARCHIVES, "small", {"Elvish": 2, "Dwarvish": 3})
    monkeypatch.setitem(omniglot_files._SMALL_MD5, "small", hashlib.md5(packed.getvalue()).hexdigest())
    monkeypatch.setitem(omniglot_files.SELECTIONS, "small", ("small",))
    source = load_omniglot("small", tmp_path, quiet)
    assert source.data.shape == (100, 1, 28, 28) and source.labels.tolist() == [c for c in range(5) for _ in range(20)]
    ink = (source.data[:, 0, :, 5] > 127).sum(1).tolist()
    assert ink == [rows for character in (0, 1, 0, 1, 2) for rows in [4 * (character + 1)] * 20]
    assert (source.data[:, 0, 27, 27] > 200).nonzero()[:, 0].tolist() == list(range(7, 100, 20))
    assert source.test_ids.tolist() == [20 * c + person for c in range(5) for person in range(16, 20)]
    monkeypatch.setitem(omniglot_files._ARCHIVES, "small", {"Elvish": 2, "Dwarvish": 4})
    with pytest.raises(DataError, match=r"Dwarvish should have 4 characters of 20 drawings\); delete small there"):
        load_omniglot("small", tmp_path, quiet)


def test_more_alphabets_than_there_are_is_refused():
    made = Omniglot({"alphabets": "small1", "tasks": 6}, scenario="task", data_dir="unused")
    with pytest.raises(RequestError, match="alphabets = small1 has 5; give a whole number from 1 to 5"):
        made.check_classes()


def real_omniglot() -> Path:
    for data_dir in (settings().data_dir, Path(__file__).parents[2] / "data"):
        if any((Path(data_dir) / name / "images_background_small1").is_dir() for name in omniglot_files.FOLDERS):
            return Path(data_dir)
    pytest.skip("The small Omniglot is neither in CLCORE_DATA_DIR nor in ./data")


@pytest.mark.data
@pytest.mark.parametrize("order", ("natural", "seeded"))
def test_every_task_of_the_real_small_omniglot_is_an_alphabet(order, no_network):
    made = Omniglot(
        {"alphabets": "small1", "tasks": 5, "order": order, "characters": 12}, scenario="task", data_dir=real_omniglot()
    )
    stream = made.stream([0, 1])
    source = made.source
    assert source.data.shape == (136 * 20, 1, 28, 28) and stream.outputs == 60 and stream.classes_per_task == 12
    assert 0.07 < float(source.data.float().mean() / 255) < 0.085  # of the whole data set it is known to be 0.078
    starts = torch.tensor(list(alphabets("small1").values())).cumsum(0)
    drawn = []
    for replica in range(2):
        met = []
        for task in stream.tasks:
            assert int(task.train.lengths[replica]) == 12 * 14 and int(task.test.lengths[replica]) == 12 * 4
            labels = source.labels[task.train.indices[replica, : task.train.lengths[replica]]]
            alphabet = set(torch.bucketize(labels, starts, right=True).tolist())
            assert len(alphabet) == 1 and len(set(labels.tolist())) == 12
            met += alphabet
        assert sorted(met) == list(range(5))
        drawn.append(made.class_order(replica).tolist())
    assert (drawn[0] == drawn[1]) == (order == "natural")
    if order == "natural":
        assert [task.name for task in stream.tasks] == ["Balinese", "Early Aramaic", "Greek", "Korean", "Latin"]
