"""Split CIFAR-100 in 20 tasks of 5 classes, each example seen once, on the reduced ResNet-18: the protocol of GEM and A-GEM.

Natural order, task scenario, batch 10, SGD 0.03, one epoch, 2500 examples a task, inputs 0..1, no augmentation. A-GEM as
recorded by continual-learning-baselines (Chaudhry et al., ICLR 2019): memory of 65 a task. A network takes about 15 minutes a
pass on one core here; on a GPU five train side by side:

    python -m docs.claims docs/studies/cifar100_resnet.py --device cuda
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "Split CIFAR-100, one pass, reduced ResNet-18"
CONDITIONS = dict(
    benchmark="split-cifar100",
    options={"tasks": 20, "validation": 0.0},
    network=NetworkChoice(name="resnet18-slim"),
    optimizer=OptimizerChoice(lr=0.03),
    epochs=1,
    batch_size=10,
    device="cpu",
)
_SEEDS = (0, 1, 2, 3, 4)
CLAIMS = [
    Claim("finetune", "task", None, seeds=_SEEDS),
    Claim("er", "task", None, seeds=_SEEDS, memory=1300),
    Claim("agem", "task", 62.0, seeds=_SEEDS, memory=1300, settings={"agem.reference_batch": 256}),
    Claim("single", "task", None, seeds=_SEEDS),
]
