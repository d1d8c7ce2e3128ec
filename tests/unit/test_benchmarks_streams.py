"""Streams of the benchmarks that need no download: what every task holds, and that it depends on the seed alone."""

import importlib
import pkgutil

import pytest
import torch

import clcore.benchmarks as package
from clcore.benchmarks import downloads
from clcore.benchmarks.base import Benchmark
from clcore.benchmarks.permuted_digits import PermutedDigits
from clcore.benchmarks.rotated_digits import RotatedDigits
from clcore.benchmarks.rotations import RotatedInputs, rotation_taps
from clcore.benchmarks.sources import Source
from clcore.benchmarks.split_digits import SplitDigits
from clcore.benchmarks.toy_2d import Toy2D
from clcore.errors import RequestError

OFFLINE = (SplitDigits, PermutedDigits, RotatedDigits, Toy2D)
CASES = [(benchmark, scenario) for benchmark in OFFLINE for scenario in benchmark.scenarios]
SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def build(benchmark, scenario=None, **options):
    return benchmark(options, scenario=scenario or benchmark.default_scenario, data_dir="unused")


def ids_of(split, replica=0):
    return split.indices[replica, : split.lengths[replica]]


def all_of(split, replicas=1):
    """x (K, N, …) and y (K, N) of a whole split whose replicas all have N examples."""
    assert (split.lengths == split.width).all()
    return split.gather(torch.arange(split.width).expand(replicas, -1))


def all_benchmarks():
    for info in pkgutil.iter_modules(package.__path__):
        if info.name not in package.SUPPORT:
            module = importlib.import_module(f"clcore.benchmarks.{info.name}")
            yield info.name.replace("_", "-"), module


def test_every_benchmark_file_holds_one_benchmark_with_its_facts():
    names = []
    for name, module in all_benchmarks():
        own = [
            c
            for c in vars(module).values()
            if isinstance(c, type) and issubclass(c, Benchmark) and c.__module__ == module.__name__
        ]
        assert len(own) == 1, name
        benchmark = own[0]
        assert benchmark.title and benchmark.summary and benchmark.default_scenario in benchmark.scenarios
        assert benchmark.offline == (benchmark.downloads == "")
        assert {"tasks", "train_per_task", "validation", "stream_seed"} <= {
            k.name for k in benchmark.Options.describe()
        }
        assert build(benchmark).name == name
        names.append(name)
    assert set(names) == {
        "split-digits", "permuted-digits", "rotated-digits", "toy-2d", "split-mnist", "permuted-mnist", "rotated-mnist",
        "split-fashion-mnist", "split-kmnist", "split-cifar10", "split-cifar100", "permuted-fashion-mnist",
        "rotated-fashion-mnist", "split-mnist-variation", "split-emnist", "split-svhn", "five-datasets", "omniglot",
        "image-folder",
    }  # fmt: skip


def test_the_list_of_what_runs_offline_is_what_says_so():
    declared = {
        name
        for name, module in all_benchmarks()
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Benchmark) and c.__module__ == module.__name__
        and c.offline and not c.own_data
    }
    assert set(downloads.OFFLINE) == declared


@pytest.mark.parametrize("benchmark", OFFLINE)
def test_declared_counts_are_the_real_ones(benchmark):
    source = build(benchmark).source
    for ids, counts in (
        (source.train_ids, benchmark.facts.train_counts),
        (source.test_ids, benchmark.facts.test_counts),
    ):
        assert tuple(torch.bincount(source.labels[ids]).tolist()) == counts
    assert len(source.data) == benchmark.facts.examples
    assert set(source.train_ids.tolist()).isdisjoint(source.test_ids.tolist())


@pytest.mark.parametrize("benchmark", (SplitDigits, PermutedDigits, RotatedDigits))
def test_digits_are_kept_as_bytes_and_seen_as_floats_from_0_to_1(benchmark):
    made = build(benchmark)
    assert made.source.data.dtype == torch.uint8
    x, y = all_of(made.stream([0]).tasks[0].train)
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert x.shape[2:] == (1, 8, 8) == benchmark.facts.shape
    assert x.min() == 0 and 0.9 < x.max() <= 1 + 1e-6


def test_toy_points_are_floats_in_the_plane():
    stream = build(Toy2D).stream([0])
    x, _ = all_of(stream.tasks[2].train)
    assert x.dtype == torch.float32 and stream.input_shape == (2,)
    (x0, x1), (y0, y1) = stream.bounds
    points = build(Toy2D).source.data
    inside = (points[:, 0] > x0) & (points[:, 0] < x1) & (points[:, 1] > y0) & (points[:, 1] < y1)
    assert inside.float().mean() > 0.99
    assert (x[0].mean(0) < 0).all()  # the third quadrant is the lower left one


