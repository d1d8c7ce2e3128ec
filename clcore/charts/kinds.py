"""What each array that a method reports means, and how it is drawn: a registry by name.

A new method needs an entry here only for good words: an array of an unknown name is drawn by its shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clcore.charts import arrays
from clcore.charts.arrays import Drawn
from clcore.insights import Over, over
from clcore.text import _

FEW = 40  # entries up to which a vector is bars; a longer one is a raster over tasks


@dataclass(frozen=True)
class Reading:
    """One array of a method, as it is looked at.

    history   after task k (1-based): (n, …), one row a network; only tasks up to the one looked at
    floor     the smallest value after any task, and
    peak      the largest, so that pictures of different tasks have one scale
    beside    other arrays of the same method after the same task, by name: (n, …)
    units     what the output units stand for
    """

    name: str
    task: int
    history: Mapping[int, np.ndarray]
    tasks: Sequence[str]
    units: Sequence[str] = ()
    floor: float = 0.0
    peak: float = 1.0
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    revision: str = ""

    @property
    def now(self) -> Over:
        return over(self.history[self.task])

    def stacked(self) -> np.ndarray:
        """(T, entries) means after every task, NaN where nothing was reported; vectors of different length are padded."""
        means = {k: over(rows).mean.ravel() for k, rows in self.history.items()}
        longest = max(len(m) for m in means.values())
        table = np.full((len(self.tasks), longest), np.nan)
        for k, mean in means.items():
            table[k - 1, : len(mean)] = mean
        return table


Draw = Callable[[Reading], Drawn]


@dataclass(frozen=True)
class Kind:
    """`title` and `look` (what to look for) are said when drawn, in the reader's language. `single`: networks are not
    averaged, because their entries are not the same things."""

    title: Callable[[], str]
    look: Callable[[], str]
    draw: Draw
    single: bool = False


# ---- labels ---------------------------------------------------------------------------------------------------------


def layer_names(n: int, hidden: bool = False) -> list[str]:
    """Names of n layers, input side first. `hidden`: the output layer is not among them."""
    names = [_("layer {i}").format(i=i) for i in range(1, n + 1)]
    return names if hidden or n < 2 else [*names[:-1], _("output")]


def task_labels(n: int) -> list[str]:
    return [f"T{j}" for j in range(1, n + 1)]


def unit_labels(units: Sequence[str], n: int) -> list[str]:
    names = [name or _("output {n}").format(n=i + 1) for i, name in enumerate(units)]
    return names[:n] if len(names) >= n and len(set(names)) == len(names) else [str(i + 1) for i in range(n)]


# ---- ways to draw ---------------------------------------------------------------------------------------------------


def by_layer(unit: Callable[[], str], hidden: bool = False) -> Draw:
    def draw(r: Reading) -> Drawn:
        names = layer_names(r.now.mean.size, hidden)
        return arrays.bars(r.now, names, of=_("layer"), unit=unit(), bottom=r.floor, top=r.peak, revision=r.revision)

    return draw


def by_task(unit: Callable[[], str], reference: float | None = None) -> Draw:
    """A vector over tasks as bars; a single number as a line over tasks."""

    def draw(r: Reading) -> Drawn:
        if r.now.mean.ndim == 0 or r.now.mean.size == 1:
            moments = sorted(r.history)
            values = [over(r.history[k].reshape(len(r.history[k]))) for k in moments]
            return arrays.over_tasks(moments, values, len(r.tasks), unit=unit(), revision=r.revision)
        labels = task_labels(r.now.mean.size)
        return arrays.bars(
            r.now, labels, of=_("task"), unit=unit(), bottom=r.floor, top=r.peak, reference=reference, revision=r.revision
        )

    return draw


def by_unit(unit: Callable[[], str]) -> Draw:
    def draw(r: Reading) -> Drawn:
        labels = unit_labels(r.units, r.now.mean.size)
        return arrays.bars(r.now, labels, of=_("class"), unit=unit(), bottom=r.floor, top=r.peak, revision=r.revision)

    return draw


def input_image(unit: Callable[[], str]) -> Draw:
    """(h, w) or (channels, h, w) as a picture; a flat input as bars."""

    def draw(r: Reading) -> Drawn:
        now = r.now
        if now.mean.ndim < 2:
            labels = [str(i + 1) for i in range(now.mean.size)]
            return arrays.bars(now, labels, of=_("input"), unit=unit(), bottom=r.floor, top=r.peak, revision=r.revision)
        z = now.mean.reshape(-1, *now.mean.shape[-2:]).mean(0)
        return arrays.image(z, unit=unit(), bottom=r.floor, top=r.peak, revision=r.revision)

    return draw


def raster(of: Callable[[], str], unit: Callable[[], str]) -> Draw:
    """A vector after every task so far: a row a task, a column an entry."""

    def draw(r: Reading) -> Drawn:
        z = r.stacked()
        rows = [_("after T{k}").format(k=k) for k in range(1, len(z) + 1)]
        columns = [str(i + 1) for i in range(z.shape[1])]
        return arrays.heat(z, rows, columns, of_rows="", of_columns=of(), unit=unit(), top=r.peak, revision=r.revision)

    return draw


def node_counts(r: Reading) -> Drawn:
    """Important and free nodes of each layer."""
    important = r.now.mean
    free = over(r.beside["free_nodes"]).mean if "free_nodes" in r.beside else np.zeros_like(important)
    parts = [(_("important"), "@c0"), (_("free"), "@panel")]
    names = layer_names(important.size, hidden=True)
    return arrays.shares(
        np.stack([important, free], 1), names, parts, of_rows=_("layer"), unit=_("nodes"), percent=False,
        revision=r.revision,
    )  # fmt: skip


def owners(r: Reading) -> Drawn:
    """(L, T + 1) shares: what each task owns of each layer's weights, and last what is free."""
    z = r.now.mean
    parts = arrays.task_parts(z.shape[1] - 1, _("free"))
    return arrays.shares(
        z, layer_names(len(z), hidden=True), parts, of_rows=_("layer"), unit=_("share of weights, %"), revision=r.revision
    )


