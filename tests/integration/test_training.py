"""Training a run: matrices, null cells, events, checkpoints, divergence, composition."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from clcore import capacity
from clcore.control import Control
from clcore.errors import Cancelled, RequestError, TooLarge, TrainingError
from clcore.events import (
    Answers,
    Diverged,
    Evaluated,
    PhaseStarted,
    Progress,
    Regions,
    Resumed,
    RunFinished,
    RunStarted,
    TaskFinished,
)
from clcore.methods.base import Method
from clcore.methods.composition import seam_owners
from clcore.packing import unpacked
from tests.training_cases import digits_run, identical, learner_for, result_of, trained, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")


def split_run(method="finetune", scenario="class", **more):
    return digits_run(method, benchmark="split-digits", scenario=scenario, epochs=2, **more)


def matrix(result, k=0, which="accuracy_matrix"):
    return result["replicas"][k][which]


def test_the_class_scenario_has_no_row_zero_and_zeros_for_unseen_tasks():
    result = result_of(split_run())
    R = matrix(result)
    assert R[0] == [None] * 5
    for i in range(1, 6):
        assert all(0 <= v <= 1 for v in R[i]) and R[i][i - 1] > 0.5 and R[i][i:] == [0.0] * (5 - i)
    replica = result["replicas"][0]
    assert replica["fwt"] is None and replica["learning_accuracy"] is None
    assert replica["acc"] == pytest.approx(sum(R[5]) / 5)


@pytest.mark.parametrize("scenario, chance", [("task", 0.5), ("domain", 0.5)])
def test_the_other_scenarios_evaluate_the_untrained_network_and_unseen_tasks(scenario, chance):
    events = []
    result = result_of(split_run(scenario=scenario, seeds=range(3)), report=events.append)
    for k in range(3):
        assert all(v is not None for row in matrix(result, k) for v in row)
        assert result["replicas"][k]["fwt"] is not None
    assert events[0].chance[0] == [chance] * 5


def test_single_has_no_network_for_tasks_it_has_not_learned():
    R = matrix(result_of(split_run("single", scenario="task")))
    assert R[0] == [None] * 5 and R[2][2:] == [None] * 3
    for i in range(2, 6):  # what was learned does not change
        assert R[i][: i - 1] == R[i - 1][: i - 1]


def test_joint_on_one_task_is_fine_tuning_on_one_task():
    one = dict(benchmark="permuted-digits", tasks=1)
    assert matrix(result_of(digits_run("joint", **one))) == matrix(result_of(digits_run("finetune", **one)))


def test_joint_goes_through_the_union():
    run = split_run("joint", seeds=(0, 1), options={"order": "seeded"})
    result = result_of(run)
    lengths = torch.stack([t.train.lengths for t in learner_for(run).stream.tasks])
    assert result["train_samples"] == 2 * int(lengths.cumsum(0).sum())
    assert result["replicas"][0]["acc"] > result_of(split_run(options={"order": "seeded"}))["replicas"][0]["acc"] + 0.3
    bytes_per_example = 64 + 8
    assert result["replicas"][1]["footprint"]["memory_samples"] == int(lengths[:, 1].sum()) * bytes_per_example


def test_replayed_examples_are_counted_apart():
    run = digits_run("er", memories=(0, 5, 100), tasks=2, options={"train_per_task": 64})
    result = result_of(run)
    assert result["train_samples"] == 3 * 2 * 64
    assert (
        result["replayed_samples"] == 4 * 5 + 4 * 16
    )  # four steps in the second task; never more than the memory holds


def test_a_replica_that_is_through_does_not_replay():
    """Seeds 0–3 with seeded class order have tasks of different sizes; each counts as it would alone."""
    case = dict(memories=(40,), options={"order": "seeded"}, batch_size=7)
    together = result_of(split_run("er", seeds=range(4), **case))
    alone = [result_of(split_run("er", seeds=(seed,), **case)) for seed in range(4)]
    for key in ("train_samples", "replayed_samples"):
        assert together[key] == sum(result[key] for result in alone)


def test_events_tell_the_whole_story():
    events = []
    result = result_of(digits_run("ewc", seeds=(0, 1), settings={"ewc.penalty_step": "explicit"}), report=events.append)
    kinds = [type(e) for e in events]
    assert kinds[0] is RunStarted and kinds[-1] is RunFinished and kinds.count(TaskFinished) == 4
    assert kinds.count(PhaseStarted) == 3
    assert [e.test for e in events if isinstance(e, TaskFinished)] == [
        [matrix(result, k)[i] for k in range(2)] for i in range(4)
    ]
    live = [e for e in events if isinstance(e, Evaluated)]
    assert len(live) == 9 and live[-1].position == 3.0
    assert all((a is None) == (j >= e.task) for e in live for row in e.accuracy for j, a in enumerate(row))
    assert {"task", "penalty"} == set([e for e in events if isinstance(e, Progress)][-1].losses)
    assert events[-1].result == result


def test_live_evaluation_does_not_change_a_single_number():
    quiet, watched = (matrix(result_of(digits_run("er", live_points=n))) for n in (0, 30))
    assert quiet == watched


def test_groups_do_not_change_results(monkeypatch):
    run = digits_run("er", seeds=range(3), memories=(0, 50))
    together = result_of(run)["replicas"]
    monkeypatch.setattr("clcore.capacity._largest_group", lambda *_: 2)
    events = []
    assert result_of(run, report=events.append)["replicas"] == together
    progress = [e for e in events if isinstance(e, Progress)]
    assert [e.position for e in progress] == sorted(e.position for e in progress) and progress[-1].position == 3.0
    assert progress[-1].train_samples == events[-1].result["train_samples"]
    told, total = progress[-1].train_seconds, events[-1].result["train_seconds"]
    assert 0.6 * total < told <= total  # of all three groups, not of the one that reports


def test_live_evaluation_does_not_disturb_unequal_replicas():
    case = dict(seeds=range(3), memories=(30,), options={"order": "seeded", "tasks": 2}, batch_size=2, scenario="class")
    quiet, watched = (
        result_of(digits_run("er", benchmark="split-digits", live_points=n, **case))["replicas"] for n in (0, 100)
    )
    assert quiet == watched


@pytest.mark.parametrize("method, case", [
    ("er", dict(benchmark="split-digits", scenario="class", options={"order": "seeded", "tasks": 2}, batch_size=2)),
    ("ewc", dict(strengths=(0.0, 100.0, 1e9), settings={"ewc.penalty_step": "explicit"})),  # one of them diverges
    ("den", dict(scenario="task", epochs=2)),
    ("packnet", dict(scenario="task", epochs=2, optimizer="adam")),
])  # fmt: skip
def test_watching_switches_does_not_change_a_single_bit(method, case):
    """Networks of unequal streams, one that diverges, methods with several phases: the same results and the same digests."""
    events = []
    runs = [digits_run(method, seeds=range(2), memories=(30,), watch_switches=n, **case) for n in (0, 20)]
    quiet, watched = (result_of(run, report=events.append)["replicas"] for run in runs)
    assert quiet == watched
    assert any(isinstance(e, Evaluated) and e.switch for e in events)


def test_the_first_steps_of_a_task_are_evaluated_one_by_one():
    events = []
    result_of(digits_run("er", epochs=2, watch_switches=7, live_points=2), report=events.append)
    close = [(e.task, e.step) for e in events if isinstance(e, Evaluated) and e.switch]
    assert close == [(task, step) for task in (1, 2, 3) for step in range(1, 8)]
    ends = [e.position for e in events if isinstance(e, Evaluated) and not e.switch]
    assert ends == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


def test_divergence_in_the_very_last_step_is_seen():
    """λ = 1e9 explodes the weights once the springs pull; with few steps no later loss shows it."""
    for per_task, strength in ((64, 1e9), (80, 1e9), (96, 1e7), (48, 1e12)):
        run = digits_run(
            "ewc", strengths=(strength,), tasks=2, options={"train_per_task": per_task},
            settings={"ewc.penalty_step": "explicit"},
        )  # fmt: skip
        (replica,) = result_of(run)["replicas"]
        assert replica["status"] == "diverged" and replica["acc"] is None, (per_task, strength)


def test_validation_is_needed_by_those_who_ask_for_it():
    learner = learner_for(digits_run("finetune", options={"validation": 0.0}))
    with pytest.raises(RequestError, match="validation is 0"):
        learner._validation_accuracy(learner.stream.tasks[0])


def test_a_reference_for_transfer_keeps_no_moments_from_other_tasks():
    case = dict(optimizer="adam", seeds=(0,))
    reset, keep = (result_of(digits_run("single", optimizer_state=s, **case)) for s in ("reset", "keep"))
    assert matrix(reset) == matrix(keep)


def interrupt(run, checkpoint, task=3) -> Cancelled:
    """Trains until the first live evaluation within a task, then cancels."""
    control = Control()

    def report(event):
        if isinstance(event, Evaluated) and event.task == task:
            control.want("cancel")
        return 7

    with pytest.raises(Cancelled) as stop:
        result_of(run, checkpoint=checkpoint, control=control, report=report)
    return stop.value


@pytest.mark.parametrize("method", ["finetune", "ewc", "l2", "er", "er online", "joint", "single", "er+ewc"])
@pytest.mark.parametrize("more", [{}, {"optimizer": "adam", "optimizer_state": "keep"}], ids=["reset", "keep"])
def test_interrupted_and_resumed_equals_never_interrupted(method, more, tmp_path):
    method, _, online = method.partition(" ")
    if online:
        more = {**more, "settings": {"er.memory_update": "online"}}
    run = split_run(method, scenario="task", seeds=(0, 1), options={"order": "seeded"}, **more)
    whole = result_of(run)
    checkpoint = tmp_path / "run.pt"
    partial = interrupt(run, checkpoint).result
    assert (
        partial["status"] == "cancelled" and matrix(partial)[-1] == [None] * 5 and partial["replicas"][0]["acc"] is None
    )
    events = []
    resumed = result_of(run, checkpoint=checkpoint, report=events.append)
    assert isinstance(events[0], Resumed) and events[0].from_seq == 7 and events[0].task == 2
    assert [r["accuracy_matrix"] for r in resumed["replicas"]] == [r["accuracy_matrix"] for r in whole["replicas"]]
    assert [r["validation_matrix"] for r in resumed["replicas"]] == [r["validation_matrix"] for r in whole["replicas"]]
    assert (
        resumed["replayed_samples"] == whole["replayed_samples"] and resumed["train_samples"] == whole["train_samples"]
    )
    assert not checkpoint.exists()


def test_a_checkpoint_resumes_in_the_groups_it_was_made_in(tmp_path, monkeypatch):
    """A GPU may have less memory free after a restart: the plan changes, the run must not be lost."""
    run = split_run("er", seeds=range(3))
    whole = result_of(run)
    interrupt(run, tmp_path / "run.pt")
    monkeypatch.setattr("clcore.capacity._largest_group", lambda *_: 1)
    resumed = result_of(run, checkpoint=tmp_path / "run.pt")
    assert [r["accuracy_matrix"] for r in resumed["replicas"]] == [r["accuracy_matrix"] for r in whole["replicas"]]


def test_a_cancelled_run_says_what_it_has_trained(tmp_path):
    """Three live evaluations a task: a third of task 3's steps were taken, in batches of 16."""
    run = digits_run("er", memories=(50,), options={"train_per_task": 96}, epochs=3)
    partial = interrupt(run, tmp_path / "run.pt").result
    assert partial["train_samples"] == 2 * 3 * 96 + 96
    assert partial["replayed_samples"] == 18 * 16 + 6 * 16


