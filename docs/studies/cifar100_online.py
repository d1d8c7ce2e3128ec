"""Split CIFAR-100 in 20 tasks of 5 classes, each example seen once: the protocol of GEM and A-GEM on a smaller network.

Their conditions: natural order, task scenario, batch 10, SGD, one epoch, 2500 examples a task, inputs 0..1, no augmentation.
Theirs is the reduced ResNet-18, which takes about 15 minutes a network on one core here; the first rows train the small
convolutional network of two blocks (210,084 numbers), so that the published figures stand beside for orientation. The last rows
are the ResNet's, five seeds for a GPU (`--device cuda`), except ER's three. A-GEM as recorded by continual-learning-baselines
(Chaudhry et al., ICLR 2019): memory of 65 a task.
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "Split CIFAR-100, one pass"
CONDITIONS = dict(
    benchmark="split-cifar100",
    options={"tasks": 20, "validation": 0.0},
    network=NetworkChoice(name="cnn"),
    optimizer=OptimizerChoice(lr=0.03),
    epochs=1,
    batch_size=10,
    device="cpu",
)
_SEEDS = (0, 1, 2)
_NETWORK = "a small convolutional network instead of the reduced ResNet-18"
CLAIMS = [
    Claim("finetune", "task", None, seeds=_SEEDS),
    Claim("er", "task", None, seeds=_SEEDS, memory=1300),
    Claim("agem", "task", 62.0, seeds=_SEEDS, memory=1300, settings={"agem.reference_batch": 256}, cause=_NETWORK),
    Claim("single", "task", None, seeds=_SEEDS),
]
_RESNET = dict(
    variant="reduced ResNet-18", conditions={"network": NetworkChoice(name="resnet18-slim")}, seeds=(0, 1, 2, 3, 4)
)
CLAIMS += [
    Claim("finetune", "task", None, **_RESNET),
    Claim("er", "task", None, memory=1300, **(_RESNET | {"seeds": _SEEDS})),
    Claim("agem", "task", 62.0, memory=1300, settings={"agem.reference_batch": 256}, **_RESNET),
    Claim("single", "task", None, **_RESNET),
]
