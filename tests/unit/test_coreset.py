"""Choosing the examples that stand for a task."""

import pytest
import torch

from clcore.methods.parts import coreset
from clcore.randomness import Generators
from tests.training_cases import digits_run, learner_for

pytestmark = pytest.mark.usefixtures("one_thread")
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def split():
    """A task whose replicas have different numbers of examples."""
    run = digits_run("finetune", seeds=SEEDS, benchmark="split-digits", scenario="class", options={"order": "seeded"})
    found = learner_for(run).stream.tasks[0].train
    assert len(set(found.lengths.tolist())) > 1
    return found


def test_the_farthest_of_0_1_10_is_10():
    points = torch.tensor([[[0.0], [1.0], [10.0]]])
    assert coreset.farthest_first(points, torch.tensor([3]), 2).tolist() == [[0, 2]]
    assert coreset.farthest_first(points, torch.tensor([2]), 2).tolist() == [[0, 1]]  # the third is padding


def test_equal_points_are_not_chosen_twice():
    assert sorted(coreset.farthest_first(torch.zeros(1, 4, 2), torch.tensor([4]), 4)[0].tolist()) == [0, 1, 2, 3]


def test_k_center_covers_better_than_chance(split):
    """The largest distance of any example to its nearest chosen one is what k-center keeps small."""

    def radius(chosen):
        positions = torch.arange(split.width).expand(len(SEEDS), -1)
        x, centres = split.gather(positions)[0].flatten(2), split.gather(chosen)[0].flatten(2)
        nearest = torch.cdist(x, centres).amin(2)
        return nearest.masked_fill(positions >= split.lengths.unsqueeze(1), 0).amax(1)

    central = radius(coreset.central_examples(split, 20))
    assert (central < radius(coreset.random_examples(split, 20, Generators(SEEDS, "c")))).all()


@pytest.mark.parametrize("choose", ["random", "central"])
def test_a_coreset_has_its_size_no_duplicates_and_is_disjoint_from_the_rest(split, choose):
    if choose == "random":
        chosen = coreset.random_examples(split, 30, Generators(SEEDS, "c"))
    else:
        chosen = coreset.central_examples(split, 30)
    rest = coreset.without(split, chosen)
    assert chosen.shape == (3, 30) and torch.equal(rest.lengths, split.lengths - 30)
    for k, n in enumerate(split.lengths.tolist()):
        kept, left = set(split.ids(chosen)[k].tolist()), rest.indices[k, : n - 30].tolist()
        assert len(kept) == 30 and kept | set(left) == set(split.indices[k, :n].tolist())
        assert len(set(left)) == n - 30 and not kept & set(left)
        assert left == [i for i in split.indices[k, :n].tolist() if i not in kept]  # in the same order
    positions = torch.zeros(3, 1, dtype=torch.long)
    assert torch.equal(rest.gather(positions)[0], rest._examples.gather(0, rest.indices[:, :1])[0])


def test_a_coreset_does_not_depend_on_the_group(split):
    run = digits_run("finetune", seeds=SEEDS, benchmark="split-digits", scenario="class", options={"order": "seeded"})
    alone = learner_for(run, members=[1]).stream.tasks[0].train
    found = split.ids(coreset.central_examples(split, 25))[1]
    assert torch.equal(found, alone.ids(coreset.central_examples(alone, 25))[0])
    drawn = split.ids(coreset.random_examples(split, 25, Generators(SEEDS, "c")))[1]
    assert torch.equal(drawn, alone.ids(coreset.random_examples(alone, 25, Generators((1,), "c")))[0])
