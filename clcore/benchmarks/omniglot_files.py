"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people (Lake et al., Science 2015). Found, verified and read.

torchvision knows the address and the checksums of the two archives ("background" and "evaluation"); the authors' two small
selections lie beside them. Drawings of 105×105 pixels, ink black on white, become 28×28, ink white on black: the mean of the
area that a pixel covers.
"""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from clcore.benchmarks import downloads
from clcore.benchmarks.base import Progress
from clcore.benchmarks.sources import Source
from clcore.errors import DataError

SIDE = 28
PEOPLE = 20
TRAIN_PEOPLE = 16

_BACKGROUND = {
    "Alphabet_of_the_Magi": 20, "Anglo-Saxon_Futhorc": 29, "Arcadian": 26, "Armenian": 41, "Asomtavruli_(Georgian)": 40,
    "Balinese": 24, "Bengali": 46, "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14, "Braille": 26, "Burmese_(Myanmar)": 34,
    "Cyrillic": 33, "Early_Aramaic": 22, "Futurama": 26, "Grantha": 43, "Greek": 24, "Gujarati": 48, "Hebrew": 22,
    "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16, "Japanese_(hiragana)": 52, "Japanese_(katakana)": 47, "Korean": 40,
    "Latin": 26, "Malay_(Jawi_-_Arabic)": 40, "Mkhedruli_(Georgian)": 41, "N_Ko": 33,
    "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14, "Sanskrit": 42, "Syriac_(Estrangelo)": 23, "Tagalog": 17, "Tifinagh": 55,
}  # fmt: skip
_EVALUATION = {
    "Angelic": 20, "Atemayar_Qelisayer": 26, "Atlantean": 26, "Aurek-Besh": 26, "Avesta": 26, "Ge_ez": 26, "Glagolitic": 45,
    "Gurmukhi": 45, "Kannada": 41, "Keble": 26, "Malayalam": 47, "Manipuri": 40, "Mongolian": 30,
    "Old_Church_Slavonic_(Cyrillic)": 45, "Oriya": 46, "Sylheti": 28, "Syriac_(Serto)": 23, "Tengwar": 25, "Tibetan": 42,
    "ULOG": 26,
}  # fmt: skip
# Archive → alphabets and how many characters each has.
_ARCHIVES = {
    "images_background": _BACKGROUND,
    "images_evaluation": _EVALUATION,
    "images_background_small1": {n: _BACKGROUND[n] for n in ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")},
    "images_background_small2": {
        n: _BACKGROUND[n] for n in ("Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog")
    },
}
_SMALL_MD5 = {
    "images_background_small1": "e704a628b5459e08445c13499850abc4",
    "images_background_small2": "b75a71a51d3b13f821f212756fe481fd",
}
SELECTIONS = {
    "all": ("images_background", "images_evaluation"),
    "small1": ("images_background_small1",),
    "small2": ("images_background_small2",),
}
# Where torchvision keeps it, and where the small archives lie unpacked.
FOLDERS = ("omniglot-py", "omniglot-small")


def alphabets(selection: str) -> dict[str, int]:
    """Name → number of characters, in the order of the stream."""
    return {name: count for archive in SELECTIONS[selection] for name, count in _ARCHIVES[archive].items()}


def load_omniglot(selection: str, data_dir: Path, progress: Progress) -> Source:
    """Every drawing of a selection; classes are characters, alphabet by alphabet. Raises DataError.

    The 20 people who drew an alphabet are numbered: 16 are training data, the last 4 test data, so that a network is tested on
    people it has not seen. The data set is ordered by character, then by person.
    """
    progress("Loading Omniglot", None)
    images = []
    for archive in SELECTIONS[selection]:
        drawings = _drawings(archive, data_dir, progress)
        for alphabet, count in _ARCHIVES[archive].items():
            characters = sorted(drawings.get(alphabet, {}))
            if len(characters) != count or any(len(drawings[alphabet][c]) != PEOPLE for c in characters):
                raise DataError(
                    f"Omniglot in {data_dir / FOLDERS[0]} is damaged ({alphabet} should have {count} characters of {PEOPLE} "
                    f"drawings); delete {archive} there and start again."
                )
            images += [content for character in characters for _, content in sorted(drawings[alphabet][character])]
            progress(f"Reading Omniglot: {alphabet.replace('_', ' ')}", None)
    data = torch.from_numpy(np.stack(images)).unsqueeze(1)
    ids = torch.arange(len(data))
    tested = ids % PEOPLE >= TRAIN_PEOPLE
    return Source(data=data, scale=1 / 255, labels=ids // PEOPLE, train_ids=ids[~tested], test_ids=ids[tested])


def _drawings(archive: str, data_dir: Path, progress: Progress) -> dict[str, dict[str, list[tuple[str, np.ndarray]]]]:
    """Alphabet → character → (file name, reduced drawing), from an unpacked folder or from the archive itself."""
    found: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    unpacked = next((f for name in FOLDERS if (f := data_dir / name / archive).is_dir()), None)
    try:
        if unpacked is not None:
            for file in unpacked.glob("*/*/*.png"):
                found[file.parts[-3]][file.parts[-2]].append((file.name, _reduced(file)))
            return found
        with zipfile.ZipFile(_archive(archive, data_dir, progress)) as packed:
            for name in packed.namelist():
                if name.endswith(".png"):
                    *_, alphabet, character, file = name.split("/")
                    found[alphabet][character].append((file, _reduced(io.BytesIO(packed.read(name)))))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"Omniglot in {data_dir / FOLDERS[0]} cannot be read ({error}); delete {archive} there and start again."
        ) from error
    return found


def _archive(archive: str, data_dir: Path, progress: Progress) -> Path:
    from torchvision.datasets import Omniglot

    md5 = _SMALL_MD5.get(archive) or Omniglot.zips_md5[archive]
    folder = data_dir / FOLDERS[0]
    file = next((f for name in FOLDERS if (f := data_dir / name / f"{archive}.zip").exists()), folder / f"{archive}.zip")
    with downloads.stored("Omniglot", folder):
        return downloads.obtained("Omniglot", file, md5, [f"{Omniglot.download_url_prefix}/{archive}.zip"], progress)


def _reduced(file: Path | io.BytesIO) -> np.ndarray:
    """One drawing as (28, 28) bytes, ink 255."""
    from PIL import Image

    with Image.open(file) as drawing:
        return 255 - np.asarray(drawing.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
