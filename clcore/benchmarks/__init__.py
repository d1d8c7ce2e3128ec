"""Data sets as streams of tasks. One file a benchmark; `SUPPORT` names the shared modules."""

SUPPORT = ("base", "sources", "mnist_family", "partition", "course", "class_splits", "whole_sets", "permutations", "rotations")