@pytest.mark.parametrize(("benchmark", "scenario"), CASES)
def test_training_validation_and_test_examples_are_disjoint_in_the_whole_stream(benchmark, scenario):
    made = build(benchmark, scenario)
    stream = made.stream([3])
    train, validation, test = (
        set(torch.cat([ids_of(getattr(task, which)) for task in stream.tasks]).tolist()) for which in SPLITS
    )
    assert train.isdisjoint(validation) and train.isdisjoint(test) and validation.isdisjoint(test)
    assert test == set(made.source.test_ids.tolist())
    unused = set(made.source.train_ids.tolist()) - train - validation
    if scenario == "task-free" and benchmark is SplitDigits:  # every task has as many as the smallest
        assert len({task.train.width for task in stream.tasks}) == 1 and len(unused) < 60
    else:
        assert not unused


@pytest.mark.parametrize("order", ("natural", "seeded"))
@pytest.mark.parametrize("benchmark", (SplitDigits, Toy2D))
def test_split_tasks_partition_classes_and_examples(benchmark, order):
    made = build(benchmark, order=order)
    stream = made.stream([0, 1])
    for replica in range(2):
        classes = [set(made.source.labels[ids_of(task.test, replica)].tolist()) for task in stream.tasks]
        assert sum(map(len, classes)) == benchmark.facts.classes == len(set.union(*classes))
        for task, own in zip(stream.tasks, classes, strict=True):
            for which in SPLITS:
                assert set(made.source.labels[ids_of(getattr(task, which), replica)].tolist()) == own
        everything = torch.cat([ids_of(task.test, replica) for task in stream.tasks])
        assert sorted(everything.tolist()) == sorted(made.source.test_ids.tolist())


@pytest.mark.parametrize("benchmark", (PermutedDigits, RotatedDigits))
def test_every_task_of_a_whole_set_stream_has_the_full_test_set(benchmark):
    made = build(benchmark)
    for task in made.stream([0]).tasks:
        assert sorted(ids_of(task.test).tolist()) == sorted(made.source.test_ids.tolist())


@pytest.mark.parametrize("tasks", (1, 2, 5, 10))
@pytest.mark.parametrize("scenario", SplitDigits.scenarios)
def test_output_units_of_split_streams(scenario, tasks):
    made = build(SplitDigits, scenario, tasks=tasks, order="seeded")
    stream, per_task = made.stream([5, 9]), 10 // tasks
    assert stream.classes_per_task == per_task
    assert stream.outputs == (per_task if scenario == "domain" else 10)
    assert stream.groups.shape == (tasks, stream.outputs)
    for replica in range(2):
        unit_of = {}
        for task in stream.tasks:
            ids = task.train.ids(torch.arange(task.train.width).expand(2, -1))
            _, y = stream.gather(task.index, ids)
            n = int(task.train.lengths[replica])
            for label, unit in zip(made.source.labels[ids[replica, :n]].tolist(), y[replica, :n].tolist(), strict=True):
                assert unit_of.setdefault(label, unit) == unit
            units = set(y[replica, :n].tolist())
            first = 0 if scenario == "domain" else task.index * per_task
            assert units == set(range(first, first + per_task))
            meant = set(range(10)) if scenario == "task-free" else units  # all compete, whatever the task
            assert set(stream.groups[task.index].nonzero()[:, 0].tolist()) == meant
        assert len(unit_of) == 10


@pytest.mark.parametrize("scenario", PermutedDigits.scenarios)
def test_output_units_of_permuted_streams(scenario):
    made = build(PermutedDigits, scenario, tasks=3)
    stream = made.stream([0])
    shared = scenario in ("domain", "task-free")
    assert stream.outputs == (10 if shared else 30)
    assert stream.groups.sum(1).tolist() == [10, 10, 10]
    assert stream.groups.sum().item() == 30
    for task in stream.tasks:
        _, y = all_of(task.test)
        labels = made.source.labels[task.test.indices]
        assert torch.equal(y, labels + (0 if shared else 10 * task.index))
        assert stream.groups[task.index][y].all()


