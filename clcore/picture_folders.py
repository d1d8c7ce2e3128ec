"""A person's own pictures: a folder with a folder for each class, or a CSV of paths and labels. Found and checked, not read.

    pictures/cats/….jpg                 the classes are the folders; a share of each becomes test data
    pictures/train/cats/….jpg           who has a test set says so (`test`, or `val` where there is no `test`)
    pictures.csv                        columns path, label and, if there is a test set, split (train, test); paths count from
                                        the file's own folder

Every usual mistake has a sentence that says what to do. No torch: the form of the Lab asks here too.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from clcore.errors import DataError, RequestError
from clcore.text import _, n_

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
LEAST_TRAIN, LEAST_TEST = 2, 1  # pictures of a class: one to learn from, one to hold out for decisions, one to test on
_VALIDATION = ("val", "valid", "validation")


@dataclass(frozen=True)
class Pictures:
    """What was found. `labels` are numbers of `classes`; `tested` says which are test data, None: nobody has said.

    `copies` is how many files were left out because another of the same class has the same content.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    tested: tuple[bool, ...] | None
    copies: int = 0

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Pictures of each class."""
        found = Counter(self.labels)
        return tuple(found[label] for label in range(len(self.classes)))

    def test_counts(self, share: float) -> tuple[int, ...]:
        """Test pictures of each class: those declared, or else this share, rounded, and at least one."""
        if self.tested is None:
            return tuple(max(LEAST_TEST, round(share * n)) for n in self.counts)
        found = Counter(label for label, tested in zip(self.labels, self.tested, strict=True) if tested)
        return tuple(found[label] for label in range(len(self.classes)))

    def check_tasks(self, tasks: int) -> None:
        """Raises RequestError when the classes cannot be dealt out to so many tasks."""
        n = len(self.classes)
        if n % tasks:
            divisors = ", ".join(str(d) for d in range(1, n + 1) if n % d == 0)
            raise RequestError(
                _("tasks = {tasks} is not allowed: it must divide the {n} classes in {place}: {divisors}. Or add or remove "
                  "a class.").format(tasks=tasks, n=n, place=self.root, divisors=divisors)
            )  # fmt: skip


def look(path: str | None, test_share: float = 0.2) -> Pictures:
    """The pictures at `path`. Raises RequestError (nothing there), or DataError (something is wrong with them)."""
    if not path or not path.strip():
        raise RequestError(
            _("image-folder needs a path: a folder that holds a folder of images for each class, or a CSV file with the "
              "columns path and label.")
        )  # fmt: skip
    root = Path(path.strip()).expanduser()
    if root.is_file():
        if root.suffix.lower() not in (".csv", ".txt", ".tsv"):
            raise RequestError(
                _("path = {path} is neither a folder nor a CSV file: name a folder with a folder of images for each class, "
                  "or a .csv.").format(path=path)
            )  # fmt: skip
        entries = _listed(root)
    elif root.is_dir():
        entries = _in_folders(root)
    else:
        raise RequestError(
            _("path = {path} does not exist on the machine that runs Forgetting Lab: check its spelling, or give the "
              "whole path.").format(path=path)
        )  # fmt: skip
    return _checked(root, entries, test_share)


# ---- folders --------------------------------------------------------------------------------------------------------

Entry = tuple[Path, str, bool | None]  # file, class, whether it is test data


def _in_folders(root: Path) -> list[Entry]:
    folders = {folder.name.lower(): folder for folder in _subfolders(root)}
    testing = next((name for name in ("test", *_VALIDATION) if name in folders), None)
    if "train" in folders and testing:
        parts = [(folders[name], name == testing) for name in ("train", "test", *_VALIDATION) if name in folders]
        return [(file, label, tested) for folder, tested in parts for file, label in _of_classes(folder)]
    if set(folders) == {"train"}:
        return [(file, label, None) for file, label in _of_classes(folders["train"])]
    return [(file, label, None) for file, label in _of_classes(root)]


def _of_classes(root: Path) -> list[tuple[Path, str]]:
    found, empty = [], []
    for folder in _subfolders(root):
        files = sorted(file for file in folder.rglob("*") if _is_picture(file))
        found += [(file, folder.name) for file in files]
        if not files:
            empty.append(folder.name)
    if not found and (loose := sum(map(_is_picture, root.iterdir()))):
        raise DataError(
            n_("{place} holds {n} image but no class folders: put the images of each class into a folder of their own there, "
               "named after the class, or list them in a CSV file.",
               "{place} holds {n} images but no class folders: put the images of each class into a folder of their own there, "
               "named after the class, or list them in a CSV file.", loose, place=root)
        )  # fmt: skip
    if not found:
        raise DataError(
            _("{place} holds no class folders with images: every class needs a folder of its own there, with files ending in "
              "{endings}.").format(place=root, endings=", ".join(ENDINGS))
        )  # fmt: skip
    if empty:
        raise DataError(
            _("These folders in {place} hold no images: {names}. Remove them, or put images there (files ending in "
              "{endings}).").format(place=root, names=_some(empty), endings=", ".join(ENDINGS))
        )  # fmt: skip
    return found


def _subfolders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()


# ---- CSV ------------------------------------------------------------------------------------------------------------


def _listed(file: Path) -> list[Entry]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(_("{place} is not text in UTF-8: save it as CSV in UTF-8.").format(place=file)) from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows = csv.DictReader(text.splitlines(), delimiter=separator)
    columns = {name.strip().lower(): name for name in rows.fieldnames or () if name}
    if lacking := [name for name in ("path", "label") if name not in columns]:
        raise DataError(
            _("{place} lacks the column {names}: its first line must name the columns, path,label or path,label,split; it has: "
              "{found}.").format(place=file, names=_(" and ").join(lacking), found=", ".join(columns) or _("none"))
        )  # fmt: skip
    found: list[Entry] = []
    missing, seen = [], {}
    for number, row in enumerate(rows, 2):
        path, label = ((row[columns[name]] or "").strip() for name in ("path", "label"))
        if not path and not label:
            continue
        if not path or not label:
            raise DataError(
                _("Line {line} of {place} has no {what}.").format(line=number, place=file, what="label" if path else "path")
            )
        split = (row[columns["split"]] or "").strip().lower() if "split" in columns else None
        if split not in (None, "train", "test"):
            raise DataError(
                _("Line {line} of {place} has the split '{split}': write train or test.").format(
                    line=number, place=file, split=split
                )
            )
        target = Path(path).expanduser()
        target = target if target.is_absolute() else file.parent / target
        if target in seen:
            raise DataError(
                _("{place} lists {path} twice, in lines {first} and {second}: list every image once.").format(
                    place=file, path=path, first=seen[target], second=number
                )
            )
        seen[target] = number
        if not target.is_file():
            missing.append(path)
        found.append((target, label, None if split is None else split == "test"))
    if missing:
        raise DataError(
            n_("{place} names {n} file that does not exist: {names}. Paths count from the folder that the CSV lies in.",
               "{place} names {n} files that do not exist: {names}. Paths count from the folder that the CSV lies in.",
               len(missing), place=file, names=_some(missing))
        )  # fmt: skip
    if not found:
        raise DataError(_("{place} lists no images: write a line path,label for each.").format(place=file))
    return found


# ---- what must hold of both -----------------------------------------------------------------------------------------


def _checked(root: Path, entries: Sequence[Entry], test_share: float) -> Pictures:
    classes = tuple(sorted({label for _file, label, _tested in entries}))
    if len(classes) < 2:
        raise DataError(
            _("{place} has only one class, {name}: a classifier needs at least two.").format(place=root, name=classes[0])
        )
    number = {name: i for i, name in enumerate(classes)}
    kept, copies = _without_copies(entries)
    declared = kept[0][2] is not None
    found = Pictures(
        root=root,
        classes=classes,
        files=tuple(file for file, _label, _tested in kept),
        labels=tuple(number[label] for _file, label, _tested in kept),
        tested=tuple(bool(tested) for _file, _label, tested in kept) if declared else None,
        copies=copies,
    )
    rows = zip(classes, found.counts, found.test_counts(test_share), strict=True)
    few = [(name, n - test, test) for name, n, test in rows if n - test < LEAST_TRAIN or test < LEAST_TEST]
    if few:
        listed = _some([
            _("{name} ({train} for training, {test} for testing)").format(name=name, train=max(0, train), test=test)
            for name, train, test in few
        ])  # fmt: skip
        raise DataError(
            _("Some classes in {place} have too few images: {names}. Every class needs at least {train} for training and "
              "{test} for testing: add images, or remove the class.").format(
                place=root, names=listed, train=LEAST_TRAIN, test=LEAST_TEST)
        )  # fmt: skip
    return found


def _without_copies(entries: Sequence[Entry]) -> tuple[list[Entry], int]:
    """The entries, of equal files only the first, and how many were left out.

    Raises DataError where one image has two labels, or is both training and test data.
    """
    sizes = defaultdict(list)
    for entry in entries:
        sizes[entry[0].stat().st_size].append(entry)
    left_out: set[Path] = set()
    for alike in sizes.values():
        firsts: dict[bytes, Entry] = {}
        for entry in alike if len(alike) > 1 else ():
            file, label, tested = entry
            with open(file, "rb") as content:
                first = firsts.setdefault(hashlib.file_digest(content, "sha256").digest(), entry)
            if first is entry:
                continue
            if first[1] != label:
                raise DataError(
                    _("{a} and {b} are the same image under two labels, {one} and {other}: remove one of them.").format(
                        a=first[0], b=file, one=first[1], other=label
                    )
                )
            if first[2] != tested:
                raise DataError(
                    _("{a} and {b} are the same image, in the training data and in the test data: remove one of them.").format(
                        a=first[0], b=file
                    )
                )
            left_out.add(file)
    return [entry for entry in entries if entry[0] not in left_out], len(left_out)


def _some(names: Iterable[str]) -> str:
    """The first few names."""
    names = list(map(str, names))
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else _("{names} and {n} more").format(names=shown, n=len(names) - 4)