def test_time_spent_holding_is_not_training_time():
    control = Control()
    states = []

    def on_state(state):
        states.append(state)
        if state == "paused":
            threading.Timer(1.5, control.want, [None]).start()

    control._on_state = on_state

    def report(event):
        if isinstance(event, Evaluated) and event.task == 2 and not states:
            control.want("pause")

    started = time.perf_counter()
    result = result_of(digits_run("finetune"), control=control, report=report)
    wall = time.perf_counter() - started
    assert states == ["paused", "running"] and control.held_seconds > 1.4
    assert result["train_seconds"] + result["evaluation_seconds"] < wall - 1.4


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    checkpoint = tmp_path / "run.pt"
    interrupt(digits_run("finetune", seeds=(0,)), checkpoint, task=2)
    with pytest.raises(TrainingError, match="another run"):
        result_of(digits_run("finetune", seeds=(1,)), checkpoint=checkpoint)
    checkpoint.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="cannot be used"):
        result_of(digits_run("finetune", seeds=(0,)), checkpoint=checkpoint)


def test_divergence_is_reported_with_its_term_and_leaves_nulls():
    events = []
    run = digits_run("ewc", strengths=(1, 1e8), settings={"ewc.penalty_step": "explicit"}, epochs=4)
    result = result_of(run, report=events.append)
    (lost,) = [e for e in events if isinstance(e, Diverged)]
    assert (lost.replica, lost.task, lost.term) == (1, 2, "penalty") and lost.step >= 1
    calm, gone = result["replicas"]
    assert (calm["status"], gone["status"]) == ("finished", "diverged") and result["status"] == "finished"
    assert gone["accuracy_matrix"][1][0] > 0.5 and gone["accuracy_matrix"][2] == [None] * 3 and gone["acc"] is None
    assert calm["acc"] is not None