def test_natural_order_is_the_usual_one_and_names_say_so():
    stream = build(SplitDigits).stream([7])
    assert [task.name for task in stream.tasks] == ["0 · 1", "2 · 3", "4 · 5", "6 · 7", "8 · 9"]
    assert [task.index for task in stream.tasks] == [0, 1, 2, 3, 4]
    assert build(SplitDigits, tasks=1).stream([0]).tasks[0].name == "0 … 9"


def test_seeded_order_follows_the_seed():
    made = build(SplitDigits, order="seeded")

    def first_classes(stream, replica):
        return sorted(set(made.source.labels[ids_of(stream.tasks[0].test, replica)].tolist()))

    stream = made.stream(list(range(8)))
    orders = [first_classes(stream, k) for k in range(8)]
    assert len(set(map(tuple, orders))) > 1
    assert [first_classes(made.stream([k]), 0) for k in range(8)] == orders
    fixed = build(SplitDigits, order="seeded", stream_seed=3).stream([0, 1])
    assert first_classes(fixed, 0) == first_classes(fixed, 1) == orders[3]
    assert set(fixed.tasks[0].name.split(" · ")) == set(map(str, orders[3]))


@pytest.mark.parametrize("order", ("natural", "seeded"))
def test_a_positions_class_is_the_same_for_all_examples_of_a_task(order):
    made = build(SplitDigits, "domain", order=order)
    stream = made.stream([4])
    for task in stream.tasks:
        _, y = task.test.gather(torch.arange(int(task.test.lengths[0]))[None])
        labels = made.source.labels[ids_of(task.test)]
        pairs = set(zip(y[0].tolist(), labels.tolist(), strict=True))
        assert len(pairs) == 2
        if order == "natural":
            assert pairs == {(0, 2 * task.index), (1, 2 * task.index + 1)}


def test_permutations_are_bijections_shared_by_all_splits():
    made = build(PermutedDigits, tasks=4)
    stream = made.stream([0, 1])
    flat = made.source.data.flatten(1).float() / 16
    seen = []
    for task in stream.tasks:
        order = stream.examples.inputs.permutations[0, task.index]
        assert torch.equal(order.sort().values, torch.arange(64))
        seen.append(tuple(order.tolist()))
        for which in SPLITS:
            split = getattr(task, which)
            x, _ = all_of(split, 2)
            assert torch.equal(x[0].flatten(1), flat[split.indices[0]][:, order])
            other = stream.examples.inputs.permutations[1, task.index]
            assert torch.equal(x[1].flatten(1), flat[split.indices[1]][:, other])
    assert len(set(seen)) == 4


def test_the_first_task_may_be_the_images_as_they_are():
    made = build(PermutedDigits, first="identity", tasks=2)
    stream = made.stream([0])
    x, _ = all_of(stream.tasks[0].test)
    assert torch.equal(x[0], made.source.data[stream.tasks[0].test.indices[0]].float() / 16)
    second = build(PermutedDigits, tasks=2).stream([0]).tasks[1]
    assert torch.equal(all_of(stream.tasks[1].test)[0], all_of(second.test)[0])


@pytest.mark.parametrize(
    ("benchmark", "options"),
    [
        (PermutedDigits, {}),
        (PermutedDigits, {"train_per_task": 50}),
        (RotatedDigits, {"angles": "uniform", "train_per_task": 50}),
    ],
)
def test_a_task_does_not_depend_on_how_many_follow(benchmark, options):
    short, long = (build(benchmark, tasks=t, **options).stream([2]) for t in (2, 6))
    for a, b in zip(short.tasks, long.tasks, strict=False):
        for which in SPLITS:
            assert torch.equal(getattr(a, which).indices, getattr(b, which).indices)
            assert torch.equal(all_of(getattr(a, which))[0], all_of(getattr(b, which))[0])


def test_validation_examples_do_not_depend_on_tasks_order_or_scenario():
    def held_out(scenario, seed=2, **options):
        stream = build(SplitDigits, scenario, **options).stream([seed])
        return sorted(torch.cat([ids_of(task.validation) for task in stream.tasks]).tolist())

    held = [
        held_out("class", tasks=5, order="natural"),
        held_out("domain", tasks=2, order="seeded"),
        held_out("task", tasks=10, order="natural"),
    ]
    assert held[0] == held[1] == held[2]
    assert held_out("class", seed=3) != held[0]


