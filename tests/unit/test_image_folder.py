"""A person's own pictures: what is found, the sentence for every usual mistake, and the stream that is made of them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from clcore.benchmarks import image_folder
from clcore.benchmarks.image_folder import ImageFolder
from clcore.errors import DataError, RequestError
from clcore.picture_folders import look
from clcore.training import train
from tests.training_cases import digits_run

pytestmark = pytest.mark.usefixtures("one_thread")
COLOURS = {"cats": (200, 30, 30), "dogs": (30, 200, 30), "eels": (30, 30, 200), "foxes": (200, 200, 30)}


def paint(file, colour, number=0, size=(40, 30), mode="RGB"):
    """A picture of one colour whose upper left corner tells pictures apart."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    for bit in range(12):
        if number >> bit & 1:
            image.putpixel((size[0] // 2 - 6 + bit, size[1] // 2), (255, 255, 255))
    image.convert(mode).save(file)


def folder(root, each=10, classes=COLOURS, first=0):
    for name in classes:
        for i in range(each):
            paint(root / name / f"{i:03}.png", COLOURS[name], first + i)
    return root


def refusal(path, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        look(str(path), **options)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def build(path, scenario="class", data_dir="unused", **options):
    return ImageFolder({"path": str(path), **options}, scenario=scenario, data_dir=data_dir)


# ---- what is found --------------------------------------------------------------------------------------------------


def test_folders_are_classes_and_other_files_are_left_alone(tmp_path):
    folder(tmp_path)
    (tmp_path / "cats" / "notes.txt").write_text("not a picture")
    (tmp_path / "cats" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".thumbnails").mkdir()
    paint(tmp_path / "dogs" / "more" / "new.JPG", COLOURS["dogs"], 77)
    found = look(str(tmp_path))
    assert found.classes == ("cats", "dogs", "eels", "foxes") and found.counts == (10, 11, 10, 10)
    assert found.tested is None and found.test_counts(0.2) == (2, 2, 2, 2) and found.test_counts(0.5) == (5, 6, 5, 5)


def test_a_test_folder_is_the_test_set_and_a_validation_folder_may_stand_in(tmp_path):
    folder(tmp_path / "train", 6)
    folder(tmp_path / "test", 3, first=100)
    folder(tmp_path / "val", 2, first=200)
    found = look(str(tmp_path))
    assert found.counts == (11,) * 4 and found.test_counts(0.9) == (3,) * 4
    shutil.rmtree(tmp_path / "test")
    assert look(str(tmp_path)).test_counts(0.9) == (2,) * 4


def test_a_csv_lists_paths_from_its_own_folder(tmp_path):
    folder(tmp_path / "all", 4)
    lines = ["split,label,path"]
    for name in ("cats", "dogs"):
        lines += [f"{'test' if i == 3 else 'train'},my {name},all/{name}/{i:03}.png" for i in range(4)]
    for separator in ",;":
        (tmp_path / "list.csv").write_text("\ufeff" + "\n".join(lines).replace(",", separator), encoding="utf-8")
        found = look(str(tmp_path / "list.csv"))
        assert found.classes == ("my cats", "my dogs") and found.test_counts(0.2) == (1, 1) and found.counts == (4, 4)


def test_copies_within_a_class_are_used_once(tmp_path):
    folder(tmp_path)
    shutil.copy(tmp_path / "cats" / "003.png", tmp_path / "cats" / "copy of 003.png")
    found = look(str(tmp_path))
    assert found.copies == 1 and found.counts == (10,) * 4


# ---- the usual mistakes ---------------------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    assert "image-folder needs a path" in refusal("", RequestError)
    assert "nowhere does not exist on the machine" in refusal("nowhere", RequestError)
    (tmp_path / "a.png").write_bytes(b"x")
    assert "neither a folder nor a CSV file" in refusal(tmp_path / "a.png", RequestError)


def test_no_class_folders(tmp_path):
    assert "holds no class folders with images" in refusal(tmp_path)
    paint(tmp_path / "loose.png", (1, 2, 3))
    assert "holds 1 image but no class folders: put the images of each class into a folder" in refusal(tmp_path)
    folder(tmp_path)
    (tmp_path / "ghosts").mkdir()
    assert "These folders in" in refusal(tmp_path) and "ghosts. Remove them" in refusal(tmp_path)


def test_one_class_and_too_few_images(tmp_path):
    folder(tmp_path, classes=["cats"])
    assert "has only one class, cats" in refusal(tmp_path)
    folder(tmp_path, each=2, classes=["dogs"])
    sentence = refusal(tmp_path)
    assert "too few images: dogs (1 for training, 1 for testing). Every class needs at least 2 for training" in sentence


def test_a_class_that_only_the_test_folder_has(tmp_path):
    folder(tmp_path / "train", classes=["cats", "dogs"])
    folder(tmp_path / "test", classes=["cats", "dogs", "eels"], first=50)
    assert "eels (0 for training, 10 for testing)" in refusal(tmp_path)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("file,label\na.png,x", "lacks the column path: .* it has: file, label"),
        ("a.png\nb.png", "lacks the column path and label"),
        ("path,label\n", "lists no images"),
        ("path,label\ncats/000.png,", "Line 2 of .* has no label"),
        ("path,label,split\ncats/000.png,x,dev", "Line 2 of .* has the split 'dev': write train or test"),
        ("path,label\ncats/000.png,x\ncats/000.png,y", "lists cats/000.png twice, in lines 2 and 3"),
        ("path,label\ncats/000.png,x\ncats/no.png,x\ndogs/no.png,y", "names 2 files that do not exist: cats/no.png, dogs"),
    ],
)  # fmt: skip
def test_mistakes_in_a_csv(tmp_path, text, sentence):
    folder(tmp_path, classes=["cats", "dogs"])
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=sentence):
        look(str(tmp_path / "list.csv"))