def test_a_learning_rate_that_is_too_large_diverges_in_the_task_term():
    events = []
    result = result_of(digits_run("finetune", lr=99.0, weight_decay=10.0, seeds=(0, 1)), report=events.append)
    lost = [e for e in events if isinstance(e, Diverged)]
    assert lost and {e.term for e in lost} == {"task"}
    assert {r["status"] for r in result["replicas"]} == {"diverged"}


def test_other_heads_stand_still_under_decay_and_kept_moments():
    for more in ({"weight_decay": 0.1, "momentum": 0.9, "lr": 0.02}, {"optimizer": "adam", "optimizer_state": "keep"}):
        run = split_run("finetune", scenario="task", **more)
        learner = learner_for(run)
        head = learner.classifier.network.head
        for task in learner.stream.tasks[:3]:
            before = head.weight.detach().clone()
            learner.learn(task)
            own = learner.stream.groups[task.index]
            assert torch.equal(head.weight[:, :, ~own], before[:, :, ~own])
            assert not torch.equal(head.weight[:, :, own], before[:, :, own])


def test_a_composition_does_what_its_parts_do():
    replay = trained(digits_run("er", settings={}))
    both = trained(digits_run("er+ewc", strengths=(0,)))
    assert identical(weights_of(replay, 0), weights_of(both, 0))
    strong = digits_run("er+ewc", strengths=(100,), settings={"ewc.penalty_step": "explicit"})
    events = []
    result = result_of(strong, report=events.append)
    assert "ewc.penalty" in [e for e in events if isinstance(e, Progress)][-1].losses
    assert {"memory_samples", "importance", "anchors"} <= set(result["replicas"][0]["footprint"])


