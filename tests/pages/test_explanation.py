"""The sentences follow the numbers."""

import math

import pytest

from clcore.frames import Series, Spread
from clcore.spec import MethodChoice, RunSpec, make
from clcore.ui.explanation import Story, explain, largest_drop, spoken
from tests.pages import recorded
from tests.pages.recorded import experiment, recording


class Events:
    def __init__(self, events):
        self.events = list(enumerate(events, start=1))

    def events_after(self, run_id, seq=0):
        return [(n, e) for n, e in self.events if n > seq]


def story(spec, state="finished", **how) -> Story:
    series = Series("r").pull(Events(recording(spec, **how)))
    return Story(spec.method.name, spec.method.name.upper(), spec.scenario, state, series, series.configs[-1], "λ")


def test_a_live_run_has_its_sentence_before_there_is_a_number():
    spec = experiment()[0]
    waiting = Story("finetune", "F", "domain", "queued", Series("r"), (None, None))
    assert explain([waiting]) == ["**F** has not begun; there is no number yet."]
    assert explain([waiting._replace(state="cancelled")]) == []
    assert "nothing to forget yet" in explain([story(spec, "running", until=0.5)])[0]


def test_while_others_train_a_finished_run_keeps_its_sentence():
    plain, replay = (story(s) for s in experiment("finetune", "er", seeds=5))
    training = replay._replace(state="running", series=story(experiment("er", seeds=5)[0], "running", until=2.5).series)
    alone, both = explain([plain]), explain([plain, training])
    assert "task 3 of 5" in both[0] and both[1:] == alone
    assert len(explain([plain, replay])) == 2  # and as many when all are over


def test_while_training_the_largest_drop_is_named():
    told = story(experiment()[0], "running", until=3.5)
    j, learned, now = largest_drop(told.series, told.config)
    assert j in (1, 2, 3) and learned > now
    (sentence,) = explain([told])
    assert f"Task {j} has dropped {100 * (learned - now):.0f} points" in sentence and "task 4 of 5" in sentence


def test_rehearsal_names_its_memory():
    assert "200 remembered examples" in explain([story(experiment("er")[0], "running", until=1.5)])[0]


def test_joint_training_sees_all_tasks():
    assert "tasks 1 to 3 together" in explain([story(experiment("joint")[0], "running", until=2.5)])[0]


def test_the_end_compares_paired_seeds_with_finetuning():
    plain, replay = (story(s) for s in experiment("finetune", "er", seeds=5))
    told = explain([plain, replay])
    assert "of task 1" in told[0] and "fine-tuning" not in told[0].lower().replace("finetune", "")
    assert "points above fine-tuning" in told[1] and "±" in told[1]


def test_two_seeds_claim_no_difference():
    plain, replay = (story(s) for s in experiment("finetune", "er", seeds=2))
    assert "fine-tuning" not in explain([plain, replay])[1]


def test_a_network_that_never_learned_is_said_to_have_learned_nothing():
    told = story(experiment()[0])
    flat = [[0.1] * 5 for _ in range(6)]
    told.series.replica_matrix = lambda replica: flat
    told.series._known.clear()
    assert explain([told]) == [
        "**FINETUNE** learned nothing: 10 % of task 1 right after training on it, where guessing gives 10 %. "
        "A lower learning rate helps."
    ]


def test_the_same_method_twice_is_not_told_apart():
    plain = story(experiment("finetune", seeds=5)[0])
    again = plain._replace(method="l2", title="L2")
    assert "not to be told apart" in explain([plain, again])[1]


def test_a_sweep_names_its_best_and_both_sides():
    told = explain([story(experiment("ewc", strengths=(0, 10, 100, 10000))[0])])
    assert "highest average" in told[0] and "Weaker (0)" in told[0] and "Stiffer (10000)" in told[0]


def test_several_scenarios_are_put_side_by_side():
    one, two = (story(experiment("finetune", benchmark="split-digits", scenario=s)[0]) for s in ("task", "class"))
    assert "(task)" in explain([one, two])[0] and "(class)" in explain([one, two])[0]


@pytest.mark.parametrize(
    ("scenario", "method", "said"), [("class", "ewc", True), ("class", "er", False), ("domain", "ewc", False)]
)
def test_a_regularizer_that_knows_the_last_task_only_is_the_published_result(monkeypatch, scenario, method, said):
    monkeypatch.setattr(recorded, "accuracy", lambda spec, i, at, task: 0.97 if task == math.ceil(at) else 0.01)
    told = explain([story(experiment(method, benchmark="split-digits", scenario=scenario)[0])])
    assert ("published result" in told[-1]) == said
    if said:
        assert "**EWC** 20.2 ± 0.0 % (3 seeds)" in told[-1] and "last task alone gives 20 %" in told[-1]


def test_a_regularizer_that_keeps_more_is_not_excused():
    told = explain([story(experiment("ewc", benchmark="split-digits", scenario="class")[0])])
    assert not any("published result" in sentence for sentence in told)


def test_divergence_comes_first():
    told = explain([story(experiment("ewc", seeds=2, strengths=(1, 10))[0], diverged=(1,))])
    assert told[0].startswith("1 of 4 networks") and "at λ = 10" in told[0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Spread(0.717, 0.661, 0.773, 5, 0, 5), "71.7 ± 5.6 % (5 seeds)"),
        (Spread(0.5, 0.4, 0.6, 2, 0, 2), "50.0 % (40.0 to 60.0, 2 seeds)"),
        (Spread(0.5, 0.5, 0.5, 1, 0, 1), "50.0 % (1 seed)"),
        (Spread(None, None, None, 0, 2, 5), "2 of 5 diverged"),
        (Spread(None, None, None, 0), "–"),
    ],
)
def test_spoken_numbers(value, words):
    assert spoken(value) == words


def test_what_is_measured_without_boundaries_is_said_once():
    free = [
        story(make(RunSpec, benchmark="permuted-digits", scenario="task-free", method=MethodChoice(name=name)))
        for name in ("finetune", "er")
    ]
    told = explain(free)
    assert [sentence.startswith("Task-free: nobody says") for sentence in told].count(True) == 1 and "5 fixed points" in told[0]
    spec = make(RunSpec, benchmark="permuted-digits", scenario="task-free", method=MethodChoice(name="finetune"))
    assert "is in part 3 of 5 of a stream without boundaries" in explain([story(spec, "running", until=2.5)])[0]


def test_a_task_that_became_better_is_said_to_have(monkeypatch):
    monkeypatch.setitem(recorded.KEPT, "er", 1.05)
    (sentence,) = explain([story(experiment("er")[0])])
    assert "knows task 1 better than when it had learned it" in sentence and "kept" not in sentence
