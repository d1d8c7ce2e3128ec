"""Gradient samples: everything that went through a backward pass for training, per replica, through checkpoints."""

from __future__ import annotations

import pytest
import torch

from clcore.control import Control
from clcore.errors import Cancelled, TrainingError
from clcore.events import Evaluated
from clcore.methods.finetune import Finetune
from clcore.provenance import commit
from tests.training_cases import digits_run, learner_for, result_of

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"tasks": 3, "options": {"train_per_task": 64}}


def gradient_samples(result) -> list[int]:
    assert result["gradient_samples"] == sum(r["gradient_samples"] for r in result["replicas"])
    return [r["gradient_samples"] for r in result["replicas"]]


def test_fine_tuning_costs_its_stream():
    result = result_of(digits_run("finetune", seeds=(0, 1), epochs=2, **SMALL))
    assert gradient_samples(result) == [2 * 3 * 64] * 2 and result["train_samples"] == 2 * 2 * 3 * 64


def test_replayed_examples_cost_too_and_replicas_differ():
    result = result_of(digits_run("er", memories=(0, 5, 100), **SMALL))
    assert gradient_samples(result) == [3 * 64, 3 * 64 + 2 * 4 * 5, 3 * 64 + 2 * 4 * 16]
    assert result["gradient_samples"] == result["train_samples"] + result["replayed_samples"]


def test_joint_training_goes_through_the_union():
    assert gradient_samples(result_of(digits_run("joint", **SMALL))) == [(1 + 2 + 3) * 64]


@pytest.mark.parametrize(("estimator", "passes"), [("exact", 10), ("sampled", 1), ("empirical", 1)])
@pytest.mark.parametrize(("samples", "used"), [(40, 40), (1000, 64), (None, 64)])
def test_ewc_pays_for_its_fisher_information(estimator, passes, samples, used):
    """One backward pass per label of the exact Fisher; none after the last task."""
    run = digits_run("ewc", settings={"ewc.fisher": estimator, "ewc.fisher_samples": samples}, **SMALL)
    assert gradient_samples(result_of(run)) == [3 * 64 + 2 * used * passes]


def test_the_exact_fisher_counts_the_labels_that_are_active():
    run = digits_run("ewc", benchmark="split-digits", scenario="class", settings={"ewc.fisher_samples": 10})
    plain = digits_run("finetune", benchmark="split-digits", scenario="class")
    extra = 10 * (2 + 4 + 6 + 8)
    assert gradient_samples(result_of(run))[0] == gradient_samples(result_of(plain))[0] + extra


def test_a_composition_pays_for_its_parts():
    both, replay = (
        gradient_samples(result_of(digits_run(m, memories=(20,), **SMALL)))[0] for m in ("er+ewc", "er")
    )  # fmt: skip
    assert both == replay + 2 * 64 * 10


@pytest.mark.parametrize(
    ("method", "extra"),
    [
        ("online-ewc", 2 * 64 * 10),  # as EWC
        ("mas", 2 * 64),  # one backward pass for the length of the output
        ("mas-local", 0),  # reads activations only
        ("si", 0),
        ("rwalk", 0),
        ("lwf", 0),  # the old network only answers
        ("gem", 4 * 10 + 4 * 20),  # four steps a task, each over the ten examples kept of every past one
        ("mir", 2 * (64 + 4 * 16)),  # in tasks with a memory: the step tried out, and what is replayed
        ("agem", 4 * 10 + 4 * 20),  # fewer than a reference batch: all of them
    ],
)
def test_a_method_pays_for_its_own_passes(method, extra):
    result = result_of(digits_run(method, memories=(30,), **SMALL))
    assert gradient_samples(result) == [3 * 64 + extra]


@pytest.mark.parametrize("method", ["er", "er+ewc"])
def test_streams_of_unequal_length_count_as_they_would_alone(method):
    case = {"benchmark": "split-digits", "options": {"order": "seeded"}, "batch_size": 7, "memories": (40,)}
    run = digits_run(method, seeds=range(3), **case)
    assert len(set(learner_for(run).stream.tasks[0].train.lengths.tolist())) > 1
    together = gradient_samples(result_of(run))
    assert together == [gradient_samples(result_of(digits_run(method, seeds=(s,), **case)))[0] for s in range(3)]


def test_what_a_replica_costs_does_not_depend_on_its_neighbours():
    together = gradient_samples(result_of(digits_run("mir", memories=(0, 30), **SMALL)))
    assert together == [gradient_samples(result_of(digits_run("mir", memories=(m,), **SMALL)))[0] for m in (0, 30)]


def test_interrupted_and_resumed_costs_the_same(tmp_path):
    run = digits_run("er+ewc", seeds=(0, 1), memories=(20,), **SMALL)
    control, checkpoint = Control(), tmp_path / "run.pt"

    def report(event):
        if isinstance(event, Evaluated) and event.task == 3:
            control.want("cancel")
        return 7

    with pytest.raises(Cancelled) as stop:
        result_of(run, checkpoint=checkpoint, control=control, report=report)
    whole = gradient_samples(result_of(run))
    assert 0 < gradient_samples(stop.value.result)[0] < whole[0]
    assert gradient_samples(result_of(run, checkpoint=checkpoint)) == whole


def test_a_checkpoint_of_an_older_program_is_refused(tmp_path):
    run, checkpoint, control = digits_run("finetune", **SMALL), tmp_path / "run.pt", Control()

    def report(event):
        if isinstance(event, Evaluated) and event.task == 2:
            control.want("cancel")
        return 7

    with pytest.raises(Cancelled):
        result_of(run, checkpoint=checkpoint, control=control, report=report)
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "version": 1}, checkpoint)
    with pytest.raises(TrainingError, match="another version of the program"):
        result_of(run, checkpoint=checkpoint)


def test_a_charge_leaves_out_who_takes_no_part(monkeypatch):
    """Within a phase: replicas that step. Between phases: those that have not diverged."""
    monkeypatch.setattr(Finetune, "edit_gradients", lambda self, batch: self.context.charge(batch.count))
    monkeypatch.setattr(Finetune, "end", lambda self, task: self.context.charge(1000))
    run = digits_run("finetune", seeds=range(2), benchmark="split-digits", options={"order": "seeded"})
    learner = learner_for(run)
    task = learner.stream.tasks[0]
    learner.alive[1] = False
    learner.learn(task)
    own = int(task.train.lengths[0])
    assert learner.counters.gradient_samples == [2 * own + 1000, 0]


def test_bytes_are_everything_that_is_charged():
    result = result_of(digits_run("er+ewc", memories=(0, 30), **SMALL))
    for replica in result["replicas"]:
        assert replica["bytes"] == sum(replica["footprint"].values())
    assert result["replicas"][1]["bytes"] - result["replicas"][0]["bytes"] == 30 * (64 + 8)


def test_the_result_states_its_protocol():
    stated = result_of(digits_run("ewc", seeds=(0, 1), settings={"ewc.strength": 30.0}, **SMALL))["protocol"]
    assert stated["seeds"] == 2 and "t-interval" in stated["interval"] and stated["device"] == "cpu"
    assert stated["selection"]["kind"] == "given" and not stated["selection"]["provenance"]  # found with a longer training
    assert stated["code_version"] and stated["versions"]["torch"] == torch.__version__
    assert stated["commit"] == commit()  # None where the tests do not run from a checkout
