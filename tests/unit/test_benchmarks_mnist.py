"""The MNIST family: finding, verifying, unpacking and downloading (against a small stand-in), and the real data set."""

import errno
import gzip
import hashlib
import http.server
import os
import threading
from pathlib import Path

import pytest
import torch

from clcore.benchmarks import downloads, split_mnist_variation
from clcore.benchmarks.mnist_family import FASHION_MNIST, MNIST, load_family
from clcore.benchmarks.permuted_mnist import PermutedMNIST
from clcore.benchmarks.rotated_mnist import RotatedMNIST
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.benchmarks.split_fashion_mnist import SplitFashionMNIST
from clcore.benchmarks.split_kmnist import SplitKMNIST
from clcore.benchmarks.split_mnist import SplitMNIST
from clcore.benchmarks.split_mnist_variation import SplitMNISTVariation
from clcore.errors import Cancelled, DataError
from clcore.settings import settings
from clcore.training import train
from tests.training_cases import digits_run

TINY = SourceFacts((1, 28, 28), train_counts=(4,) * 10, test_counts=(2,) * 10, class_names=tuple("0123456789"))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def idx(*sizes):
    """An idx file of unsigned bytes: images where there are three sizes, else labels 0, 1, … 9, 0, …"""
    header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    if len(sizes) == 1:
        return header + bytes(i % 10 for i in range(sizes[0]))
    draw = torch.Generator().manual_seed(sizes[0])
    return header + bytes(torch.randint(0, 256, (sizes[0] * 784,), generator=draw).tolist())


@pytest.fixture(scope="module")
def files():
    """The stand-in's four files by archive name: (archive, content)."""
    contents = {
        "train-images-idx3-ubyte.gz": idx(40, 28, 28),
        "train-labels-idx1-ubyte.gz": idx(40),
        "t10k-images-idx3-ubyte.gz": idx(20, 28, 28),
        "t10k-labels-idx1-ubyte.gz": idx(20),
    }
    return {name: (gzip.compress(content, mtime=0), content) for name, content in contents.items()}


@pytest.fixture
def tiny(files, monkeypatch):
    """torchvision gains a data set of 60 images; without mirrors of its own."""
    from torchvision import datasets

    resources = [(name, hashlib.md5(archive).hexdigest()) for name, (archive, _) in files.items()]
    made = type("TinyMNIST", (datasets.MNIST,), {"resources": resources, "mirrors": ["http://mirror.invalid/"]})
    monkeypatch.setattr(datasets, "TinyMNIST", made, raising=False)
    return made


