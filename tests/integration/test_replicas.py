"""The replica axis: alone or among others, a replica is the same, bit for bit on the CPU."""

import pytest
import torch

from tests.training_cases import assert_independent, digits_run, identical, trained, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = {
    "finetune": dict(method="finetune", seeds=range(16)),
    "finetune with Adam": dict(method="finetune", seeds=range(16), optimizer="adam"),
    "finetune with momentum and decay": dict(method="finetune", seeds=range(16), momentum=0.9, weight_decay=1e-3, lr=0.02),
    "ewc, implicit": dict(method="ewc", seeds=range(4), strengths=(0, 1, 30, 1e6)),
    "ewc, explicit with Adam": dict(method="ewc", seeds=range(4), strengths=(0, 1, 30, 300), optimizer="adam"),
    "ewc, sampled Fisher": dict(method="ewc", seeds=range(4), strengths=(0, 10, 20, 30), settings={"ewc.fisher": "sampled"}),
    "l2": dict(method="l2", seeds=range(4), strengths=(0, 0.01, 0.1, 1)),
    "er, budgets": dict(method="er", seeds=range(4), memories=(0, 7, 50, 300)),
    "er, online": dict(method="er", seeds=range(4), memories=(0, 7, 50, 300), settings={"er.memory_update": "online"}),
    "er, sum of means": dict(method="er", seeds=range(4), memories=(0, 7, 50, 300), settings={"er.loss": "sum"}),
    "er+ewc": dict(method="er+ewc", seeds=range(2), strengths=(0, 30), memories=(0, 7, 20, 50)),
    "joint": dict(method="joint", seeds=range(16)),
    "single": dict(method="single", seeds=range(16)),
    "odd widths": dict(method="ewc", seeds=range(4), strengths=(0, 3, 30, 300), hidden=(33, 17)),
    "odd batch": dict(method="er", seeds=range(4), memories=(0, 9, 50, 99), batch_size=7),
    "linear softmax": dict(method="ewc", seeds=range(4), strengths=(0, 3, 30, 300), hidden=()),
    # Seeded class order: every seed's tasks have other sizes, so replicas are through at different steps.
    "unequal streams": dict(
        method="ewc", seeds=range(16), benchmark="split-digits", scenario="class", options={"order": "seeded"}
    ),
    "unequal streams, er": dict(
        method="er", seeds=range(4), memories=(0, 10, 50, 100), benchmark="split-digits", scenario="task",
        options={"order": "seeded"}, settings={"er.memory_update": "online"},
    ),
    "unequal streams, momentum": dict(
        method="er", seeds=range(4), memories=(0, 10, 50, 100), benchmark="split-digits", scenario="class",
        options={"order": "seeded"}, momentum=0.9, lr=0.02,
    ),
    # Long enough that replicas which are through are looked at (every 16 steps) while the others go on.
    "long unequal streams, er": dict(
        method="er", seeds=range(16), memories=(40,), benchmark="split-digits", scenario="class",
        options={"order": "seeded", "tasks": 2}, batch_size=2,
    ),
    "unequal streams, sampled Fisher": dict(
        method="ewc", seeds=range(16), benchmark="split-digits", scenario="class",
        options={"order": "seeded", "validation": 0.04}, settings={"ewc.fisher": "sampled", "ewc.fisher_samples": None},
    ),
    "task scenario with decay": dict(
        method="er", seeds=range(4), memories=(0, 10, 50, 100), benchmark="split-digits", scenario="task",
        weight_decay=1e-2,
    ),
    "toy": dict(
        method="ewc", seeds=range(4), strengths=(0, 3, 30, 300), benchmark="toy-2d", hidden=(9, 5), batch_size=5, tasks=4
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_replica_is_the_same_alone_and_among_fifteen_others(case):
    assert_independent(**case)


def test_unequal_streams_are_unequal():
    """The cases above would prove nothing if every replica took the same number of steps."""
    run = digits_run(
        "finetune", seeds=range(16), benchmark="split-digits", scenario="class", options={"order": "seeded"}
    )
    lengths = trained(run, tasks=0).stream.tasks[0].train.lengths
    steps = (lengths + run.batch_size - 1) // run.batch_size
    assert steps.min() < steps.max()


def test_seeds_differ_and_strengths_matter():
    learner = trained(digits_run("ewc", seeds=(0, 1), strengths=(0, 30)))
    rows = [weights_of(learner, k) for k in range(4)]
    assert not identical(rows[0], rows[1]) and not identical(rows[0], rows[2])


def test_methods_are_paired():
    """Stream, initial weights and batch order depend on the seed only, never on the method."""
    after_one = [trained(digits_run(m, seeds=(3,)), tasks=1) for m in ("finetune", "ewc", "er", "l2", "single")]
    for other in after_one[1:]:
        assert identical(weights_of(after_one[0], 0), weights_of(other, 0))


@pytest.mark.parametrize(
    "method, grid",
    [
        ("ewc", dict(strengths=(0,))),
        ("l2", dict(strengths=(0,))),
        ("er", dict(memories=(0,))),
        ("er+ewc", dict(strengths=(0,), memories=(0,))),
    ],
)
@pytest.mark.parametrize(
    "optimizer", [{}, {"optimizer": "adam"}, {"weight_decay": 1e-2}, {"optimizer": "adam", "optimizer_state": "keep"}],
    ids=["sgd", "adam", "decay", "keep"],
)  # fmt: skip
@pytest.mark.parametrize("penalty_step", ["implicit", "explicit"])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_nothing_held_is_fine_tuning_bit_for_bit(method, grid, optimizer, penalty_step, scenario):
    settings = {f"{part}.penalty_step": penalty_step for part in method.split("+") if part in ("ewc", "l2")}
    case = dict(seeds=(0, 1), benchmark="split-digits", scenario=scenario, **optimizer)
    plain = trained(digits_run("finetune", **case))
    held = trained(digits_run(method, settings=settings, **case, **grid))
    for row in range(2):
        assert identical(weights_of(plain, row), weights_of(held, row))


def test_memory_zero_is_fine_tuning_also_beside_replicas_that_replay():
    plain = trained(digits_run("finetune", seeds=(0,)))
    replaying = trained(digits_run("er", seeds=(0,), memories=(0, 50, 200)))
    assert identical(weights_of(plain, 0), weights_of(replaying, 0))
    assert not identical(weights_of(plain, 0), weights_of(replaying, 1))


def test_a_diverging_replica_leaves_the_others_alone():
    explicit = {"ewc.penalty_step": "explicit"}
    run = digits_run("ewc", seeds=(0, 1), strengths=(1, 1e7, 30), settings=explicit)
    mixed = trained(run)
    calm = trained(digits_run("ewc", seeds=(0, 1), strengths=(1, 30), settings=explicit))
    assert mixed.alive.tolist() == [True, False, True, True, False, True]
    for here, there in ((0, 0), (2, 1), (3, 2), (5, 3)):
        assert identical(weights_of(mixed, here), weights_of(calm, there))
    assert all(bool(torch.isfinite(p).all()) for p in mixed.classifier.network.parameters())


def test_a_diverging_replica_leaves_the_others_replay_alone():
    case = dict(seeds=(0,), memories=(40,), settings={"ewc.penalty_step": "explicit"}, epochs=2)
    mixed = trained(digits_run("er+ewc", strengths=(1, 1e9), **case))
    calm = trained(digits_run("er+ewc", strengths=(1,), **case))
    assert mixed.alive.tolist() == [True, False]
    assert identical(weights_of(mixed, 0), weights_of(calm, 0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", ["finetune", "ewc, implicit", "er, budgets", "unequal streams, er"])
def test_on_a_gpu_a_replica_is_close_to_itself_alone(case):
    run = digits_run(**CASES[case]).model_copy(update={"device": "cuda"})
    together = trained(run, tasks=1)
    for row in (0, 5, 14):
        alone = trained(run, members=[row], tasks=1)
        for a, b in zip(weights_of(together, row), weights_of(alone, 0), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