def test_a_csv_in_another_encoding(tmp_path):
    (tmp_path / "list.csv").write_bytes("path,label\né.png,Füchse".encode("latin-1"))
    assert "is not text in UTF-8" in refusal(tmp_path / "list.csv")


def test_one_image_with_two_labels_or_on_both_sides_is_named(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "test", first=100)
    shutil.copy(tmp_path / "train" / "cats" / "003.png", tmp_path / "test" / "cats" / "again.png")
    assert "again.png are the same image, in the training data and in the test data" in refusal(tmp_path)
    (tmp_path / "test" / "cats" / "again.png").rename(tmp_path / "train" / "dogs" / "again.png")
    assert "the same image under two labels, cats and dogs" in refusal(tmp_path)


def test_classes_that_tasks_do_not_divide(tmp_path):
    folder(tmp_path)
    made = build(tmp_path, tasks=3)
    with pytest.raises(RequestError, match=r"tasks = 3 .* must divide the 4 classes in .*: 1, 2, 4\. Or add or remove a class"):
        made.memory_estimate(1)


def test_unreadable_images_are_named(tmp_path):
    folder(tmp_path)
    (tmp_path / "dogs" / "broken.jpg").write_bytes(b"\xff\xd8\xff half a picture")
    with pytest.raises(DataError, match=r"1 of 41 files is no picture .* read: .*broken\.jpg \(.*\)\. Remove or repair it"):
        build(tmp_path, data_dir=tmp_path / "data").prepare()
    for i in range(5):
        (tmp_path / "eels" / f"bad{i}.png").write_text(f"text {i}")
    with pytest.raises(DataError, match=r"6 of 46 files are no picture .* and 3 more\. Remove or repair them"):
        build(tmp_path, data_dir=tmp_path / "data").prepare()


# ---- the stream -----------------------------------------------------------------------------------------------------