@pytest.mark.parametrize("options", ({}, {"train_per_task": 40}, {"stream_seed": 11}))
@pytest.mark.parametrize(("benchmark", "scenario"), CASES)
def test_alone_equals_among_others(benchmark, scenario, options):
    if "order" in {k.name for k in benchmark.Options.describe()}:
        options = {**options, "order": "seeded"}
    made = build(benchmark, scenario, **options)
    seeds = [4, 0, 4, 7]
    among = made.stream(seeds)
    for replica, seed in enumerate(seeds):
        alone = build(benchmark, scenario, **options).stream([seed])
        assert alone.outputs == among.outputs and torch.equal(alone.groups, among.groups)
        for mine, group in zip(alone.tasks, among.tasks, strict=True):
            assert mine.name == group.name
            for which in SPLITS:
                a, b = getattr(mine, which), getattr(group, which)
                assert a.width == b.width and a.lengths[0] == b.lengths[replica]
                positions = torch.arange(a.width)
                x, y = a.gather(positions[None])
                xs, ys = b.gather(positions.expand(len(seeds), -1))
                assert torch.equal(x[0], xs[replica]) and torch.equal(y[0], ys[replica])


@pytest.mark.parametrize("benchmark", [SplitDigits, PermutedDigits, RotatedDigits])
@pytest.mark.parametrize("mixed", [False, True])
def test_what_all_replicas_ask_for_is_there_once(benchmark, mixed):
    """A sweep of one seed reads each example once; the numbers are those that every replica would read by itself."""
    three, one, others = (build(benchmark, "task").stream(seeds) for seeds in ([4, 4, 4], [4], [4, 5, 4]))
    ids = torch.arange(6, 11).expand(3, -1)
    task = (torch.arange(5) % 2).expand(3, -1) if mixed else 1
    mine = task[:1] if mixed else task
    x, y = three.gather(task, ids)
    alone, own_y = one.gather(mine, ids[:1])
    assert x.stride(0) == 0 and x.shape == (3, *alone.shape[1:])
    assert torch.equal(x, alone.expand_as(x)) and torch.equal(y, own_y.expand_as(y))
    apart = ids.clone()
    apart[2, 0] += 1
    for stream, asked in ((three, apart), (others, ids)):
        found, _ = stream.gather(task, asked)
        assert found.stride(0) > 0 and torch.equal(found[0], alone[0])


def test_stream_seed_fixes_the_stream_of_all_replicas():
    for benchmark in (PermutedDigits, RotatedDigits):
        fixed = build(benchmark, stream_seed=5).stream([0, 1]).tasks[1].train
        own = build(benchmark).stream([5]).tasks[1].train
        x, y = all_of(fixed, 2)
        assert torch.equal(x[0], x[1]) and torch.equal(y[0], y[1])
        assert torch.equal(x[0], all_of(own)[0][0])
        different = build(benchmark).stream([0]).tasks[1].train
        assert not torch.equal(x[0], all_of(different)[0][0])


@pytest.mark.parametrize("benchmark", OFFLINE)
def test_train_per_task_draws_that_many(benchmark):
    stream = build(benchmark, train_per_task=30).stream([0, 1])
    for task in stream.tasks:
        assert task.train.lengths.tolist() == [30, 30] and task.train.width == 30
        assert len(set(ids_of(task.train).tolist())) == 30
    assert not torch.equal(stream.tasks[0].train.indices[0], stream.tasks[0].train.indices[1])
    if benchmark in (PermutedDigits, RotatedDigits):
        assert not torch.equal(stream.tasks[0].train.indices, stream.tasks[1].train.indices)


def test_more_training_examples_than_there_are_is_refused_with_the_limit():
    for options in ({}, {"order": "seeded"}):
        made = build(SplitDigits, train_per_task=5000, **options)
        with pytest.raises(
            RequestError, match=r"split-digits\.train_per_task = 5000 is not allowed: .* from 1 to (\d+)"
        ) as e:
            made.stream([0])
        limit = int(str(e.value).split("from 1 to ")[1].split()[0])
        stream = build(SplitDigits, train_per_task=limit, **options).stream([0, 1, 2])
        assert all((task.train.lengths == limit).all() for task in stream.tasks)
        with pytest.raises(RequestError):
            build(SplitDigits, train_per_task=limit + 1, **options).stream([0])


@pytest.mark.parametrize("benchmark", OFFLINE)
def test_without_a_validation_share_there_is_no_validation_split(benchmark):
    made = build(benchmark, validation=0)
    stream = made.stream([0])
    assert all(task.validation is None for task in stream.tasks)
    used = set(torch.cat([ids_of(task.train) for task in stream.tasks]).tolist())
    assert used == set(made.source.train_ids.tolist())