def widths_by_birth(r: Reading) -> Drawn:
    """(L, T) units of each layer by the task that they were born in."""
    z = np.atleast_2d(r.now.mean)
    parts = arrays.task_parts(z.shape[1], "")[:-1]
    return arrays.shares(
        z, layer_names(len(z), hidden=True), parts, of_rows=_("layer"), unit=_("units"), percent=False, revision=r.revision
    )


def task_by_task(rows: Callable[[], str], columns: Callable[[], str], percent: bool = False) -> Draw:
    """(T, T)"""

    def draw(r: Reading) -> Drawn:
        z = r.now.mean
        labels = (task_labels(z.shape[0]), task_labels(z.shape[1]))
        return arrays.heat(
            z, *labels, of_rows=rows(), of_columns=columns(), unit="", percent=percent, top=r.peak, revision=r.revision
        )

    return draw


def task_by_layer(r: Reading) -> Drawn:
    """(T, L) shares."""
    z = np.atleast_2d(r.now.mean)
    return arrays.heat(
        z, task_labels(len(z)), layer_names(z.shape[1], hidden=True), of_rows=_("task"), of_columns=_("layer"), unit="",
        percent=True, revision=r.revision,
    )  # fmt: skip


def gates(r: Reading) -> Drawn:
    """Gates of one layer: (T, units), or (units,) after every task."""
    now = r.now.mean
    if now.ndim < 2:
        return raster(lambda: _("unit"), lambda: _("gate"))(r)
    return arrays.heat(
        now, task_labels(len(now)), [str(i + 1) for i in range(now.shape[1])], of_rows=_("task"), of_columns=_("unit"),
        unit=_("gate"), top=1.0, revision=r.revision,
    )  # fmt: skip


def capacity(r: Reading) -> Drawn:
    now = r.now.mean
    return by_task(lambda: _("share in use"))(r) if now.ndim == 0 else by_layer(lambda: _("share in use"), True)(r)