def test_two_owners_of_one_seam_are_refused():
    class A(Method):
        def predict(self, x, task): ...

    class B(Method):
        def predict(self, x, task): ...

    with pytest.raises(RequestError, match="a and b both decide `predict`"):
        seam_owners([A, B], ["a", "b"])


@pytest.mark.parametrize("method", ["vcl+mir", "mir+vcl", "rwalk+mir", "mir+rwalk", "rwalk+der", "der+rwalk"])
def test_a_part_that_watches_the_pass_is_not_disturbed_by_a_neighbours_replay(method):
    settings = {f"{part}.strength": 1.0 for part in method.split("+") if part in ("vcl", "rwalk", "der")}
    case = dict(method=method, seeds=(0, 1), settings=settings, tasks=2, options={"train_per_task": 96})
    together = trained(digits_run(memories=(0, 50), **case))
    alone = trained(digits_run(memories=(0,), **case))
    for row in range(2):
        assert identical(weights_of(together, 2 * row), weights_of(alone, row))


@pytest.mark.parametrize("names", [("rwalk", "der"), ("rwalk", "mir"), ("vcl", "mir")])
def test_the_order_of_a_compositions_parts_does_not_matter(names):
    settings = {f"{part}.strength": 1.0 for part in names if part != "mir"}
    case = dict(settings=settings, tasks=2, memories=(50,), options={"train_per_task": 96})
    one, other = (trained(digits_run(f"{a}+{b}", **case)) for a, b in (names, names[::-1]))
    assert identical(weights_of(one, 0), weights_of(other, 0))


