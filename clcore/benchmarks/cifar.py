"""CIFAR-10 and CIFAR-100: found, verified, unpacked or downloaded, and read (Krizhevsky, 2009).

torchvision knows the address and the checksums. The files are pickles, so they are only read after their checksum is right.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from clcore.benchmarks import downloads
from clcore.benchmarks.base import Progress
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.errors import DataError

CIFAR10 = SourceFacts(
    shape=(3, 32, 32),
    train_counts=(5000,) * 10,
    test_counts=(1000,) * 10,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)

# The twenty superclasses in their usual order, each with its five classes.
SUPERCLASSES: dict[str, tuple[str, ...]] = {
    "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit and vegetables": ("apple", "mushroom", "orange", "pear", "sweet pepper"),
    "household electrical devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large man-made outdoor things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large natural outdoor scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple tree", "oak tree", "palm tree", "pine tree", "willow tree"),
    "vehicles 1": ("bicycle", "bus", "motorcycle", "pickup truck", "train"),
    "vehicles 2": ("lawn mower", "rocket", "streetcar", "tank", "tractor"),
}

CIFAR100 = SourceFacts(
    shape=(3, 32, 32),
    train_counts=(500,) * 100,
    test_counts=(100,) * 100,
    class_names=tuple(sorted(name for names in SUPERCLASSES.values() for name in names)),  # as the files number them
)

_TITLES = {"CIFAR10": "CIFAR-10", "CIFAR100": "CIFAR-100"}


def load_cifar(name: str, facts: SourceFacts, data_dir: Path, progress: Progress) -> Source:
    """The data set that torchvision calls `name`, from `data_dir`, downloaded where it is missing. Raises DataError."""
    title = _TITLES.get(name, name)
    progress(f"Loading {title}", None)
    from torchvision import datasets  # takes seconds, so only where it is needed

    dataset = getattr(datasets, name)
    folder = data_dir / dataset.base_folder
    parts = [*dataset.train_list, *dataset.test_list]
    with downloads.stored(title, folder):
        if not all((folder / file).exists() for file, _ in parts):
            archive = downloads.obtained(title, data_dir / dataset.filename, dataset.tgz_md5, [dataset.url], progress)
            progress(f"Unpacking {title}: {archive.name}", 1.0)
            kept = [file for file, _ in parts] + [dataset.meta["filename"]]
            downloads.unpack_tar(archive, {f"{dataset.base_folder}/{file}": folder / file for file in kept})
        contents = [_read(folder / file, md5, title) for file, md5 in parts]
    train = sum(facts.train_counts)
    source = Source(
        data=torch.cat([data for data, _ in contents]).view(-1, *facts.shape),
        scale=1 / 255,
        labels=torch.cat([labels for _, labels in contents]),
        train_ids=torch.arange(train),
        test_ids=torch.arange(train, facts.examples),
        parts=3,
    )
    for ids, counts in ((source.train_ids, facts.train_counts), (source.test_ids, facts.test_counts)):
        if tuple(torch.bincount(source.labels[ids], minlength=facts.classes).tolist()) != counts:
            raise DataError(f"{folder} is damaged (its labels are not those of {title}); delete it and start again.")
    return source


def _read(file: Path, md5: str, title: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3072), red, green and blue one after another, and labels (n,) of one file."""
    if not file.exists():
        raise DataError(f"{file} is missing from the archive of {title}; delete the archive and start again.")
    found = pickle.loads(downloads.bytes_of(file, md5, title), encoding="latin1")
    labels = found["labels"] if "labels" in found else found["fine_labels"]
    return torch.from_numpy(found["data"]), torch.tensor(labels)
