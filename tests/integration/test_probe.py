"""The proof of zero forgetting holds where weights stand still, and falls when one of them moves by a single bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from clcore.accounting import Measured
from clcore.events import TaskFinished, dump, load
from clcore.methods.base import Method, Phase
from clcore.methods.finetune import Finetune
from clcore.report import table
from tests.training_cases import assert_resumes, digits_run, identical, learner_for, result_of, trained, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")
RUN = digits_run("finetune", benchmark="split-digits", scenario="task", seeds=(0, 1), momentum=0.9, weight_decay=1e-3)


@pytest.fixture
def promising(monkeypatch):
    """Fine-tuning that claims not to forget."""
    monkeypatch.setattr(Finetune, "keeps_old_logits", True)


@pytest.fixture
def frozen(promising, monkeypatch):
    """Fine-tuning whose weights stand still, all but the output units of the task at hand."""

    def phases(self, task):
        held = {p: torch.ones_like(p, dtype=torch.bool) for p in self.classifier.network.parameters()}
        head = self.classifier.network.head
        own = self.classifier.groups[task.index]
        held[head.weight][:, :, : len(own)] = ~own
        held[head.bias][:, : len(own)] = ~own
        yield Phase(frozen=held)

    monkeypatch.setattr(Method, "phases", phases)


def test_a_method_that_promises_nothing_is_not_judged():
    result = result_of(RUN)
    assert [r["old_logits"] for r in result["replicas"]] == [None, None]


def test_a_broken_promise_is_told(promising):
    events = []
    result = result_of(RUN, report=events.append)
    for replica in result["replicas"]:
        assert replica["old_logits"]["identical"] is False
        assert replica["old_logits"]["changed_by"] == 2
        assert replica["old_logits"]["largest_change"] > 0.01
    rows = {e.task: e for e in events if isinstance(e, TaskFinished)}
    assert rows[1].old_logits[0].identical is None and rows[2].old_logits[0].identical is False
    assert load(dump(rows[2])) == rows[2]
    assert "promises that old outputs stay as they are, but in 2 of 2 networks" in table([Measured(RUN, result, "x")])


def test_a_kept_promise_is_told_by_every_channel(frozen):
    result = result_of(RUN)
    assert [r["old_logits"] for r in result["replicas"]] == [
        {"identical": True, "changed_by": None, "largest_change": 0.0}
    ] * 2
    json.dumps(result)
    assert "old outputs identical, bit for bit, in all 2 networks" in table([Measured(RUN, result, "x")])
    alone = result | {"replicas": result["replicas"][:1]}
    assert "old outputs identical, bit for bit, in the one network." in table([Measured(RUN, alone, "x")])


def test_one_bit_of_one_weight_in_one_network_is_enough(frozen, monkeypatch):
    """The fault is put in while task 3 is learned, in the second network only."""

    def end(self, task):
        if task.index == 2:
            weight = self.classifier.network.layers[0].weight.data[1]
            x = self.context.stream.tasks[0].test.gather(torch.zeros(2, 1, dtype=torch.long))[0][1, 0].flatten()
            used = int(x.argmax())  # an input that is not zero
            alive = int((self.classifier.network.layers[0](x.expand(2, 1, -1)))[1, 0].argmax())
            weight[used, alive] = torch.nextafter(weight[used, alive], torch.tensor(9.0))

    monkeypatch.setattr(Finetune, "end", end)
    first, second = (r["old_logits"] for r in result_of(RUN)["replicas"])
    assert first == {"identical": True, "changed_by": None, "largest_change": 0.0}
    assert second["identical"] is False and second["changed_by"] == 3
    assert 0 < second["largest_change"] < 1e-4


def test_the_proof_survives_a_checkpoint(promising, tmp_path: Path):
    assert_resumes(RUN, tmp_path / "checkpoint")


def test_looking_does_not_change_what_is_learned(promising, monkeypatch):
    judged = trained(RUN)
    monkeypatch.setattr(Finetune, "keeps_old_logits", False)
    plain = trained(RUN)
    assert judged.probe is not None and plain.probe is None
    assert all(identical(weights_of(judged, k), weights_of(plain, k)) for k in range(2))


def test_a_network_that_blew_up_proves_nothing(frozen):
    learner = learner_for(RUN)
    learner.alive[1] = False
    for task in learner.stream.tasks[:2]:
        learner.learn(task)
    first, second = learner.verdicts()
    assert first["identical"] is True and second is None
