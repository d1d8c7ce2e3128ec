"""What methods show of themselves is folded by name, task and network, and taken back when a run resumes."""

import numpy as np
import pytest

from clcore import events as ev
from clcore.insights import Plane, image_of, over, thinned_moments
from clcore.packing import packed, unpacked
from tests.pages.recorded import experiment, recording
from tests.unit.test_frames import Events, folded


def insight(task, replicas=(0, 1), **arrays):
    return ev.Insight(task=task, replicas=list(replicas), arrays=arrays)


def regions(position, *maps, task=None, replicas=(0,), points=None):
    side = int(len(maps[0]) ** 0.5)
    return ev.Regions(
        task=-(-position // 1) if task is None else task, position=position, replicas=list(replicas), side=side,
        bounds=((0, 1), (0, 1)), maps=[[packed(bytes(m)) for m in maps]] * len(replicas), points=points,
    )  # fmt: skip


def answers(task, *called, examples=None):
    return ev.Answers(task=task, replicas=[0], called=[list(called)], examples=examples)


def example(task=1, label="3", pixels=(0, 1, 2, 255), shape=(2, 2)):
    return ev.Example(task=task, label=label, shape=shape, image=packed(bytes(pixels)))


BEGUN = next(iter(recording(experiment(seeds=3)[0])))


def test_packing_goes_there_and_back():
    values = bytes(range(256)) * 9
    assert unpacked(packed(values)) == values and len(packed(bytes(2304))) < 60


def test_over_networks_needs_three_for_an_interval():
    one, two, three = (over(np.array([[1.0], [3.0], [5.0]])[:n]) for n in (1, 2, 3))
    assert (one.low[0], one.mean[0], one.high[0]) == (1, 1, 1)
    assert (two.low[0], two.mean[0], two.high[0]) == (1, 2, 3)
    assert three.high[0] - three.mean[0] == pytest.approx(4.302653 * 2 / 3**0.5, rel=1e-5)
    assert np.isnan(over(np.array([[np.nan], [1.0], [2.0]])).mean[0])


def test_arrays_are_found_by_name_task_and_network():
    s = folded([BEGUN, insight(1, width=[[1, 2], [3, None]]), insight(2, width=[[5, 6], [7, 8]], bias=[0.5, 0.25])])
    found = s.insights
    assert found.names == ["width", "bias"] and found.tasks("width") == [1, 2] and found.tasks("bias") == [2]
    rows = found.of("width", 1, [0, 1, 2])
    assert list(rows) == [0, 1] and rows[0].tolist() == [1, 2] and np.isnan(rows[1][1])
    assert found.of("bias", 2, [1])[1] == 0.25 and found.of("nothing", 1, [0]) == {}


def test_a_large_array_holds_the_first_networks_only():
    found = folded([BEGUN, insight(1, replicas=(0, 1, 2), image=[[[1.0]]])]).insights
    assert found.replicas("image") == [0]


def test_groups_of_networks_join():
    found = folded([BEGUN, insight(1, replicas=(0, 2), w=[[1], [2]]), insight(1, replicas=(1,), w=[[3]])]).insights
    assert {i: v.tolist() for i, v in found.of("w", 1, [0, 1, 2]).items()} == {0: [1], 1: [3], 2: [2]}


def test_resumed_takes_back_what_came_after_the_checkpoint():
    planes = [regions(float(k), [k] * 4) for k in range(3)]
    said = [answers(0, "1", examples=[example()]), answers(1, "3"), answers(2, "8")]
    events = [BEGUN, planes[0], said[0], insight(1, w=[[1], [1]]), planes[1], said[1]]
    checkpoint = len(events)
    events += [insight(2, w=[[2], [2]], late=[[1], [1]]), planes[2], said[2]]
    s = folded(events)
    assert s.insights.tasks("w") == [1, 2] and len(s.insights.planes([0])) == 3
    before = s.insights.version
    s.pull(Events([*events, ev.Resumed(from_seq=checkpoint, task=1)]))
    found = s.insights
    assert found.tasks("w") == [1] and found.names == ["w"] and found.version > before
    assert [p.position for p in found.planes([0])] == [0, 1] and [a.task for a in found.answers([0])] == [0, 1]
    assert found.examples == [example()]


def test_planes_come_in_the_order_of_training_for_the_setting_asked():
    events = [BEGUN, regions(0.5, [0, 1, 2, 3], task=1, replicas=(0, 1)), regions(0.0, [9] * 4, replicas=(0, 1))]
    planes = folded(events).insights.planes([1, 2])
    assert [p.position for p in planes] == [0, 0.5] and planes[1].maps[0].tolist() == [[0, 1], [2, 3]]
    assert folded(events).insights.planes([2]) == []


def test_a_film_keeps_task_ends():
    planes = [Plane(1 + i // 100, (i + 1) / 100, ()) for i in range(300)]
    kept = thinned_moments(planes, 30)
    assert 30 <= len(kept) <= 34 and {p.position for p in kept} >= {1.0, 2.0, 3.0}


def test_an_examples_pixels():
    assert image_of(example()).tolist() == [[0, 1], [2, 255]]
    assert image_of(example(pixels=range(12), shape=(3, 2, 2))).shape == (3, 2, 2)