@pytest.mark.parametrize("method", ["er+ewc", "er+si", "agem+mas", "gem+online-ewc", "der+l2"])
@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
def test_a_regularizer_of_strength_0_leaves_replay_as_it_is(method, penalty_step):
    replay, _, regularizer = method.partition("+")
    settings = {f"{regularizer}.penalty_step": penalty_step}
    case = dict(seeds=(0, 1), memories=(60,))
    alone = trained(digits_run(replay, **case))
    slack, held = (
        trained(digits_run(method, settings={**settings, f"{regularizer}.strength": strength}, **case))
        for strength in (0.0, 0.3)
    )
    for row in range(2):
        assert identical(weights_of(alone, row), weights_of(slack, row))
        assert not identical(weights_of(alone, row), weights_of(held, row))


def test_two_memories_are_refused():
    with pytest.raises(RequestError, match="er and agem would each keep a memory of the whole budget"):
        digits_run("er+agem")


def test_anchors_of_bell_curves_count_their_widths():
    learner = trained(digits_run("ewc+vcl"), tasks=1)
    footprint = learner.footprint()[0]
    assert footprint["importance"] == footprint["anchors"] == 2 * footprint["parameters"]


def test_estimates_know_what_a_method_keeps():
    copies = {name: capacity.copies(digits_run(name)) for name in ("finetune", "ewc", "rwalk", "ewc+vcl")}
    assert copies == {"finetune": 8, "ewc": 8, "rwalk": 16, "ewc+vcl": 20}


def test_footprints_count_what_is_kept():
    parameters = 4 * (65 * 32 + 33 * 32 + 33 * 10)
    result = result_of(digits_run("ewc"))
    assert result["replicas"][0]["footprint_per_task"][0] == {
        "parameters": parameters, "importance": parameters, "anchors": parameters,
    }  # fmt: skip
    result = result_of(digits_run("er", memories=(0, 20)))
    assert [r["footprint"]["memory_samples"] for r in result["replicas"]] == [0, 20 * (64 + 8)]
    result = result_of(digits_run("single"))
    assert result["replicas"][0]["footprint"]["old_networks"] == 2 * parameters


def test_a_request_that_cannot_fit_is_refused_before_it_starts():
    run = digits_run("finetune", seeds=range(400), hidden=(60000, 60000))
    with pytest.raises(TooLarge, match="GiB are free"):
        result_of(run)


def test_validation_is_measured_beside_the_test_data():
    result = result_of(digits_run("finetune", epochs=4))
    validation = matrix(result, which="validation_matrix")
    assert len(validation) == 4 and validation[3][2] > 0.7 and validation != matrix(result)
    assert matrix(result_of(digits_run("finetune", options={"validation": 0.0})), which="validation_matrix") is None


TOY = dict(benchmark="toy-2d", epochs=2, tasks=4, hidden=(9, 5), batch_size=5)


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("method", ["finetune", "ewc", "er", "vcl", "icarl", "bic"])
def test_drawing_regions_does_not_change_a_single_number(method, scenario):
    if method in ("icarl", "bic") and scenario != "class":
        pytest.skip("a method of the class scenario")
    case = dict(TOY, scenario=scenario, seeds=(0, 1))
    quiet, watched = (result_of(digits_run(method, live_points=n, **case))["replicas"] for n in (0, 30))
    assert quiet == watched


def regions(**case):
    events = []
    learner_run = digits_run(**{**TOY, "live_points": 20, **case})
    result_of(learner_run, report=events.append)
    return learner_run, events[0], [e for e in events if isinstance(e, Regions)]


