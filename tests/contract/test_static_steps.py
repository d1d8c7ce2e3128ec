"""What a method promises with `static_step`: a GPU may repeat one recorded step in the place of all others.

There is no GPU where this is tested. A stand-in for the CUDA graph runs the function anew, on the batch that lies where the
recorded one lay, and watches: every step must be the same operations with the same numbers written into them, reading what it
has not computed itself from the same places.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clcore import learner as learner_module
from clcore.catalogue import catalogue
from clcore.recorded_step import RecordedStep
from clcore.registry import methods
from clcore.spec import NetworkChoice, make
from tests.training_cases import digits_run, identical, learner_for, trained, weights_of

pytestmark = pytest.mark.usefixtures("one_thread")

_WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "equal", "lift_fresh")
STATIC = [card for card in catalogue().methods if methods()[card.name].static_step]  # er and mir: where they are not online
FURTHER = [
    (card, scenario) for card in STATIC for scenario in card.scenarios[1:]
    if scenario != "task-free" or card.name not in ("er", "mir")
]  # fmt: skip
OPTIMIZERS = [(card, optimizer) for card in STATIC for optimizer in ("sgd", "momentum", "adam")]
FEW = ("finetune", "ewc", "si", "vcl", "packnet", "piggyback", "ags-cl")  # with every optimizer


class Watching(TorchDispatchMode):
    """Notes every operation: its name, the plain values it is given, and where the tensors lie that were there before."""

    paused = False  # within Adam, which counts its steps on the CPU unless torch lets it count on a device (`make_capturable`)

    def __init__(self):
        super().__init__()
        self.operations: list[tuple] = []
        self._own: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if Watching.paused or func.__name__.startswith("_record_function"):
            return func(*args, **(kwargs or {}))
        given = [self._noted(value) for value in (*args, *(kwargs or {}).items())]
        if "index" in func.__name__ and any("torch.bool" in str(value) for value in given[1:2]):
            given.append("waits for the device")
        self.operations.append((func.__name__, *given))
        out = func(*args, **(kwargs or {}))
        written = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs or {}))}
        for tensor in _tensors(out):
            if tensor.untyped_storage().data_ptr() not in written:
                self._own.add(tensor.untyped_storage().data_ptr())
        return out

    def _noted(self, value):
        if isinstance(value, torch.Tensor):
            own = value.untyped_storage().data_ptr() in self._own
            return (tuple(value.shape), str(value.dtype), "computed" if own else value.data_ptr())
        if isinstance(value, (list, tuple)):
            return tuple(self._noted(v) for v in value)
        return repr(value)


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _tensors(v)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _remembered(value, path="", seen=None):
    """Every plain value that an object of ours remembers, with its path."""
    seen = set() if seen is None else seen
    if isinstance(value, (bool, int, float, str, type(None))):
        yield path, value
    elif isinstance(value, (list, tuple, dict)):
        for key, v in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _remembered(v, f"{path}[{key}]", seen)
    elif type(value).__module__.startswith("clcore") and hasattr(value, "__dict__") and id(value) not in seen:
        seen.add(id(value))
        for name, v in vars(value).items():
            yield from _remembered(v, f"{path}.{name}", seen)
    else:
        yield path, type(value).__name__


class Rerun:
    """In the place of a CUDA graph."""

    replays = 0
    method = None  # whose memory is looked at

    def record(self, function):
        self._function, self._first, self._changes = function, None, None

    def replay(self):
        before = dict(_remembered(Rerun.method))
        with pytest.MonkeyPatch.context() as patch, Watching() as watching:
            for name in ("cpu", "item", "tolist", "numpy"):
                patch.setattr(torch.Tensor, name, _waiting(getattr(torch.Tensor, name)))
            terms = self._function()
        changes = set(_remembered(Rerun.method)) ^ set(before.items())
        assert self._changes in (None, changes), "what Python itself remembers changes from step to step"
        self._changes = changes
        names = [name for name, *_ in watching.operations]
        assert not [name for name in names if name.split(".")[0] in _WAITING], "a step waits for the device"
        assert "waits for the device" not in [value for op in watching.operations for value in op]
        if self._first is None:
            self._first = watching.operations
        else:
            for before, now in zip(self._first, watching.operations, strict=True):
                assert before == now
        Rerun.replays += 1
        return terms


def _waiting(function):
    def called(*args, **kwargs):
        assert Watching.paused, "a step waits for the device"
        return function(*args, **kwargs)

    return called


@pytest.fixture
def stand_in(monkeypatch):
    """Learners made within believe that they are on a GPU that repeats steps."""
    monkeypatch.setattr(learner_module, "RecordedStep", partial(RecordedStep, graph=Rerun))
    monkeypatch.setattr(learner_module, "training_stream", lambda device: nullcontext())
    monkeypatch.setattr(learner_module, "make_capturable", lambda optimizer: None)
    monkeypatch.setattr(Rerun, "replays", 0)
    step = torch.optim.Adam.step

    def unwatched(optimizer, *args):
        Watching.paused = True
        try:
            return step(optimizer, *args)
        finally:
            Watching.paused = False

    monkeypatch.setattr(torch.optim.Adam, "step", unwatched)


def trained_by_repetition(run):
    learner = learner_for(run)
    assert learner.method.static_step
    learner._records = True
    Rerun.method = learner.method
    for task in learner.stream.tasks:
        learner.learn(task)
    return learner


def assert_repeatable(method: str, **case):
    case = {"benchmark": "split-digits", "seeds": (0, 1), "memories": (200,), "epochs": 2, **case}
    if method == "gdumb":
        case["settings"] = {"gdumb.memory_epochs": 10}
    run = digits_run(method, **{"options": {"tasks": 2}, **case})
    plain = trained(run)
    found = trained_by_repetition(run)
    assert Rerun.replays > 30
    for row in range(len(run.replicas)):
        assert identical(weights_of(plain, row), weights_of(found, row))


@pytest.mark.parametrize(
    "card, optimizer", [(c, o) for c, o in OPTIMIZERS if o == "sgd" or c.name in FEW], ids=lambda v: getattr(v, "name", v)
)
def test_every_step_is_the_recorded_one(card, optimizer, stand_in):
    kind = "sgd" if optimizer == "momentum" else optimizer
    more = {"momentum": 0.9, "weight_decay": 1e-3} if optimizer == "momentum" else {}
    assert_repeatable(card.name, scenario=card.scenarios[0], optimizer=kind, **more)


@pytest.mark.parametrize("card, scenario", FURTHER, ids=lambda value: getattr(value, "name", value))
def test_in_every_scenario(card, scenario, stand_in):
    assert_repeatable(card.name, scenario=scenario)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("method", ["finetune", "ewc", "er", "lwf"])
def test_on_convolutions(method, norm, stand_in):
    network = make(NetworkChoice, name="cnn", settings={"channels": 4, "norm": norm})
    assert_repeatable(method, scenario="class", network=network, lr=0.02)


@pytest.mark.parametrize("method", ["er+ewc", "er+si", "er+vcl"])
def test_in_compositions(method, stand_in):
    assert_repeatable(method, scenario="domain")


def test_strengths_of_which_one_diverges(stand_in):
    explicit = {"ewc.penalty_step": "explicit"}
    assert_repeatable("ewc", scenario="class", strengths=(1, 1e7), settings=explicit)


def test_replicas_with_streams_of_different_lengths(stand_in):
    assert_repeatable("ewc", scenario="class", options={"train_per_task": None}, seeds=(0, 1, 2), strengths=(1, 30))


@pytest.mark.parametrize("method", ["rwalk", "der", "gem", "dgr", "er-ace", "icarl"])
def test_steps_that_differ_are_noticed(method, stand_in, monkeypatch):
    monkeypatch.setattr(methods()[method], "static_step", True)
    with pytest.raises(AssertionError):
        assert_repeatable(method, scenario="class")


@pytest.mark.parametrize("method", ["er", "mir"])
def test_a_memory_that_looks_at_every_batch_has_no_such_step(method):
    run = digits_run(method, scenario="class", settings={f"{method}.memory_update": "online"})
    assert not learner_for(run).method.static_step


def test_a_step_that_may_be_the_last_of_an_epoch_is_not_recorded():
    for every, static in (("step", True), ("epoch", False)):
        learner = learner_for(digits_run("ags-cl", scenario="task", settings={"ags-cl.prox_every": every}))
        assert learner.method.static_step is static
