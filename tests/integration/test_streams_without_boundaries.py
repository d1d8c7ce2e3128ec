"""The task-free scenario: what the stream shows where, who hears of what, and when the matrix is filled."""

import dataclasses

import pytest
import torch

from clcore import catalogue, registry
from clcore.benchmarks.course import Course
from clcore.benchmarks.permuted_digits import PermutedDigits
from clcore.benchmarks.rotated_digits import RotatedDigits
from clcore.benchmarks.rotations import rotation_taps
from clcore.benchmarks.split_digits import SplitDigits
from clcore.capacity import course_bytes
from clcore.errors import RequestError
from clcore.events import Evaluated
from clcore.spec import RunSpec
from clcore.training import chance_levels
from tests.training_cases import (
    assert_independent,
    assert_resumes,
    digits_run,
    identical,
    learner_for,
    result_of,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")

CARDS = catalogue.catalogue().methods
HERE = [card.name for card in CARDS if "task-free" in card.scenarios]
BY_CLOCK = [card.name for card in CARDS if "task-free" in card.scenarios and card.needs_boundaries]
UNTOLD = [name for name in HERE if name not in BY_CLOCK]


def build(benchmark, seeds=(0,), **options):
    return benchmark(options, scenario="task-free", data_dir="unused").stream(list(seeds))


def places(stream, epochs, *, parts=None):
    """(tasks or views, ids) of all places of the stream, (K, T·N) each."""
    found = [stream.course.part(t, epochs) for t in range(parts or len(stream.tasks))]
    return torch.cat([part.all_tasks() for part in found], 1), torch.cat([part.indices for part in found], 1)


# ---- what the stream shows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blur", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("benchmark", [PermutedDigits, SplitDigits], ids=lambda b: b.__name__)
def test_every_task_shows_each_of_its_examples_as_often_as_there_are_epochs(benchmark, blur):
    stream = build(benchmark, (0, 5), tasks=5, blur=blur)
    tasks, ids = places(stream, 3)
    for k in range(2):
        for task in stream.tasks:
            shown = ids[k][tasks[k] == task.index]
            assert torch.equal(shown.sort().values, task.train.indices[k].repeat(3).sort().values)


def test_the_mixture_follows_the_line():
    """Over 600 seeds the share of the next task at each place is that of the straight line: every count is binomial."""
    n, epochs, blur, seeds = 20, 2, 0.5, 600
    stream = build(PermutedDigits, range(seeds), tasks=3, train_per_task=n, blur=blur)
    tasks, _ids = places(stream, epochs)
    length, half = n * epochs, int(blur * n * epochs / 2)
    for boundary in (1, 2):
        at = boundary * length
        seen = (tasks[:, at - half : at + half] == boundary).double().sum(0)
        share = (torch.arange(2 * half, dtype=torch.float64) + 0.5) / (2 * half)
        assert ((seen - seeds * share) / (seeds * share * (1 - share)).sqrt()).abs().max() < 4
    pure = torch.ones(3 * length, dtype=torch.bool)
    for at in (length, 2 * length):
        pure[at - half : at + half] = False
    assert torch.equal(tasks[:, pure], (torch.arange(3 * length) // length)[pure].expand(seeds, -1))


def test_without_blur_tasks_change_at_once():
    stream = build(SplitDigits, (0, 1), order="seeded", blur=0.0)
    tasks, _ids = places(stream, 2)
    length = stream.course.length(2)
    assert torch.equal(tasks, (torch.arange(5 * length) // length).expand(2, -1))


def test_an_example_comes_again_after_all_others_of_its_task():
    stream = build(PermutedDigits, (3,), tasks=3, train_per_task=30, blur=1.0)
    tasks, ids = places(stream, 4)
    fresh = torch.cat([stream.course.part(t, 4).fresh for t in range(3)], 1)
    for t in range(3):
        passes = ids[tasks == t].view(4, 30)
        assert all(len(set(one.tolist())) == 30 for one in passes)
        assert fresh[tasks == t].tolist() == [True] * 30 + [False] * 90
    assert stream.course.part(0, 1).fresh is None  # seen once: everything comes for the first time


def test_any_stretch_is_a_piece_of_the_whole():
    stream = build(SplitDigits, (0, 1), blur=0.7)
    tasks, ids = places(stream, 2)
    for start, stop in ((0, 10), (100, 700), (5, 1900)):
        piece = stream.course.between(start, stop, 2)
        assert torch.equal(piece.all_tasks(), tasks[:, start:stop]) and torch.equal(piece.indices, ids[:, start:stop])


def test_a_gradual_stream_turns_with_every_example():
    """Every example is turned by the angle of its place, to half a degree; tests are turned as the stream is when they come."""
    stream = build(RotatedDigits, (0,), tasks=4, max_angle=90.0, gradual=True)
    views, _ids = places(stream, 1)
    length = stream.course.length(1)
    place = torch.arange(4 * length)
    angles = 90 * (views[0] + 1) / (4 * stream.course.views)
    assert (angles[1:] >= angles[:-1]).all() and (angles - 90 * (place + 1) / (4 * length)).abs().max() <= 1
    assert torch.equal(stream.task_of(views[0]), place // length)
    assert [task.name for task in stream.tasks] == ["22°", "45°", "68°", "90°"]
    plain = SplitDigits({}, scenario="class", data_dir="unused").source
    part = stream.course.part(1, 1)
    for at in (0, 500, length - 1):
        x, y = part.gather(torch.tensor([[at]]))
        image = torch.nn.functional.pad(plain.data[part.indices[0, at]].float(), (1, 1, 1, 1)).flatten()
        corners, weights = rotation_taps(8, 8, float(angles[length + at]))
        expected = sum(w * image[corners + o] for w, o in zip(weights, (0, 1, 10, 11), strict=True)) / 16
        torch.testing.assert_close(x.flatten(), expected)
        assert int(y) == int(plain.labels[part.indices[0, at]])
    last, _ = stream.tasks[3].test.gather(torch.tensor([[0]]))
    upright = plain.data[stream.tasks[3].test.indices[0, 0]].float()[0] / 16
    torch.testing.assert_close(last.view(8, 8), upright.rot90(), atol=1e-5, rtol=0)


def test_a_seed_decides_the_stream():
    alone, other = build(PermutedDigits, (7,)), build(PermutedDigits, (2, 7))
    for a, b in zip(places(alone, 2), places(other, 2), strict=True):
        assert torch.equal(a[0], b[1]) and not torch.equal(a[0], b[0])


def test_all_units_compete_and_chance_is_one_of_them():
    split, permuted = build(SplitDigits), build(PermutedDigits)
    assert split.outputs == permuted.outputs == 10 and split.groups.all() and permuted.groups.all()
    assert chance_levels(split) == [[0.1] * 5] * 6 == chance_levels(permuted)


# ---- replicas, checkpoints ------------------------------------------------------------------------------------------

STREAM = {"scenario": "task-free", "options": {"blur": 0.6}}
SIXTEEN = {
    "finetune, adam": dict(method="finetune", seeds=range(16), optimizer="adam", **STREAM),
    "online-ewc": dict(method="online-ewc", seeds=range(4), strengths=(0, 1, 30, 300), **STREAM),
    "si": dict(method="si", seeds=range(4), strengths=(0, 0.1, 1, 10), **STREAM),
    "er": dict(method="er", seeds=range(4), memories=(0, 7, 50, 300), **STREAM),
    "agem": dict(method="agem", seeds=range(4), memories=(0, 7, 50, 300), **STREAM),
    "gdumb": dict(method="gdumb", seeds=range(4), memories=(0, 7, 50, 90), settings={"gdumb.memory_epochs": 2}, **STREAM),
    "joint": dict(method="joint", seeds=range(16), **STREAM),
    "der, split, seeded order": dict(
        method="der", seeds=range(4), memories=(0, 7, 50, 300), benchmark="split-digits", scenario="task-free",
        options={"order": "seeded"},
    ),
    "mir, gradual": dict(
        method="mir", seeds=range(4), memories=(0, 9, 50, 99), benchmark="rotated-digits", scenario="task-free",
        options={"gradual": True}, batch_size=7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SIXTEEN.values(), ids=SIXTEEN)
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(**case)


@pytest.mark.parametrize("method", ["finetune", "er+ewc", "si", "derpp", "agem", "gdumb", "joint"])
def test_resumed_is_as_if_never_interrupted(method, tmp_path):
    settings = {"gdumb.memory_epochs": 2} if method == "gdumb" else {}
    run = digits_run(method, benchmark="split-digits", scenario="task-free", seeds=(0, 1), optimizer="adam",
                     memories=(30,), settings=settings)  # fmt: skip
    assert_resumes(run, tmp_path / "checkpoint")


# ---- who hears of what ----------------------------------------------------------------------------------------------


def through(learner):
    for task in learner.stream.tasks:
        learner.learn(task)
    return learner


def small(method, **more):
    settings = more.pop("settings", {}) | ({"gdumb.memory_epochs": 2} if method == "gdumb" else {})
    options = {"train_per_task": 160, "blur": 0.5, **more.pop("options", {})}
    return digits_run(method, scenario="task-free", epochs=2, settings=settings, memories=(60,), live_points=0,
                      options=options, **more)  # fmt: skip


@pytest.mark.parametrize("method", UNTOLD)
def test_who_needs_no_boundary_is_told_of_none(method, monkeypatch):
    learner = learner_for(small(method))

    def never(task):
        raise AssertionError("told of a boundary")

    monkeypatch.setattr(learner.method, "begin", never)
    monkeypatch.setattr(learner.method, "end", never)
    through(learner)


WHOM = {name: {} for name in HERE} | {
    "er, ring": {"er.policy": "ring"}, "er, balanced": {"er.policy": "balanced"},
    "mir, online": {"mir.memory_update": "online", "mir.exclude_current": True},
    "agem, balanced": {"agem.policy": "balanced", "agem.division": "shrinking"},
}  # fmt: skip


@pytest.mark.parametrize("who", WHOM)
def test_nobody_looks_at_what_task_an_example_is_from(who, monkeypatch):
    """The same stream with its tasks numbered the other way round trains the same network, bit for bit."""
    run = small(who.partition(",")[0], settings=WHOM[who])
    plain = through(learner_for(run))
    part = Course._part

    def renumbered(course, index, epochs):
        tasks, ids, fresh = part(course, index, epochs)
        return 2 - tasks, ids, fresh

    monkeypatch.setattr(Course, "_part", renumbered)
    learner = learner_for(run)
    inputs = learner.stream.examples.inputs
    inputs.permutations = inputs.permutations.flip(1)
    through(learner)
    assert identical(weights_of(plain, 0), weights_of(learner, 0))


class Halves:
    """A course that stops twice as often, so that one is tested at other places."""

    views = 1

    def __init__(self, course):
        self.course, self.between, self.period = course, course.between, course.period

    def length(self, epochs):
        return self.course.length(epochs) // 2

    def part(self, index, epochs):
        return self.between(index * self.length(epochs), (index + 1) * self.length(epochs), epochs)


@pytest.mark.parametrize("method", [name for name in HERE if name not in ("gdumb", "joint")])
def test_it_does_not_matter_where_one_is_tested(method):
    """(GDumb and joint training train for the test.)"""
    plain = through(learner_for(small(method)))
    learner = learner_for(small(method))
    twice = [dataclasses.replace(learner.stream.tasks[i // 2], index=i) for i in range(6)]
    learner.stream = dataclasses.replace(learner.stream, tasks=twice, course=Halves(learner.stream.course))
    through(learner)
    assert identical(weights_of(plain, 0), weights_of(learner, 0))


@pytest.mark.parametrize("method", BY_CLOCK)
def test_the_clock_strikes_at_the_stated_examples(method, monkeypatch):
    """2 epochs of 160 examples, period 0.7: every 224 of 960 examples, with the step that reaches them; never at the end."""
    run = small(method, options={"update_period": 0.7}, batch_size=10)
    learner = learner_for(run)
    steps, heard = 0, []
    after_step, begin, end = learner.method.after_step, learner.method.begin, learner.method.end

    def counting(batch, lr):
        nonlocal steps
        steps += 1
        after_step(batch, lr)

    def hear(what, then):
        def told(task):
            heard.append((what, task.index, steps))
            ids = learner.stream.course.between(224 * task.index, 224 * (task.index + what), 2).indices
            assert torch.equal(task.train.indices, ids)
            then(task)

        return told

    monkeypatch.setattr(learner.method, "after_step", counting)
    monkeypatch.setattr(learner.method, "begin", hear(0, begin))
    monkeypatch.setattr(learner.method, "end", hear(1, end))
    through(learner)
    assert steps == 96 and heard == [
        (0, 0, 0), (1, 0, 23), (0, 1, 23), (1, 1, 45), (0, 2, 45), (1, 2, 68), (0, 3, 68), (1, 3, 90), (0, 4, 90),
    ]  # fmt: skip


def test_the_clock_may_strike_several_times_a_step_and_not_at_the_end():
    learner = learner_for(small("l2", options={"update_period": 0.025}, batch_size=32))  # every 8 examples
    strokes = [learner._strokes(task) for task in learner.stream.tasks]
    assert strokes[0] == {step: [4 * step + i for i in range(4)] for step in range(10)}
    assert strokes[2][9] == [116, 117, 118]
    learner = learner_for(small("l2", options={"update_period": 1.0}))
    assert [learner._strokes(task) for task in learner.stream.tasks] == [{19: [0]}, {19: [1]}, {}]


def test_a_part_of_a_composition_that_needs_no_boundary_is_told_of_none(monkeypatch):
    learner = learner_for(small("er+ewc"))
    told = []
    for name, part in learner.method.parts.items():
        monkeypatch.setattr(part, "end", lambda task, name=name: told.append(name))
    through(learner)
    assert set(told) == {"ewc"} and learner.method.parts["er"].memory.counts.tolist() == [60]


def test_nothing_starts_afresh_at_a_fixed_point():
    learner = learner_for(small("finetune", optimizer="adam"))
    through(learner)
    state = next(iter(learner._kept_optimizers[0].state.values()))
    assert int(state["step"]) == 3 * 20  # Adam has counted every step of the stream


# ---- memories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["er", "mir", "der", "er-ace", "agem", "gdumb"])
def test_a_memory_holds_an_example_once(method):
    memory = through(learner_for(small(method))).method.memory
    held = list(zip(memory.tasks[0].tolist(), memory.ids[0].tolist(), strict=True))
    assert memory.counts.tolist() == [60] and len(set(held)) == 60
    assert memory.counts_by_task().sum() == 60 and (memory.counts_by_task() > 0).all()


def test_a_memory_shows_a_turned_example_as_it_came():
    learner = through(learner_for(small("er", benchmark="rotated-digits", options={"gradual": True})))
    memory, course = learner.method.memory, learner.stream.course
    shown = {}
    for t in range(3):
        part = course.part(t, 2)
        x, _y = part.gather(torch.arange(part.width)[None])
        for view, i, image in zip(part.all_tasks()[0].tolist(), part.indices[0].tolist(), x[0], strict=True):
            shown[view, i] = image
    batch = memory.draw(16)
    for view, i, image in zip(batch.task[0].tolist(), batch.ids[0].tolist(), batch.x[0], strict=True):
        assert torch.equal(image, shown[view, i])
    assert memory.counts_by_task().shape == (1, 3)


def test_a_policy_that_needs_whole_tasks_is_refused():
    for method in ("er", "agem"):
        run = digits_run(method, scenario="task-free", settings={f"{method}.policy": "herding"})
        with pytest.raises(RequestError, match="policy = herding chooses among all examples of a task"):
            learner_for(run)


# ---- what is refused, and what comes out ----------------------------------------------------------------------------


@pytest.mark.parametrize("card", [c for c in CARDS if "task-free" not in c.scenarios], ids=lambda c: c.name)
def test_who_needs_boundaries_is_refused_with_the_reason(card):
    with pytest.raises(RequestError) as refused:
        digits_run(card.name, benchmark="split-digits", scenario="task-free")
    assert card.boundary_reason in registry.methods()[card.name].boundary_reason and card.why_not("task-free")
    assert str(refused.value).startswith(
        f"{card.name} does not work in the task-free scenario: {card.why_not('task-free')}; it works in: "
    )


def test_options_of_the_stream_belong_to_it():
    with pytest.raises(RequestError, match="permuted-digits.blur has a meaning in the task-free scenario only"):
        digits_run("finetune", options={"blur": 0.2})
    with pytest.raises(RequestError, match=r"blur = 1.5 is not allowed: give a number from 0 to 1"):
        digits_run("finetune", scenario="task-free", options={"blur": 1.5})
    domain, free = digits_run("finetune"), digits_run("finetune", scenario="task-free")
    assert "blur" not in domain.benchmark_options and free.benchmark_options["blur"] == 0.5
    other = digits_run("finetune", scenario="task-free", options={"blur": 0.2})
    assert len({run.digest(run.replicas[0]) for run in (domain, free, other)}) == 3
    assert RunSpec.model_validate_json(other.model_dump_json()) == other


def test_the_matrix_is_filled_at_fixed_points():
    """Rows beside the untrained one: one a part; what has no meaning there is no number."""
    replica = result_of(digits_run("finetune", scenario="task-free", epochs=4))["replicas"][0]
    matrix = replica["accuracy_matrix"]
    assert [len(row) for row in matrix] == [3] * 4 and all(v is not None for row in matrix for v in row)
    assert replica["fwt"] is None and replica["learning_accuracy"] is None
    assert replica["bwt"] == pytest.approx(sum(matrix[3][j] - matrix[j + 1][j] for j in range(2)) / 2)
    assert matrix[1][0] > 0.6 and matrix[1][1] > 0.2  # half of the change to the second task has passed by then


def test_the_work_is_that_of_the_other_scenarios():
    for method in ("finetune", "joint"):
        domain, free = (result_of(digits_run(method, scenario=s, epochs=2)) for s in ("domain", "task-free"))
        assert domain["train_samples"] == free["train_samples"]


def test_a_run_says_how_often_it_does_the_work_of_a_boundary():
    note = result_of(small("er+ewc"))["note"]
    assert "Without boundaries er+ewc does the work of a task's end every 128 examples." in note
    assert "Without boundaries" not in result_of(small("er"))["note"]


def test_the_next_task_is_watched_while_the_stream_blends_into_it():
    seen = []
    run = digits_run("finetune", scenario="task-free", live_points=2)
    result_of(run, report=lambda event: seen.append(event) if isinstance(event, Evaluated) else None)
    known = {event.task: [value is not None for value in event.accuracy[0]] for event in seen}
    assert known == {1: [True, True, False], 2: [True, True, True], 3: [True, True, True]}


def test_the_budget_of_equal_compute_is_kept(tmp_path):
    plain = result_of(small("finetune"))["gradient_samples"]
    held = result_of(small("ewc", gradient_samples="fine-tuning"))
    assert held["epochs"] == 1 and held["gradient_samples"] > plain  # what its clock costs is there whatever the epochs
    replayed = result_of(small("er", gradient_samples="fine-tuning"))
    assert replayed["gradient_samples"] == pytest.approx(plain, rel=0.1)


def test_tables_of_a_course_count_as_memory():
    free, told = small("joint"), digits_run("joint")
    benchmark = registry.benchmarks()["permuted-digits"]
    assert course_bytes(told, benchmark) == 0
    part = build(PermutedDigits, train_per_task=160, tasks=3).course.part(0, 2)
    real = sum(t.nbytes for t in (part.table, part.all_tasks(), part.fresh))
    assert course_bytes(free, benchmark) == 3 * real


@pytest.mark.parametrize("name", ["joint+ewc", "joint+er", "gdumb+ewc"])
def test_who_trains_on_data_of_its_own_has_no_companion(name):
    with pytest.raises(RequestError, match="never see the stream pass"):
        digits_run(name, scenario="task-free")
