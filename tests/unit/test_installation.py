"""What the System page knows of its machine: data sets, GPUs, processors, versions, and a report without secrets."""

import os
import sys
import time

import pytest

from clcore import datasets
from clcore.catalogue import catalogue
from clcore.datasets import KNOWN, availability
from clcore.diagnostics import package_versions, report, settings_in_effect
from clcore.runner import load
from clcore.store import open_store


def found(folder) -> dict:
    return {data.title: data for data in availability(catalogue().benchmarks, folder)}


def put(folder, name: str, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "wb") as file:
        file.truncate(size)


def test_every_benchmark_has_its_data_set(tmp_path):
    named = [title for data in found(tmp_path).values() for title in data.benchmarks]
    assert set(named) == {card.title for card in catalogue().benchmarks}
    assert "Five data sets" in found(tmp_path)["SVHN"].benchmarks and "Five data sets" in found(tmp_path)["KMNIST"].benchmarks


def test_a_data_set_is_missing_packed_damaged_or_present(tmp_path):
    mnist = found(tmp_path)["MNIST"]
    assert (mnist.state, mnist.where) == ("missing", str(tmp_path / "MNIST" / "raw"))
    assert mnist.size == "12 MB" and "amazonaws" in mnist.origin and "Split MNIST" in mnist.benchmarks
    folder, files = tmp_path / "MNIST" / "raw", next(d for d in KNOWN if d.title == "MNIST").files
    for name in files:
        put(folder, f"{name}.gz", 10)
    assert found(tmp_path)["MNIST"].state == "packed"
    for name, size in files.items():
        put(folder, name, size)
    mnist = found(tmp_path)["MNIST"]
    assert (mnist.state, mnist.bytes) == ("present", sum(files.values()))
    put(folder, "train-labels-idx1-ubyte", 7)
    damaged = found(tmp_path)["MNIST"]
    assert (damaged.state, damaged.wrong) == ("damaged", ("train-labels-idx1-ubyte",))
    assert found(tmp_path)["KMNIST"].state == "missing"


def test_a_data_set_in_one_archive_is_packed_until_it_is_unpacked(tmp_path):
    put(tmp_path, "cifar-100-python.tar.gz", 10)
    cifar = found(tmp_path)["CIFAR-100"]
    assert (cifar.state, cifar.size, cifar.origin) == ("packed", "169 MB", "www.cs.toronto.edu")
    put(tmp_path / "cifar-100-python", "train", 155_249_918)
    put(tmp_path / "cifar-100-python", "test", 3)
    assert found(tmp_path)["CIFAR-100"].wrong == ("test",)
    put(tmp_path, "train_32x32.mat", 5)
    assert found(tmp_path)["SVHN"].state == "missing"
    put(tmp_path, "test_32x32.mat", 6)  # only its checksum tells whether it is whole
    assert (found(tmp_path)["SVHN"].state, found(tmp_path)["SVHN"].bytes) == ("present", 11)


def test_digits_come_with_scikit_learn(tmp_path):
    digits = found(tmp_path)["digits"]
    assert digits.state == "included" and os.path.exists(os.path.join(digits.where, "digits.csv.gz"))
    assert found(tmp_path)["generated"].benchmarks == ("Toy 2-D",)


def test_a_benchmark_newer_than_the_list_is_not_hidden(tmp_path):
    card = next(card for card in catalogue().benchmarks if not card.offline)
    [new] = availability([card.model_copy(update={"downloads": "Sounds, 3 GB"})], tmp_path)
    assert (new.title, new.state, new.size) == ("Sounds", "unknown", "3 GB")


def test_sizes_and_origins_are_those_that_the_loader_uses():
    from torchvision import datasets as vision

    from clcore.benchmarks import mnist_family as family

    facts = {"MNIST": family.MNIST, "FashionMNIST": family.FASHION_MNIST, "KMNIST": family.KMNIST}
    known = {data.title: data for data in KNOWN}
    for title in ("MNIST", "Fashion-MNIST", "KMNIST"):
        data, name = known[title], known[title].folder.split("/")[0]
        assert tuple(data.files.values()) == family._sizes(facts[name])
        assert [f"{file}.gz" for file in data.files] == [archive for archive, _ in getattr(vision, name).resources]
        assert data.origin in getattr(vision, name).mirrors[0]
    letters = known["EMNIST"]
    assert tuple(letters.files.values()) == family._sizes(family.EMNIST_LETTERS) and letters.origin in vision.EMNIST.url
    for title, cifar in (("CIFAR-10", vision.CIFAR10), ("CIFAR-100", vision.CIFAR100)):
        assert [n for n, _ in (*cifar.train_list, *cifar.test_list)] == list(known[title].files)
        assert (known[title].folder, known[title].archive) == (cifar.base_folder, cifar.filename)
        assert known[title].origin in cifar.url
    assert list(known["SVHN"].files) == [vision.SVHN.split_list[part][1] for part in ("train", "test")]
    assert known["SVHN"].origin in vision.SVHN.split_list["train"][0]
    assert known["Omniglot"].origin in vision.Omniglot.download_url_prefix
    assert {d.title for d in KNOWN} >= {d.title for d in found(datasets.Path("x")).values() if d.origin}


