"""Data sets as streams of tasks. One file a benchmark; `SUPPORT` names the shared modules."""

SUPPORT = (
    "base", "sources", "downloads", "mnist_family", "cifar", "svhn", "omniglot_files", "partition", "course", "augmentation",
    "features", "class_splits", "colour", "whole_sets", "permutations", "rotations",
)  # fmt: skip