@pytest.mark.parametrize("share", (0.001, 0.1, 0.5))
def test_the_validation_share_is_taken_from_every_class(share):
    made = build(PermutedDigits, validation=share)
    held = torch.bincount(made.source.labels[ids_of(made.stream([0]).tasks[0].validation)], minlength=10)
    for count, available in zip(held.tolist(), made.facts.train_counts, strict=True):
        assert count == max(1, round(share * available))


def test_the_first_examples_of_a_test_set_are_a_fair_sample():
    made = build(PermutedDigits)
    first = made.source.labels[made.stream([0]).tasks[0].test.indices[0, :100]]
    assert (torch.bincount(first, minlength=10) >= 4).all()
    assert not torch.equal(made.stream([0]).tasks[0].test.indices[0], made.source.test_ids)


@pytest.mark.parametrize(("benchmark", "scenario"), CASES)
def test_a_gather_of_mixed_tasks_is_the_gather_of_each(benchmark, scenario):
    stream = build(benchmark, scenario, **({"order": "seeded"} if benchmark in (SplitDigits, Toy2D) else {})).stream(
        [0, 1, 0]
    )
    draw = torch.Generator().manual_seed(0)
    tasks = torch.randint(0, len(stream.tasks), (3, 40), generator=draw)
    positions = torch.randint(0, int(min(t.train.lengths.min() for t in stream.tasks)), (3, 40), generator=draw)
    per_task = [task.train.ids(positions) for task in stream.tasks]
    ids = torch.stack(per_task).gather(0, tasks[None])[0]
    x, y = stream.gather(tasks, ids)
    assert (y >= 0).all()
    for task in stream.tasks:
        own_x, own_y = task.train.gather(positions)
        here = tasks == task.index
        assert torch.equal(x[here], own_x[here]) and torch.equal(y[here], own_y[here])
        again = stream.gather(task.index, per_task[task.index])
        assert torch.equal(again[0], own_x) and torch.equal(again[1], own_y)


@pytest.mark.parametrize("benchmark", OFFLINE)
def test_a_large_gather_is_worked_through_in_pieces_with_the_same_result(benchmark, monkeypatch):
    stream = build(benchmark).stream([0, 1])
    task = stream.tasks[1]
    positions = torch.arange(120).expand(2, -1)
    whole = task.train.gather(positions)[0]
    mixed = stream.gather(torch.ones_like(positions), task.train.ids(positions))[0]
    monkeypatch.setitem(importlib.import_module("clcore.benchmarks.base")._PIECE, "cpu", 7 * 64 * 2)
    assert torch.equal(task.train.gather(positions)[0], whole)
    assert torch.equal(stream.gather(torch.ones_like(positions), task.train.ids(positions))[0], mixed)
    assert torch.equal(whole, mixed)


def turned(image, degrees):
    """`image` (h, w) bytes turned by RotatedInputs."""
    height, width = image.shape
    corners, weights = rotation_taps(height, width, degrees)
    none = torch.zeros(1, dtype=torch.long)
    source = Source(torch.nn.functional.pad(image, (1, 1, 1, 1))[None], 1.0, none, none, none)
    inputs = RotatedInputs(source, (1, height, width), none, corners[None, None], weights[None, None])
    return inputs(0, torch.zeros(1, 1, dtype=torch.long))[0, 0, 0]