# ---- the machine ---------------------------------------------------------------------------------------------------

SMI = """0, NVIDIA H100 80GB HBM3, 1024, 81559, 37
1, Tesla, special edition, 0, 16384, [N/A]
No devices were found
2, broken, [N/A], [N/A], 5
"""


def test_what_nvidia_smi_prints_is_read():
    first, second = load.parse_gpus(SMI)
    assert (first.name, first.used, first.total, first.busy) == ("NVIDIA H100 80GB HBM3", 1 << 30, 81559 << 20, 0.37)
    assert (second.index, second.name, second.busy) == (1, "Tesla, special edition", None)


@pytest.mark.parametrize("script", ["exit 9", "echo nonsense", None])
def test_without_a_working_driver_there_is_no_gpu(tmp_path, monkeypatch, script):
    if script is not None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load.gpus() == []


def test_a_busy_processor_is_seen(monkeypatch):
    readings = iter([(0.0, 0.0, 0.0), (2.0, 3.0, 4.0), (4.0, 3.0, 8.0)])
    monkeypatch.setattr(load.Processors, "_read", staticmethod(lambda: next(readings)))
    clock = iter([2.5, 9.0])
    monkeypatch.setattr(load.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(load.time, "sleep", lambda seconds: None)
    processors = load.Processors()
    assert processors.share() == 0.75
    assert processors.share() == 0.75  # half a second later: too soon to look again
    assert processors.share() == 0.0


def test_memory_disk_and_own_size(tmp_path):
    used, total = load.memory()
    free, size = load.disk(tmp_path / "not" / "yet")
    assert 0 < used < total and 0 < free <= size and load.cores() >= 1
    import psutil

    mine = load.resident(os.getpid(), psutil.Process().create_time())
    assert mine > 1 << 20 and load.resident(os.getpid(), time.time() - 10**6) is None and load.resident(None, None) is None


# ---- the report ----------------------------------------------------------------------------------------------------


def test_versions_are_found_without_importing():
    versions = package_versions()
    assert versions["Python"] == ".".join(map(str, sys.version_info[:3])) and versions["streamlit"].startswith("1.")
    assert all(versions.values())


def test_secrets_stay_out(monkeypatch, tmp_path):
    store = open_store()
    monkeypatch.setenv("CLCORE_INSTRUCTOR_CODE", "chalk-and-cheese")
    monkeypatch.setenv("CLCORE_DATABASE_URL", "postgresql+psycopg://lab:s3cret@db.school/runs")
    values = {s.variable: s for s in settings_in_effect()}
    assert values["CLCORE_DATABASE_URL"].value == "postgresql+psycopg://lab:***@db.school/runs"
    assert values["CLCORE_INSTRUCTOR_CODE"].value == "set" and values["CLCORE_INSTRUCTOR_CODE"].secret
    assert values["CLCORE_HOME"].given and not values["CLCORE_RUNS_PER_PERSON"].given
    text = report(store)
    assert "s3cret" not in text and "chalk-and-cheese" not in text and "lab:***@db.school" in text
    store.close()


def test_a_report_names_what_failed_and_ends_the_log(tmp_path, monkeypatch):
    from tests.pages.recorded import experiment

    store = open_store()
    [run_id] = store.add(experiment(), owner="Ada")
    from clcore import events as ev

    store.end(run_id, ev.RunFailed(message="The disk is full."))
    log = tmp_path / "home" / "logs" / "runner.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("\n".join(f"line {n}" for n in range(100)))
    monkeypatch.setenv("HOME", str(tmp_path))
    text = report(store)
    assert f"{run_id} finetune on permuted-digits: The disk is full." in text and "runs: 1 failed" in text
    assert "line 99" in text and "line 84" not in text and "Ada" not in text
    assert "CLCORE_HOME = ~/home" in text and str(tmp_path) not in text
    store.close()