def thumbs(captions: Callable[[Reading, int], Sequence[str]]) -> Draw:
    def draw(r: Reading) -> Drawn:
        pictures = r.now.mean
        if pictures.ndim < 3:  # flat inputs: their numbers
            flat = pictures.reshape(len(pictures), -1)
            names = [str(i + 1) for i in range(len(flat))]
            inputs = [str(i + 1) for i in range(flat.shape[1])]
            return arrays.heat(
                flat, names, inputs, of_rows=_("example"), of_columns=_("input"), unit="", revision=r.revision
            )
        return arrays.thumbnails(pictures, captions(r, len(pictures)), revision=r.revision)

    return draw


def _memory_captions(r: Reading, n: int) -> list[str]:
    units = r.beside.get("memory_examples_unit")
    if units is None:
        return [""] * n
    return [_unit_name(r, int(u)) if u >= 0 else "" for u in units[0]]


def _dream_captions(r: Reading, n: int) -> list[str]:
    """Two dreams of every class learned so far, class by class."""
    return [_unit_name(r, i // 2) for i in range(n)]


def _unit_name(r: Reading, unit: int) -> str:
    return unit_labels(r.units, len(r.units))[unit] if unit < len(r.units) else str(unit + 1)


# ---- the registry ---------------------------------------------------------------------------------------------------

SATELLITES = frozenset({"memory_examples_unit", "free_nodes"})
"""Arrays that are drawn with another one."""

KINDS: dict[str, Kind] = {
    "importance_by_input": Kind(
        lambda: _("Which inputs the past holds on to"),
        lambda: _(
            "Bright inputs feed weights that matter to earlier tasks: those weights are held, the dark ones are "
            "free to move."
        ),
        input_image(lambda: _("importance")),
    ),
    "importance_by_layer": Kind(
        lambda: _("How important each layer is to the past"),
        lambda: _(
            "A tall bar is a layer whose weights are held firmly; the bars grow from task to task as importance "
            "adds up."
        ),
        by_layer(lambda: _("mean importance")),
    ),
    "drift_by_layer": Kind(
        lambda: _("How far each layer has moved"),
        lambda: _(
            "Mean change of a weight since the last task ended: a layer that moves much under its hold is where "
            "forgetting starts."
        ),
        by_layer(lambda: _("mean change of a weight")),
    ),
    "sigma_by_layer": Kind(
        lambda: _("How unsure the weights are"),
        lambda: _(
            "Mean standard deviation of the weights: it shrinks where the data have decided what a weight must "
            "be."
        ),
        by_layer(lambda: _("mean σ")),
    ),
    "important_nodes": Kind(
        lambda: _("Free and important nodes"),
        lambda: _("Important nodes are held for the past; when the free ones run out, nothing new can be learned."),
        node_counts,
    ),
    "node_states": Kind(
        lambda: _("Which nodes are taken, task after task"),
        lambda: _(
            "Bright: important and held; dark: free. A column that turns bright stays so as long as the node "
            "matters."
        ),
        raster(lambda: _("node, all hidden layers in a row"), lambda: _("important")),
        single=True,
    ),
    "node_importance": Kind(
        lambda: _("How important each node is"),
        lambda: _("A row a task: bright nodes are the ones that the tasks so far rely on."),
        raster(lambda: _("node"), lambda: _("importance")),
        single=True,
    ),
    "memory_by_class": Kind(
        lambda: _("What the memory holds, by class"),
        lambda: _(
            "Even bars: every class seen has the same number of examples to be remembered by; a missing bar is "
            "a class that will be forgotten."
        ),
        by_unit(lambda: _("examples")),
    ),
    "memory_by_task": Kind(
        lambda: _("How old the memory is"),
        lambda: _("Examples by the task they came with: old tasks give way as new ones move in."),
        by_task(lambda: _("examples")),
    ),
    "memory_examples": Kind(
        lambda: _("Some of what is remembered"),
        lambda: _("Examples spread evenly over the memory: what the network sees again and again."),
        thumbs(_memory_captions),
        single=True,
    ),
    "retrieved_by_task": Kind(
        lambda: _("Which tasks are replayed"),
        lambda: _("Share of the replayed examples by task: the method picks those that the next step would hurt most."),
        by_task(lambda: _("share of replay")),
    ),
    "gradient_angle": Kind(
        lambda: _("Angle between the new gradient and the memory's"),
        lambda: _("Below 90° the step helps the past, above 90° it would hurt it and is turned."),
        by_task(lambda: _("mean angle, degrees"), reference=90.0),
    ),
    "violated_share": Kind(
        lambda: _("How often a step would have hurt the past"),
        lambda: _("Share of the task's steps whose gradient pointed against the memory's."),
        by_task(lambda: _("share of steps")),
    ),
    "length_removed": Kind(
        lambda: _("How much of the gradient was changed"),
        lambda: _(
            "Length of what the projection added, relative to the gradient's: near 0 the past costs the new "
            "task nothing."
        ),
        by_task(lambda: _("relative length")),
    ),
    "answers_kept": Kind(
        lambda: _("How often the old network would still agree"),
        lambda: _(
            "Share of this task's inputs to which the outputs of earlier tasks still give the answer of the "
            "network before it."
        ),
        by_task(lambda: _("share of answers")),
    ),
    "bias_scale": Kind(
        lambda: _("Correction of the outputs: factor α"),
        lambda: _(
            "Below 1: the outputs of that task's classes are turned down, because the last stage found them too "
            "loud."
        ),
        by_task(lambda: "α", reference=1.0),
    ),
    "bias_shift": Kind(
        lambda: _("Correction of the outputs: shift β"),
        lambda: _("Below 0: the outputs of that task's classes are lowered for every input."),
        by_task(lambda: "β", reference=0.0),
    ),
    "dreams": Kind(
        lambda: _("What the network dreams of"),
        lambda: _(
            "Inputs drawn by the generator in place of a memory, two for every class: blurred or wrong ones "
            "teach blurred or wrong lessons."
        ),
        thumbs(_dream_captions),
        single=True,
    ),
    "dreams_by_class": Kind(
        lambda: _("How often each class is dreamed of"),
        lambda: _("A class that is missing here is not replayed, and will be forgotten."),
        by_unit(lambda: _("share of dreams")),
    ),
    "columns": Kind(
        lambda: _("Size of every column"),
        lambda: _("One column a task: the network grows with every one of them."),
        by_task(lambda: _("numbers")),
    ),
    "lateral_strength": Kind(
        lambda: _("Which columns read which"),
        lambda: _("Row: the column that reads. Bright: it makes much use of what the earlier task's column found."),
        task_by_task(lambda: _("column of"), lambda: _("reads the column of")),
    ),
    "widths_by_birth_task": Kind(
        lambda: _("When the units of each layer were born"),
        lambda: _("A layer grows where a task could not be learned with the units that were there."),
        widths_by_birth,
    ),
    "ownership": Kind(
        lambda: _("Who owns the weights"),
        lambda: _("Every task keeps a share for itself; what is free is left for the tasks to come."),
        owners,
    ),
    "mask_density": Kind(
        lambda: _("How much of the network each task uses"),
        lambda: _("Share of a layer's weights that a task's mask lets through."),
        task_by_layer,
    ),
    "mask_overlap": Kind(
        lambda: _("How much the tasks' masks share"),
        lambda: _(
            "Of the weights that either of two tasks uses, those that both use: bright pairs have found the "
            "same solution."
        ),
        task_by_task(lambda: _("task"), lambda: _("task"), percent=True),
    ),
    "gates_layer": Kind(
        lambda: _("Which units each task opens"),
        lambda: _(
            "A row a task: units that are bright in one row only belong to one task, those bright in many are "
            "shared."
        ),
        gates,
        single=True,
    ),
    "capacity_used": Kind(
        lambda: _("How much of the network is taken"),
        lambda: _("At 1 there is nothing left that a new task may change."),
        capacity,
    ),
    "drift": Kind(
        lambda: _("How far units have drifted"),
        lambda: _("Units that moved too far from what they meant are split in two: one stays, one moves on."),
        raster(lambda: _("unit"), lambda: _("drift")),
        single=True,
    ),
    "expanded": Kind(
        lambda: _("Where the network was widened"),
        lambda: _("Units that a task added, because it could not be learned without them."),
        by_task(lambda: _("units")),
    ),
    "split": Kind(
        lambda: _("Where units were split"),
        lambda: _("Units that were doubled, because they had drifted from what earlier tasks need."),
        by_task(lambda: _("units")),
    ),
    "loss_before_growth": Kind(
        lambda: _("The loss that decides on growing"),
        lambda: _("Loss on the task with the units that were there: where it stayed too high, units were added."),
        by_task(lambda: _("loss")),
    ),
    "picked": Kind(
        lambda: _("How much of the past each task picks"),
        lambda: _("Share of the earlier tasks' weights in a layer that a task uses as they are."),
        task_by_layer,
    ),
    "goal": Kind(
        lambda: _("The accuracy that each task has to reach"),
        lambda: _("Measured on validation data; the network grows until a task reaches it."),
        by_task(lambda: _("accuracy, 0 to 1")),
    ),
    "reached": Kind(
        lambda: _("The accuracy that each task reached"),
        lambda: _("On validation data, after everything that the task did not need was given back."),
        by_task(lambda: _("accuracy, 0 to 1")),
    ),
    "freed": Kind(
        lambda: _("What each task gave back"),
        lambda: _("Share of its new weights that a task could do without: they are free for the tasks to come."),
        by_task(lambda: _("share of its weights")),
    ),
    "size": Kind(
        lambda: _("How far the network has grown"),
        lambda: _("Relative to the size that it began with: it grows when a task misses its goal."),
        by_task(lambda: _("times the first size"), reference=1.0),
    ),
    "inferred_task": Kind(
        lambda: _("Which task the inputs are taken for"),
        lambda: _("Row: the task that the inputs come from. A bright diagonal: the network finds the right mask by itself."),
        task_by_task(lambda: _("inputs of"), lambda: _("taken for"), percent=True),
    ),
}  # fmt: skip


def by_shape(r: Reading) -> Drawn:
    """What can be drawn of an array of which only the shape is known."""
    now = r.now.mean
    if now.size <= 1:
        return by_task(lambda: _("value"))(r)
    if now.ndim == 1 and now.size <= FEW:
        labels = [str(i + 1) for i in range(now.size)]
        return arrays.bars(r.now, labels, of=_("entry"), unit=_("value"), bottom=r.floor, top=r.peak, revision=r.revision)
    if now.ndim == 1:
        return raster(lambda: _("entry"), lambda: _("value"))(r)
    if now.ndim >= 3 and min(now.shape[-2:]) >= 4:
        return thumbs(lambda _r, n: [str(i + 1) for i in range(n)])(r)
    z = now.reshape(len(now), -1)
    rows, columns = ([str(i + 1) for i in range(n)] for n in z.shape)
    return arrays.heat(z, rows, columns, of_rows="", of_columns=_("entry"), unit=_("value"), top=r.peak, revision=r.revision)



def parted(full: str) -> tuple[str, str, int | None]:
    """(part, name, number) of an array's name: `ewc.node_importance_2` is ("ewc", "node_importance", 2)."""
    part, _dot, name = full.rpartition(".")
    if name not in KINDS and (found := re.fullmatch(r"(.+)_(\d+)", name)):
        return part, found[1], int(found[2])
    return part, name, None


def kind_of(full: str) -> Kind:
    """How an array is drawn: what is known of its name, else by its shape."""
    _part, name, number = parted(full)
    known = KINDS.get(name)
    if known is None:
        words = full.replace("_", " ")
        return Kind(
            lambda: words[:1].upper() + words[1:],
            lambda: _("An array that the method reports under this name; its file says what it means."),
            by_shape,
        )
    if number is None:
        return known
    return Kind(
        lambda: _("{title}, layer {n}").format(title=known.title(), n=number), known.look, known.draw, known.single
    )