@pytest.mark.parametrize("size", (8, 28, 5))
def test_rotation_by_right_angles_is_exact(size):
    image = torch.randint(0, 256, (size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(turned(image, 0.0), image.float())
    for quarters in (1, 2, 3, 4):
        torch.testing.assert_close(turned(image, 90.0 * quarters), image.float().rot90(quarters), atol=1e-3, rtol=0)


def test_rotation_between_right_angles_is_bilinear():
    """Against torch's own resampling, which has another convention for coordinates but the same interpolation."""
    size, degrees = 9, 33.0
    image = torch.randint(0, 256, (size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    turn = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    matrix = torch.tensor([[turn.cos(), -turn.sin(), 0], [turn.sin(), turn.cos(), 0]], dtype=torch.float64)[None]
    grid = torch.nn.functional.affine_grid(matrix, (1, 1, size, size), align_corners=True)
    expected = torch.nn.functional.grid_sample(image[None, None].double(), grid, align_corners=True)[0, 0]
    torch.testing.assert_close(turned(image, degrees), expected.float(), atol=1e-3, rtol=0)


def test_rotated_tasks_are_their_images_turned_by_their_angles():
    made = build(RotatedDigits, tasks=3)
    stream = made.stream([8])
    raw = build(SplitDigits).source.data
    for task, degrees in zip(stream.tasks, made.angles(8), strict=True):
        image = int(task.test.indices[0, 0])
        x, _ = task.test.gather(torch.zeros(1, 1, dtype=torch.long))
        torch.testing.assert_close(x[0, 0, 0], turned(raw[image, 0], degrees) / 16)


def test_angles_lie_in_their_strata_or_anywhere():
    for seed in range(20):
        angles = build(RotatedDigits, tasks=6, max_angle=90).angles(seed)
        assert all(15 * t <= angle < 15 * (t + 1) for t, angle in enumerate(angles))
    uniform = torch.tensor([build(RotatedDigits, angles="uniform").angles(seed) for seed in range(40)])
    assert (uniform >= 0).all() and (uniform < 180).all()
    assert (uniform[:, 0] > 90).any() and (uniform[:, 4] < 90).any()
    assert build(RotatedDigits).angles(3) == build(RotatedDigits).angles(3) != build(RotatedDigits).angles(4)


@pytest.mark.parametrize(
    ("benchmark", "options", "sentence"),
    [
        (SplitDigits, {"tasks": 3}, r"split-digits\.tasks = 3 is not allowed: it must divide 10: 1, 2, 5, 10"),
        (PermutedDigits, {"tasks": 51}, r"permuted-digits\.tasks = 51 is not allowed"),
        (PermutedDigits, {"first": "odd"}, "choose one of permuted, identity"),
        (RotatedDigits, {"max_angle": 400.0}, "from 0 to 360"),
        (Toy2D, {"validation": 0.6}, "from 0 to 0.5"),
        (Toy2D, {"colour": 1}, "toy-2d has no setting 'colour'"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(benchmark, options, sentence):
    with pytest.raises(RequestError, match=sentence):
        build(benchmark, **options)


def test_a_scenario_that_a_benchmark_does_not_have_is_refused():
    with pytest.raises(RequestError, match="rotated-digits has no class scenario; choose one of domain, task"):
        build(RotatedDigits, "class")


def bytes_of(stream, source):
    tensors = [stream.examples.units, stream.examples.rows, source.data, source.labels, stream.groups]
    inputs = stream.examples.inputs
    tensors += [
        getattr(inputs, name) for name in ("data", "permutations", "corners", "weights") if hasattr(inputs, name)
    ]
    for task in stream.tasks:
        for split in (task.train, task.validation, task.test):
            tensors += [split.table, split.lengths] if split is not None else []
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.mark.parametrize("replicas", (1, 20))
@pytest.mark.parametrize("options", ({}, {"train_per_task": 40}, {"stream_seed": 1}, {"validation": 0}))
@pytest.mark.parametrize(("benchmark", "scenario"), CASES)
def test_the_memory_estimate_is_close(benchmark, scenario, options, replicas):
    made = build(benchmark, scenario, **options)
    real = bytes_of(made.stream(list(range(replicas))), made.source)
    estimate = made.memory_estimate(replicas)
    assert 0.9 * real <= estimate <= 1.15 * real + 4096


@pytest.mark.parametrize("replicas", (1, 20))
def test_the_memory_estimate_of_a_gradual_turn_is_close(replicas):
    options = {"gradual": True, "max_angle": 90.0, "tasks": 4}
    made = build(RotatedDigits, "task-free", **options)
    real = bytes_of(made.stream(list(range(replicas))), made.source)
    assert 0.9 * real <= made.memory_estimate(replicas) <= 1.15 * real + 4096


@pytest.mark.parametrize("benchmark", (SplitDigits, PermutedDigits, RotatedDigits))
def test_standardised_inputs_are_an_affine_map_of_the_plain_ones(benchmark):
    plain = build(benchmark, tasks=2, validation=0.0)
    shifted = build(benchmark, tasks=2, validation=0.0, standardise=True)
    images = SplitDigits({}, scenario="class", data_dir="unused").source  # the others may carry a border
    data = images.data[images.train_ids].double() / 16
    for task, other in zip(plain.stream([0]).tasks, shifted.stream([0]).tasks, strict=True):
        positions = torch.arange(40)[None]
        x, y = task.train.gather(positions)
        z, same = other.train.gather(positions)
        assert torch.equal(y, same)
        expected = (x - data.mean()) / data.std(correction=0)
        torch.testing.assert_close(z, expected.float(), rtol=1e-4, atol=1e-4)