def test_regions_are_what_the_network_answers():
    """The untrained map and the one after every task; one of the first seed's networks of each setting."""
    run, started, maps = regions(method="ewc", seeds=(0, 1), strengths=(1, 30))
    assert [e.task for e in maps if e.position == e.task] == [0, 1, 2, 3, 4]
    assert {tuple(e.replicas) for e in maps} == {(0, 1)} and {len(e.maps[0]) for e in maps} == {1}
    assert all(e.position <= e.task for e in maps) and started.units == ["", ""]
    learner = trained(run)
    last, side = maps[-1], maps[-1].side
    points = torch.tensor(
        [[-1.1 + 2.2 * (column + 0.5) / side, -1.1 + 2.2 * (row + 0.5) / side] for row in range(side) for column in range(side)]
    )
    answers = learner.method.predict(points.expand(4, -1, -1), 3).argmax(-1)
    for k in (0, 1):
        assert list(unpacked(last.maps[k][0])) == answers[k].tolist()


def test_regions_bring_training_points_once():
    run, _, maps = regions(method="finetune")
    first, *rest = maps
    assert all(e.points is None for e in rest) and len(first.points) == 4
    task = learner_for(run).stream.tasks[2]
    x, y = task.train.gather(torch.arange(40).unsqueeze(0))
    assert [p[2] for p in first.points[2]] == y[0].tolist()
    assert [p[0] for p in first.points[2]] == pytest.approx(x[0, :, 0].tolist(), abs=1e-3)


@pytest.mark.parametrize("scenario, alike", [("domain", True), ("class", True), ("task", False)])
def test_tasks_have_maps_of_their_own_where_they_are_told_apart(scenario, alike):
    _, started, maps = regions(method="finetune", scenario=scenario)
    last = maps[-1].maps[0]
    assert len(last) == (1 if alike else 4)
    for j, answers in enumerate(last):
        answered = set(unpacked(answers))
        assert answered <= ({2 * j, 2 * j + 1} if scenario == "task" else set(range(8)))
    assert maps[0].maps[0][1:] == [None] * (len(last) - 1)
    assert started.units[3:5] == ([] if scenario == "domain" else ["NWB", "SWA"])


def test_a_network_of_its_own_for_each_task_has_a_map_of_its_own():
    _, _, maps = regions(method="single")
    assert [m is None for m in maps[-1].maps[0]] == [False] * 4
    after_two = next(e for e in maps if e.position == 2)
    assert after_two.maps[0][:2] == maps[-1].maps[0][:2] and after_two.maps[0][2:] == [None, None]


def test_a_diverged_network_has_no_map():
    settings = {"ewc.penalty_step": "explicit"}
    _, _, maps = regions(method="ewc", strengths=(1, 1e9), settings=settings)
    assert maps[-1].maps[0][0] is not None and maps[-1].maps[1][0] is None


def test_examples_are_asked_about_after_every_task():
    events = []
    run = split_run(scenario="class", seeds=(0, 1), live_points=1)
    result = result_of(run, report=events.append)
    asked = [e for e in events if isinstance(e, Answers)]
    assert [e.task for e in asked] == list(range(6)) and asked[0].called == [[None] * 8]
    examples = asked[0].examples
    assert [(e.task, e.label) for e in examples] == sorted((e.task, e.label) for e in examples)
    assert [e.label for e in examples] == list("01234567") and examples[0].shape == (8, 8)
    learner = learner_for(run)
    x, _ = learner.stream.tasks[0].test.gather(torch.arange(20).expand(2, -1))
    assert list(unpacked(examples[0].image)) in (255 * x[0].flatten(1)).round().int().tolist()
    assert result["replicas"][0]["accuracy_matrix"][5][0] == 0 and asked[-1].called[0][0] not in ("0", None)
    assert asked[1].called[0][:2] == ["0", "1"] and asked[1].called[0][2:] == [None] * 6


def test_answers_in_the_domain_scenario_are_classes_of_the_examples_task():
    events = []
    result_of(split_run(scenario="domain", live_points=1), report=events.append)
    asked = [e for e in events if isinstance(e, Answers)]
    for event in asked:
        for example, called in zip(asked[0].examples, event.called[0], strict=True):
            assert int(called) // 2 == example.task - 1
    assert asked[1].called[0][:2] == ["0", "1"]