def test_pictures_become_squares_of_bytes(tmp_path):
    place = folder(tmp_path / "pictures")
    made = build(place, size=16, data_dir=tmp_path / "data", validation=0.0)
    source = made.source
    assert source.data.shape == (40, 3, 16, 16) and source.data.dtype == torch.uint8
    for label, colour in enumerate(COLOURS.values()):
        corner = source.data[source.labels == label][:, :, 0, 0]
        assert (corner.int() - torch.tensor(colour)).abs().max() <= 2
    assert made.facts.train_counts == (8,) * 4 and made.facts.test_counts == (2,) * 4
    assert torch.bincount(source.labels[source.test_ids]).tolist() == [2] * 4
    again = build(place, size=16, data_dir=tmp_path / "data")
    assert torch.equal(again.source.test_ids, source.test_ids)  # drawn once for all seeds
    stream = made.stream([0, 1])
    assert [task.name for task in stream.tasks] == ["cats · dogs", "eels · foxes"]
    grey = build(place, size=16, grey=True, data_dir=tmp_path / "data").source
    assert grey.data.shape == (40, 1, 16, 16) and grey.parts == 1


def test_a_picture_is_turned_cut_and_laid_on_white(tmp_path):
    folder(tmp_path, classes=["cats", "dogs"])
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255  # the middle square
    wide[:10, 20:40, 1] = 0
    turned = Image.fromarray(wide).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: to be turned by 90° clockwise
    turned.save(tmp_path / "cats" / "turned.png", exif=exif)
    Image.new("RGBA", (30, 30), (0, 0, 0, 0)).save(tmp_path / "cats" / "clear.png")
    made = build(tmp_path, tasks=1, size=20, data_dir=tmp_path / "data")
    data = dict(zip([f.name for f in made.found.files], made.source.data, strict=True))
    assert bool((data["clear.png"] == 255).all())
    assert torch.equal(data["turned.png"], torch.from_numpy(wide[:, 20:40].copy()).permute(2, 0, 1))


def test_only_the_first_run_reads_them(tmp_path, monkeypatch):
    folder(tmp_path / "pictures")
    told = []
    made = build(tmp_path / "pictures", data_dir=tmp_path)
    made.prepare(lambda message, share: told.append((message, share)))
    assert told == [("Reading pictures: 0 of 40", 0.0)]
    (kept,) = (tmp_path / "image-folder").iterdir()

    def refuse(self, file):
        raise AssertionError("read again")

    monkeypatch.setattr(image_folder.ImageFolder, "_read", refuse)
    assert torch.equal(build(tmp_path / "pictures", data_dir=tmp_path).source.data, made.source.data)
    with pytest.raises(AssertionError):  # another size
        build(tmp_path / "pictures", data_dir=tmp_path, size=16).prepare()
    paint(tmp_path / "pictures" / "cats" / "003.png", (9, 9, 9), 3, size=(50, 50))  # a changed file
    with pytest.raises(AssertionError):
        build(tmp_path / "pictures", data_dir=tmp_path).prepare()


def test_memory_is_known_before_anything_is_read(tmp_path):
    folder(tmp_path)
    made = build(tmp_path, size=64)
    assert made.facts.bytes == 40 * (3 * 64 * 64 + 8)
    assert made.ways_to_shrink().startswith("smaller pictures (size = 32 takes a quarter)")


def test_a_network_learns_a_persons_own_pictures(tmp_path):
    folder(tmp_path / "pictures")
    run = digits_run(
        "er", benchmark="image-folder", scenario="class", tasks=2, epochs=20, batch_size=8, lr=0.05, memories=(10,),
        options={"path": str(tmp_path / "pictures"), "size": 8},
    )  # fmt: skip
    (replica,) = train(run, data_dir=tmp_path)["replicas"]
    assert replica["status"] == "finished" and min(replica["accuracy_matrix"][-1]) == 1.0
