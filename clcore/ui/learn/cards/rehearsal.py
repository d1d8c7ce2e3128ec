"""Rehearsal: keep a few old examples, or make some up."""

from __future__ import annotations

from clcore.ui.learn.cards.sheet import Sheet
from clcore.ui.text import _


def sheets() -> dict[str, Sheet]:
    keeps = _("Stores real examples, which privacy or law may forbid.")
    every = _("Works in all scenarios, also where classes of different tasks must be told apart.")
    return {
        "er": Sheet(
            strengths=(
                every,
                _("Hard to beat: a handful of examples a class recovers much of what fine-tuning loses."),
            ),
            weaknesses=(keeps, _("Sees the same few examples again and again: a small memory is learned by heart.")),
            steps=(
                "for batch B in task t:\n"
                "    draw R examples from M\n"
                "    θ ← θ − η·gradient of mean loss over B ∪ R\n"
                "at the end of the task:\n"
                "    offer its examples to M (reservoir: each is kept with equal chance)"
            ),
            bytes=r"M\,(b+8)",
            count=lambda s: s.memory,
        ),
        "er-ace": Sheet(
            strengths=(
                _("Newcomers do not push old classes away: less forgetting right after a new class appears."),
                _("Needs no task boundaries; costs what experience replay costs."),
            ),
            weaknesses=(keeps, _("Old against new classes is learned from the replayed examples alone.")),
            steps=(
                "for batch B in the stream:\n"
                "    draw R examples from M\n"
                "    loss = ℓ(B; only classes in B) + ℓ(R; all classes seen)\n"
                "    θ ← θ − η·gradient of loss\n"
                "    offer B to M"
            ),
            bytes=r"M\,(b+8)",
            count=lambda s: s.memory,
        ),
        "mir": Sheet(
            strengths=(
                _("Spends its replay on the examples that are about to be forgotten."),
                _("The same memory as experience replay, better used where the memory is large and replay scarce."),
            ),
            weaknesses=(
                keeps,
                _("Each step costs one more backward pass and two forward passes over the candidates."),
            ),
            steps=(
                "for batch B in task t:\n"
                "    θᵛ = θ − α·gradient of loss(B)\n"
                "    draw C candidates from M\n"
                "    R = those whose loss θᵛ raises most over θ\n"
                "    θ ← θ − η·gradient of mean loss over B ∪ R"
            ),
            bytes=r"M\,(b+8)",
            count=lambda s: s.memory,
        ),
        "der": Sheet(
            strengths=(
                _("Old answers say more than old labels: how like every other class an example looked."),
                _("Needs no task boundaries and no copy of the network."),
            ),
            weaknesses=(
                keeps,
                _("Stored answers age: they also hold the outputs of classes still to come where they were."),
            ),
            steps=(
                "for batch B in the stream:\n"
                "    draw (x, z) from M\n"
                "    loss = ℓ(B) + α·mean ‖h(x) − z‖² / C\n"
                "    θ ← θ − η·gradient of loss\n"
                "    offer B with its logits h(B) to M"
            ),
            bytes=r"M\,(b+8)+4\,M\,O\ (\text{logits of } O \text{ outputs})",
            count=lambda s: s.memory + 4 * s.M * s.outputs,
        ),
        "derpp": Sheet(
            strengths=(
                _("Labels repair what the stored answers have wrong, above all those given early in a task."),
                _("Among the strongest at a given memory, in all three scenarios."),
            ),
            weaknesses=(keeps, _("Two draws from the memory a step: a step costs three passes, and α and β want tuning.")),
            steps=(
                "for batch B in the stream:\n"
                "    draw (x, z) and (x', y') from M\n"
                "    loss = ℓ(B) + α·mean ‖h(x) − z‖² / C + β·ℓ(x', y')\n"
                "    θ ← θ − η·gradient of loss\n"
                "    offer B with labels and logits to M"
            ),
            bytes=r"M\,(b+8)+4\,M\,O\ (\text{logits of } O \text{ outputs})",
            count=lambda s: s.memory + 4 * s.M * s.outputs,
        ),
        "gem": Sheet(
            strengths=(
                _("To first order no past task's loss rises: a promise for every task, on its stored examples."),
                _("With γ > 0 steps may also lower old losses: learning backwards."),
            ),
            weaknesses=(
                _("One gradient per past task in every step: the time grows with the number of tasks."),
                _("With many or opposed tasks hardly any direction is left, and in the class scenario it fails."),
                keeps,
            ),
            steps=(
                "for batch in task t:\n"
                "    g = gradient of loss(batch)\n"
                "    g_k = gradient of loss(memory of task k), for all k < t\n"
                "    if some ⟨g, g_k⟩ < 0:  g ← nearest z with ⟨z, g_k⟩ ≥ 0 for all k\n"
                "    θ ← θ − η·g\n"
                "at the end: the last M/T examples of the task stay"
            ),
            bytes=r"M\,(b+8)+4P\,(T-1)\ (\text{gradients})",
            count=lambda s: s.M // s.T * s.T * (s.b + 8) + 4 * s.P * (s.T - 1),
        ),
        "agem": Sheet(
            strengths=(
                _("One gradient for all of the past: its cost does not grow with the number of tasks."),
                _("The projection is one line, and leaves a step alone that does not hurt."),
            ),
            weaknesses=(
                _("Protects the average of the past, not each task: one may be hurt while the average gains."),
                _("One random batch speaks for the past, so the protection is noisy; weaker than replay of the same memory."),
                keeps,
            ),
            steps=(
                "for batch in task t:\n"
                "    g = gradient of loss(batch)\n"
                "    g_ref = gradient of loss(random batch of M)\n"
                "    if ⟨g, g_ref⟩ < 0:  g ← g − ⟨g, g_ref⟩ / ‖g_ref‖² · g_ref\n"
                "    θ ← θ − η·g\n"
                "at the end: the last examples of every class enter M"
            ),
            bytes=r"M\,(b+8)+4P\ (\text{one gradient})",
            count=lambda s: s.M // s.T * s.T * (s.b + 8) + 4 * s.P,
        ),
        "icarl": Sheet(
            strengths=(
                _("Distances to class means do not lean towards the newest classes as outputs do."),
                _("Herding picks examples whose mean is the class's, so that albums can shrink from their end."),
            ),
            weaknesses=(
                keeps,
                _("Not for the domain scenario; means must be computed anew whenever the features move."),
            ),
            steps=(
                "f_old ← copy of the network\n"
                "for batch in task t ∪ exemplars:\n"
                "    loss = yes-or-no losses: labels for new classes, f_old for old ones\n"
                "    θ ← θ − η·gradient of loss\n"
                "at the end: M / classes exemplars of each class, by herding\n"
                "predict(x): the class whose mean feature is nearest"
            ),
            bytes=r"M\,(b+8)+4P\ (\text{old network})+4\,C\,h\ (\text{means of } C \text{ classes, } h \text{ features})",
            count=lambda s: s.memory + 4 * s.P + 4 * s.classes * s.features,
        ),
        "bic": Sheet(
            strengths=(
                _("Two numbers per task undo the lean towards the newest classes, where it is nearly linear."),
                _("Made for many classes, where the lean is strongest."),
            ),
            weaknesses=(
                _("Class scenario only, and it needs held-out examples: with a small memory there are too few."),
                keeps,
            ),
            steps=(
                "f_old ← copy of the network\n"
                "for batch in task t ∪ exemplars:                  # stage 1\n"
                "    loss = (1 − λ)·ℓ + λ·distillation from f_old\n"
                "    θ ← θ − η·gradient of loss\n"
                "fit α_t, β_t on held-out examples, θ frozen        # stage 2\n"
                "predict: new classes' outputs are α_t·z + β_t"
            ),
            bytes=r"M\,(b+8)+4P\ (\text{old network})+8\,(T-1)\ (\alpha_t,\beta_t)",
            count=lambda s: s.memory + 4 * s.P + 8 * (s.T - 1),
        ),
        "lucir": Sheet(
            strengths=(
                _("Outputs are directions alone: newer classes cannot be louder than older ones, however many examples they "
                  "have."),
                _("Features are asked to keep their direction, a margin keeps old classes apart from new ones that look like "
                  "them."),
            ),
            weaknesses=(
                _("Class scenario only; four numbers to choose, and what one of them does depends on the others."),
                keeps,
            ),
            steps=(
                "f_old ← copy of the network;  w_c of each new class ← its mean feature\n"
                "for batch in task t ∪ exemplars:\n"
                "    loss = ℓ(η·cosines) + λ·(1 − cos(φ, φ_old)) + μ·margin of old examples\n"
                "    θ ← θ − η·gradient of loss\n"
                "at the end: exemplars of each class, by herding"
            ),
            bytes=(
                r"M\,(b+8)+4P\ (\text{old network})"
                r"-8\,(C-1)\ (\text{in both networks one } \eta \text{ for } C \text{ biases})"
            ),
            count=lambda s: s.memory + 4 * s.P - 8 * (s.outputs - 1),
        ),
        "dgr": Sheet(
            strengths=(
                _("Keeps no real example: old inputs are drawn by a network."),
                _("The number of examples to rehearse is not limited by a memory."),
            ),
            weaknesses=(
                _("Dreams of dreams: each generation copies the last one's errors."),
                _("A second network to train, and as hard as the data is to draw; on natural images it has mostly failed."),
            ),
            steps=(
                "f_old, G_old ← copies of solver and generator\n"
                "for x, y in task t:\n"
                "    x̂ = G_old(noise);  ŷ = f_old(x̂)\n"
                "    solver:     r·ℓ(f(x), y) + (1 − r)·ℓ(f(x̂), ŷ)\n"
                "    generator:  r·L(x) + (1 − r)·L(x̂)"
            ),
            bytes=r"4P\ (\text{old solver})+8\,P_G\ (\text{generator with } P_G \text{ numbers, and its copy})",
        ),
    }  # fmt: skip