@pytest.fixture
def mirror(files):
    """A server of the archives; `broken` names those it spoils."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            body = files[name][0]
            if name in server.broken:
                body = body[:-4]
            server.asked.append(name)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.broken, server.asked = set(), []
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def put(data_dir, files, archives=True, unpacked=False):
    raw = data_dir / "TinyMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, (archive, content) in files.items():
        if archives:
            (raw / name).write_bytes(archive)
        if unpacked:
            (raw / name.removesuffix(".gz")).write_bytes(content)
    return raw


def load(data_dir, progress=lambda message, share: None):
    return load_family("TinyMNIST", TINY, data_dir, progress)


def failure(data_dir):
    with pytest.raises(DataError) as caught:
        load(data_dir)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def test_unpacked_files_are_read_as_they_are(tiny, files, tmp_path, no_network):
    put(tmp_path, files, archives=False, unpacked=True)
    source = load(tmp_path)
    assert source.data.shape == (60, 1, 28, 28) and source.data.dtype == torch.uint8
    content = files["train-images-idx3-ubyte.gz"][1]
    assert source.data[3].flatten().tolist() == list(content[16 + 3 * 784 : 16 + 4 * 784])
    assert source.labels.tolist() == [i % 10 for i in range(40)] + [i % 10 for i in range(20)]
    assert source.train_ids.tolist() == list(range(40)) and source.test_ids.tolist() == list(range(40, 60))
    assert source.scale == 1 / 255


def test_archives_are_verified_and_unpacked_without_network(tiny, files, tmp_path, no_network):
    raw = put(tmp_path, files)
    assert len(load(tmp_path).data) == 60
    for name, (_, content) in files.items():
        assert (raw / name.removesuffix(".gz")).read_bytes() == content
    assert not list(raw.glob(".*"))


def test_missing_files_are_downloaded_with_progress_and_kept(tiny, files, tmp_path, mirror, monkeypatch):
    tiny.mirrors = ["http://127.0.0.1:9/", mirror.url]  # nothing answers on the first
    reported = []
    load(tmp_path, lambda message, share: reported.append((message, share)))
    assert sorted(mirror.asked) == sorted(files)
    shares = [share for _, share in reported if share is not None]
    assert shares == sorted(shares) and 0 < shares[0] and shares[-1] == 1
    downloads = [message for message, _ in reported if message.startswith("Downloading TinyMNIST: ")]
    assert any("MB" in message for message in downloads)
    raw = tmp_path / "TinyMNIST" / "raw"
    assert sorted(p.name for p in raw.iterdir()) == sorted([*files, *(n.removesuffix(".gz") for n in files)])
    mirror.asked.clear()
    load(tmp_path)
    assert mirror.asked == []


def test_without_network_one_sentence_says_what_runs_offline(tiny, tmp_path, no_network):
    sentence = failure(tmp_path)
    assert "TinyMNIST is not in" in sentence and "Name or service not known" in sentence
    assert "split-digits, permuted-digits, rotated-digits, toy-2d" in sentence
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("benchmark", (SplitMNIST, PermutedMNIST, RotatedMNIST, SplitFashionMNIST, SplitKMNIST))
def test_every_download_fails_with_that_sentence(benchmark, tmp_path, no_network):
    made = benchmark({}, scenario=benchmark.default_scenario, data_dir=tmp_path)
    with pytest.raises(DataError, match="could not be downloaded .* toy-2d"):
        made.prepare()


def test_a_connection_that_breaks_off_is_a_failed_download(tiny, tmp_path, monkeypatch):
    class Broken:
        def __init__(self):
            self.headers = {"Content-Length": "100"}

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return None

        def read(self, size):
            raise ConnectionResetError("Connection reset by peer")

    monkeypatch.setattr(downloads, "_open", lambda url: Broken())
    assert "Connection reset by peer" in failure(tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_damaged_download_is_not_kept(tiny, tmp_path, mirror):
    tiny.mirrors = [mirror.url]
    mirror.broken.add("t10k-labels-idx1-ubyte.gz")
    assert "a mirror sent a damaged file" in failure(tmp_path)
    raw = tmp_path / "TinyMNIST" / "raw"
    assert not (raw / "t10k-labels-idx1-ubyte.gz").exists() and not list(raw.glob(".*"))
    mirror.broken.clear()
    mirror.asked.clear()
    load(tmp_path)
    assert mirror.asked == ["t10k-labels-idx1-ubyte.gz"]


def test_a_download_can_be_cancelled(tiny, tmp_path, mirror):
    tiny.mirrors = [mirror.url]

    def stop(message, share):
        if message.startswith("Downloading"):
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        load(tmp_path, stop)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_corrupt_archive_is_named(tiny, files, tmp_path, no_network):
    raw = put(tmp_path, files)
    archive = raw / "train-labels-idx1-ubyte.gz"
    archive.write_bytes(archive.read_bytes()[:-5])
    sentence = failure(tmp_path)
    assert str(archive) in sentence and "damaged" in sentence and "delete it" in sentence


def test_a_truncated_file_is_named(tiny, files, tmp_path, no_network):
    raw = put(tmp_path, files, unpacked=True)
    file = raw / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    sentence = failure(tmp_path)
    assert str(file) in sentence and "15691 bytes instead of 15696" in sentence and "delete it" in sentence


def test_a_file_with_a_foreign_header_is_named(tiny, files, tmp_path, no_network):
    raw = put(tmp_path, files, unpacked=True)
    file = raw / "t10k-images-idx3-ubyte"
    file.write_bytes(bytes([1, 2, 3, 4]) + file.read_bytes()[4:])
    assert "t10k-*-ubyte are damaged" in failure(tmp_path)


def test_labels_of_another_data_set_are_noticed(tiny, files, tmp_path, no_network):
    raw = put(tmp_path, files, unpacked=True)
    file = raw / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    assert str(file) in failure(tmp_path)


def test_a_data_directory_that_cannot_be_written(tiny, files, tmp_path, no_network, monkeypatch):
    put(tmp_path, files)

    def refuse(path, mode="r", *args, **kwargs):
        if "w" in mode:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open(path, mode, *args, **kwargs)

    monkeypatch.setattr(downloads, "open", refuse, raising=False)
    sentence = failure(tmp_path)
    assert "Permission denied" in sentence and "--data-dir or CLCORE_DATA_DIR" in sentence


def test_a_full_disk(tiny, files, tmp_path, no_network, monkeypatch):
    raw = put(tmp_path, files)

    def full(source, target, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(downloads.shutil, "copyfileobj", full)
    assert "No space left on device" in failure(tmp_path)
    assert sorted(p.name for p in raw.iterdir()) == sorted(files)


def test_a_data_directory_that_is_a_file(tiny, tmp_path, no_network):
    (tmp_path / "data").write_text("not a folder")
    assert "Not a directory" in failure(tmp_path / "data") or "File exists" in failure(tmp_path / "data")


def test_memory_estimates_need_no_data():
    for benchmark in (SplitMNIST, PermutedMNIST, RotatedMNIST, SplitFashionMNIST, SplitKMNIST):
        made = benchmark({}, scenario=benchmark.default_scenario, data_dir="nowhere")
        assert 55e6 < made.memory_estimate(1) < 75e6
    made = PermutedMNIST({"tasks": 50}, scenario="domain", data_dir="nowhere")
    many = made.memory_estimate(100) - made.memory_estimate(99)
    assert many == pytest.approx(8 * (60_000 + 50 * 784), rel=0.02)


def real_data(name):
    for data_dir in (settings().data_dir, Path(__file__).parents[2] / "data"):
        if (Path(data_dir) / name / "raw" / "train-images-idx3-ubyte").exists():
            return Path(data_dir)
    pytest.skip(f"{name} is neither in CLCORE_DATA_DIR nor in ./data")


@pytest.mark.mnist
@pytest.mark.parametrize(
    ("name", "facts", "benchmark"), [("MNIST", MNIST, SplitMNIST), ("FashionMNIST", FASHION_MNIST, SplitFashionMNIST)]
)
def test_the_real_files(name, facts, benchmark, no_network):
    made = benchmark({}, scenario="class", data_dir=real_data(name))
    made.prepare()
    source = made.source
    for ids, counts in ((source.train_ids, facts.train_counts), (source.test_ids, facts.test_counts)):
        assert tuple(torch.bincount(source.labels[ids]).tolist()) == counts
    stream = made.stream([0, 1])
    union = torch.cat([task.test.indices[1, : task.test.lengths[1]] for task in stream.tasks])
    assert sorted(union.tolist()) == source.test_ids.tolist()
    x, y = stream.tasks[2].train.gather(torch.arange(64).expand(2, -1))
    assert x.shape == (2, 64, 1, 28, 28) and x.min() == 0 and x.max() == 1
    assert set(y.flatten().tolist()) == {4, 5}


@pytest.mark.mnist
def test_a_rotated_gather_matches_the_permuted_one_at_angle_zero(no_network):
    data_dir = real_data("MNIST")
    rotated = RotatedMNIST({"max_angle": 0.0, "tasks": 1}, scenario="domain", data_dir=data_dir).stream([0])
    plain = PermutedMNIST({"first": "identity", "tasks": 1}, scenario="domain", data_dir=data_dir).stream([0])
    positions = torch.arange(200)[None]
    x, y = rotated.tasks[0].train.gather(positions)
    expected, labels = plain.tasks[0].train.gather(positions)
    assert torch.equal(y, labels)
    torch.testing.assert_close(x, expected, atol=1e-6, rtol=0)


@pytest.fixture
def few_digits(monkeypatch):
    """Twenty upright strokes and an L, in the place of MNIST."""
    images = torch.zeros(20, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 6:22, 13:15] = 255
    images[10:, :, 20:22, 13:20] = 255
    labels = torch.arange(20) // 2
    source = Source(images, 1 / 255, labels, torch.arange(10) * 2, torch.arange(10) * 2 + 1)
    monkeypatch.setattr(split_mnist_variation, "load_family", lambda *given: source)
    return source


def varied(**options):
    return SplitMNISTVariation(options, scenario="task", data_dir="data").source.data


def test_a_variation_without_turn_and_background_is_mnist(few_digits):
    plain = varied(turn=0.0, background="none").int()
    assert (plain - few_digits.data.int()).abs().max() <= 1


def test_a_variation_is_drawn_once_and_for_all_and_keeps_the_digits_over_any_background(few_digits):
    clouds, noise, bare = (varied(background=kind) for kind in ("clouds", "noise", "none"))
    assert torch.equal(clouds, varied(background="clouds"))
    ink = bare > 250
    assert int(ink.sum()) > 200 and bool((clouds[ink] > 245).all()) and bool((noise[ink] > 245).all())
    behind = bare == 0
    rough = lambda images: (images[..., 1:].float() - images[..., :-1]).abs()[behind[..., 1:] & behind[..., :-1]].mean()  # noqa: E731
    assert 100 < float(noise[behind].float().mean()) < 155 and float(rough(noise)) > 4 * float(rough(clouds))


def test_digits_of_a_variation_are_turned_and_stay_what_they_are(few_digits):
    bare = varied(background="none").float()
    lean = bare.flatten(1)
    assert len(torch.unique(lean, dim=0)) == 20  # every one by an angle of its own
    mass, before = bare.sum((1, 2, 3)), few_digits.data.float().sum((1, 2, 3))
    torch.testing.assert_close(mass, before, rtol=0.05, atol=0)
    narrow = varied(background="none", turn=10.0).float()
    assert (narrow - few_digits.data).abs().mean() < (bare - few_digits.data).abs().mean()


@pytest.mark.mnist
def test_a_network_learns_the_variation_of_the_real_digits(no_network):
    run = digits_run(
        "finetune", benchmark="split-mnist-variation", scenario="task", hidden=(128,), epochs=5, seeds=(0,), live_points=0,
        tasks=5, options={"train_per_task": 3000, "background": "none"},
    )  # fmt: skip
    matrix = train(run, data_dir=real_data("MNIST"))["replicas"][0]["accuracy_matrix"]
    assert sum(matrix[k + 1][k] for k in range(5)) / 5 > 0.8  # chance is 0.5
