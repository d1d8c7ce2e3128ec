"""Replay in one pass over small streams: GEM, A-GEM, ER and MIR, each after the protocol of a published or recorded figure.

GEM: Lopez-Paz & Ranzato, NeurIPS 2017 (20 tasks of 1000 examples, 256 remembered a task). A-GEM: Chaudhry et al., ICLR
2019, on 17 tasks of 1000 examples as recorded in the authors' repository. Online ER: recorded by ContinualAI's continual-
learning-baselines. MIR: Aljundi et al., NeurIPS 2019, as recorded there (1000 examples a task).
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "Replay in one pass"
CONDITIONS = dict(optimizer=OptimizerChoice(lr=0.1), epochs=1, batch_size=10, device="cpu")


def _permuted(tasks: int, *hidden: int) -> dict:
    options = {"tasks": tasks, "train_per_task": 1000}
    return dict(benchmark="permuted-mnist", options=options, network=NetworkChoice(hidden=hidden))


def _split(hidden: tuple[int, ...], lr: float, **options) -> dict:
    network = NetworkChoice(hidden=hidden)
    return dict(benchmark="split-mnist", options=options, network=network, optimizer=OptimizerChoice(lr=lr))


_FEWER = tuple(range(5))
_MIR = _split((400,), 0.05, train_per_task=1000)
CLAIMS = [
    Claim("gem", "domain", 83.0, memory=20 * 256, settings={"gem.strength": 0.5}, seeds=_FEWER,
          conditions=_permuted(20, 100, 100)),
    Claim("finetune", "domain", None, conditions=_permuted(20, 100, 100), variant="20 tasks"),
    Claim("agem", "domain", 65.3, memory=17 * 250, conditions=_permuted(17, 256, 256),
          cause="the 65.3 is one run that a user of the authors' code reported; it has no spread"),
    Claim("finetune", "domain", None, conditions=_permuted(17, 256, 256), variant="17 tasks"),
    Claim("er", "class", 92.0, memory=1000, settings={"er.memory_update": "online", "er.policy": "balanced"},
          conditions=_split((400, 400), 0.1), cause="one recorded run without a spread; cause not found"),
    Claim("mir", "class", 87.0, memory=500, settings={"mir.candidates": 50}, conditions=_MIR,
          cause="cause not found; that MIR is well above ER, the paper's claim, holds"),
    Claim("er", "class", 82.1, std=1.5, n=20, memory=500, settings={"er.memory_update": "online"}, conditions=_MIR,
          variant="beside MIR", cause="cause not found; with no validation data held out it is the same"),
]  # fmt: skip
