"""Fine-tuning: train on each task as if nothing had come before.

The reference from below: the network overwrites its old solution, the picture of catastrophic forgetting (McCloskey & Cohen,
1989). No deviations: plain minimisation of the cross-entropy of the current task.
"""

from clcore.methods.base import Method


class Finetune(Method):
    title = "Fine-tuning"
    summary = "Learns each task as if there had been no other. What it forgets is what every method tries to keep."
    family = "baseline"
    scenarios = ("task", "domain", "class", "task-free")
    paper = "McCloskey & Cohen, Psychology of Learning and Motivation 1989"
    formula = r"\min_\theta\ \mathcal L_t(\theta)"
    static_step = True
