"""Split CIFAR-100, one superclass a task: what isolates tasks on convolutions, beside fine-tuning and networks of their own.

The stream of CPG's main table (Hung et al., NeurIPS 2019): 20 tasks of 5 classes in the usual order of the superclasses, the
task told at test. Theirs is VGG16 with batch normalisation on all 2500 examples a task, 330 epochs and more for CPG and 130 for
PackNet, with augmentation, which takes a GPU many hours. Reduced here to 1000 examples and 4 epochs a task on the small
convolutional network (16 and 32 channels, group normalisation), Adam 0.002, batch 16, 2 seeds: about 20 minutes of one core,
of which CPG takes half. So no published figure stands beside these. A tenth of the examples is validation data, which CPG
decides on. `single` stands for the upper end; joint training, all tasks so far after each task, would take ten times as long
as fine-tuning.
"""

from clcore.spec import NetworkChoice, OptimizerChoice
from docs.claims import Claim

TITLE = "The isolation family on Split CIFAR-100"
SIZES = True
CONDITIONS = dict(
    benchmark="split-cifar100",
    options={"tasks": 20, "order": "superclass", "train_per_task": 1000, "validation": 0.1},
    network=NetworkChoice(name="cnn"),
    optimizer=OptimizerChoice(name="adam", lr=0.002),
    epochs=4,
    batch_size=16,
    device="cpu",
)
CLAIMS = [
    Claim(method, "task", None, seeds=(0, 1))
    for method in ("finetune", "single", "piggyback", "packnet", "hat", "cpg")
]
