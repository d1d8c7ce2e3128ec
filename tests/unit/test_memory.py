"""Replay memories: what stays, within which budget, and how it comes back."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from clcore.errors import RequestError
from clcore.methods.parts import exemplars
from clcore.methods.parts.memory import Memory, ranks
from clcore.randomness import Generators
from tests.training_cases import digits_run, learner_for, trained

pytestmark = pytest.mark.usefixtures("one_thread")
STREAMING = ("reservoir", "balanced", "ring")
TASKS, CLASSES = 4, 5


class _Stream:
    """What a memory needs of a stream: example i of any task has label i % CLASSES."""

    input_shape, device, example_bytes = (1,), torch.device("cpu"), 1
    augmentation = None
    course = None
    outputs = classes_per_task = CLASSES

    def __init__(self, replicas):
        train = SimpleNamespace(indices=torch.zeros(replicas, 1, dtype=torch.long), width=10_000)
        self.tasks = [SimpleNamespace(train=train)] * TASKS

    def task_of(self, seen_as):
        return seen_as

    def units(self, task, ids):
        return ids % CLASSES

    def gather(self, task, ids, views=None):
        return ids.unsqueeze(-1).float(), self.units(task, ids)


def memory_of(budgets, policy="reservoir", seeds=None, **options):
    seeds = range(len(budgets)) if seeds is None else seeds
    context = SimpleNamespace(
        stream=_Stream(len(budgets)),
        classifier=SimpleNamespace(network=SimpleNamespace(widths=(4,))),
        pulse=lambda: None,
        memories=torch.tensor(budgets),
        generators=lambda purpose: Generators(seeds, purpose),
    )
    return Memory(context, policy, **options)


def offer(memory, task, ids, values=None):
    """Offers the same `ids` (B,) to every replica."""
    ids = torch.as_tensor(ids).expand(len(memory.budgets), -1)
    memory.offer(task, ids, torch.ones_like(ids, dtype=torch.bool), values=values)


def contents(memory, replica=0):
    """(task, id) pairs that a replica holds, the most worthy first."""
    held = memory.held[replica]
    return list(zip(memory.tasks[replica][held].tolist(), memory.ids[replica][held].tolist(), strict=True))


def stream_through(memory, sizes=(60, 40, 17, 60), step=7):
    for task, size in enumerate(sizes):
        for start in range(0, size, step):
            offer(memory, task, torch.arange(start, min(size, start + step)) + 100 * task)
            yield task


@pytest.mark.parametrize("batch", [1, 10])
def test_reservoir_inclusion_is_uniform(batch):
    """Pooled count of the first M items (replay dossier §20): an off-by-one sampler scores z = −5 to −7 here."""
    n, M, trials = 100, 5, 3000
    memory = memory_of([M] * trials, seeds=range(trials))
    for start in range(0, n, batch):
        offer(memory, 0, torch.arange(start, start + batch))
    p = M / n
    z = (int((memory.ids < M).sum()) - trials * M * p) / (trials * M * p * (1 - p)) ** 0.5
    assert abs(z) < 4
    assert torch.all(memory.counts == M)


@pytest.mark.parametrize("policy", ["reservoir", "balanced"])
def test_position_in_the_stream_does_not_matter(policy):
    """Early, middle and late thirds of the stream are kept equally often: a χ² over thirds, pooled over replicas."""
    trials, n, M = 2000, 90, 10
    memory = memory_of([M] * trials, policy, seeds=range(trials))
    for start in range(0, n, 9):
        offer(memory, 0, torch.arange(start, start + 9))
    thirds = torch.bincount((memory.ids // 30).flatten(), minlength=3).double()
    expected = trials * M / 3
    assert ((thirds - expected) ** 2 / expected).sum() < 18.4  # p = 0.0001 with two degrees of freedom


@pytest.mark.parametrize("policy", STREAMING)
@pytest.mark.parametrize("division", ["shrinking", "reserved"])
@pytest.mark.parametrize("by", [None, "task", "class", "task_class", "none"])
def test_the_memory_never_exceeds_its_budget_and_holds_no_example_twice(policy, division, by):
    budgets = [0, 1, 5, 23, 50, 500]
    memory = memory_of(budgets, policy, by=by, division=division)
    for _ in stream_through(memory):
        assert torch.all(memory.counts <= memory.budgets)
        assert torch.all(memory.held[:, :-1] | ~memory.held[:, 1:])  # no gaps
    for k in range(len(budgets)):
        pairs = contents(memory, k)
        assert len(set(pairs)) == len(pairs)
        assert all(100 * task <= i < 100 * task + 60 for task, i in pairs)
    if division == "shrinking":
        assert memory.counts.tolist() == [0, 1, 5, 23, 50, 177]
    assert memory.footprint()["memory_samples"].tolist() == [9 * n for n in memory.counts.tolist()]


@pytest.mark.parametrize("policy", STREAMING)
@pytest.mark.parametrize("division", ["shrinking", "reserved"])
def test_offering_bit_by_bit_keeps_what_offering_all_at_once_keeps(policy, division):
    budgets = [3, 7, 23, 50, 90]
    kept = []
    for step in (1, 7, 60):
        memory = memory_of(budgets, policy, division=division)
        for _ in stream_through(memory, step=step):
            pass
        kept.append([contents(memory, k) for k in range(len(budgets))])
    assert kept[0] == kept[1] == kept[2]


def test_each_replica_keeps_what_it_would_keep_alone():
    budgets = [0, 4, 50, 11]
    for policy in STREAMING:
        together = memory_of(budgets, policy)
        for _ in stream_through(together):
            pass
        for k, budget in enumerate(budgets):
            alone = memory_of([budget], policy, seeds=[k])
            for _ in stream_through(alone):
                pass
            assert contents(alone) == contents(together, k)


@pytest.mark.parametrize("policy", ["reservoir", "balanced", "ring"])
def test_a_smaller_budget_keeps_a_prefix(policy):
    small, large = memory_of([8], policy), memory_of([30], policy)
    for memory in (small, large):
        for _ in stream_through(memory):
            pass
    assert contents(small) == contents(large)[:8]


@pytest.mark.parametrize("policy", ["reservoir", "balanced"])
def test_a_task_free_policy_never_looks_at_boundaries(policy):
    told, untold = memory_of([20], policy), memory_of([20], policy)
    for task, size in enumerate((40, 10, 30)):
        ids = torch.arange(size) + 100 * task
        offer(told, task, ids)
        offer(untold, 0, ids)
    assert [i for _, i in contents(told)] == [i for _, i in contents(untold)]


def test_class_balance():
    """Equal up to one example where every class has enough; a rare class leaves its share to the others."""
    memory = memory_of([17, 40], "balanced")
    generator = torch.Generator().manual_seed(0)
    for start in range(0, 400, 10):
        ids = torch.arange(start, start + 10)
        ids = ids[(ids % CLASSES < 3) | (torch.rand(10, generator=generator) < 0.4)]  # classes 3 and 4 are less frequent
        offer(memory, 0, ids)
    for counts, budget in zip(memory.counts_by_class(), (17, 40), strict=True):
        assert counts.sum() == budget and counts.max() - counts.min() <= 1
    rare = memory_of([40], "balanced")
    offer(rare, 0, [i for i in range(200) if i % CLASSES != 2 or i == 2])
    assert sorted(rare.counts_by_class()[0].tolist()) == [1, 9, 10, 10, 10]


def test_when_not_every_class_can_have_one_more_all_are_as_likely():
    """Budget 2 of 5 classes: each is held by about 2/5 of the replicas, whatever the policy."""
    for policy in ("balanced", "ring"):
        memory = memory_of([2] * 1500, policy, seeds=range(1500))
        offer(memory, 0, torch.arange(25))
        held = memory.counts_by_class().double().sum(0)
        assert (held - 600).abs().max() < 4 * (1500 * 0.4 * 0.6) ** 0.5


def test_a_reserved_remainder_goes_to_every_class_as_often_and_to_every_task_as_much():
    """Budget 6 of 4 tasks × 5 classes: no task gets more than two places, and no class is favoured."""
    memory = memory_of([6] * 1500, "ring", seeds=range(1500), division="reserved")
    for _ in stream_through(memory):
        pass
    by_task, by_class = memory.counts_by_task(), memory.counts_by_class().double().sum(0)
    assert by_task.amin() >= 1 and by_task.amax() <= 2 and (memory.counts == 6).all()
    assert (by_class - 1800).abs().max() < 4 * (1500 * 4 * 0.3 * 0.7) ** 0.5


def test_ring_keeps_the_latest_of_every_class():
    memory = memory_of([20], "ring")
    for start in range(0, 90, 7):
        offer(memory, 0, torch.arange(start, min(90, start + 7)))
    for c in range(CLASSES):
        assert sorted(i for _, i in contents(memory) if i % CLASSES == c) == [c + 70, c + 75, c + 80, c + 85]
    offer(memory, 1, [100, 101])  # two classes of a new task, one example each
    assert memory.counts_by_task()[0].tolist() == [18, 2, 0, 0]
    few = memory_of([20], "ring", by="task", division="reserved")
    offer(few, 0, torch.arange(3))
    assert sorted(contents(few)) == [(0, 0), (0, 1), (0, 2)]  # min(m, n)


def test_a_reserved_share_is_kept_for_its_task():
    budgets = [20, 21, 23, 3]
    memory = memory_of(budgets, "ring", by="task", division="reserved")
    after = []
    for task in stream_through(memory):
        while len(after) <= task:
            after.append(None)
        after[task] = [sorted(p for p in contents(memory, k) if p[0] == task) for k in range(4)]
    final = [[sorted(p for p in contents(memory, k) if p[0] == task) for k in range(4)] for task in range(TASKS)]
    assert final == after  # immutable once the task is over
    assert memory.counts.tolist() == budgets  # the shares add up to the budget
    assert memory.counts_by_task()[0].tolist() == [5, 5, 5, 5]
    assert all(n in (5, 6) for n in memory.counts_by_task()[2].tolist())


def test_ranks_within_groups():
    keys = torch.tensor([[0.5, 0.9, -1.0, 0.7, 0.1, 0.2]], dtype=torch.float64)
    groups = torch.tensor([[1, 0, 0, 1, 0, 1]])
    assert ranks(keys, groups).tolist() == [[1, 0, 6, 0, 1, 2]]


def test_replay_draws_without_replacement_or_everything_once():
    memory = memory_of([0, 3, 40])
    offer(memory, 0, torch.arange(50))
    for _ in range(20):
        batch = memory.draw(8, ahead=4)
        assert batch.count.tolist() == [0, 3, 8]
        for k in (1, 2):
            drawn = batch.ids[k][batch.weight[k] > 0].tolist()
            assert len(set(drawn)) == len(drawn)
            assert set(drawn) <= set(memory.ids[k][memory.held[k]].tolist())


def test_an_empty_memory_replays_nothing():
    assert memory_of([5, 5]).draw(8) is None
    memory = memory_of([5])
    offer(memory, 1, [100, 101])
    assert memory.draw(8, before=1) is None and memory.draw(8) is not None


def test_a_draw_of_earlier_tasks_leaves_out_the_present_one():
    memory = memory_of([30])
    for _ in stream_through(memory, (40, 40, 40, 0)):
        pass
    early = int(memory.counts_by_task()[0, :2].sum())
    seen = set()
    for _ in range(50):
        batch = memory.draw(5, before=2)
        seen |= set(batch.ids[0][batch.weight[0] > 0].tolist())
    assert len(seen) == early and max(seen) < 200


def test_everything_is_read_once():
    memory = memory_of([0, 6, 50], "ring")
    for _ in stream_through(memory):
        pass
    for tasks in (None, [0], [3], [0, 3]):
        sets = len(tasks or [None])
        found = [[[] for _ in range(3)] for _ in range(sets)]
        for batch in memory.everything(8, tasks=tasks):
            assert batch.x.shape == (3, 8 * sets, 1)
            for k in range(3):
                for row in batch.weight[k].nonzero().flatten().tolist():
                    found[row // 8][k].append((int(batch.task[k, row]), int(batch.ids[k, row])))
        for task, of_task in zip(tasks or [None], found, strict=True):
            assert of_task == [[p for p in contents(memory, k) if task in (None, p[0])] for k in range(3)]


def test_fields_stay_with_their_examples():
    """After a thousand random insertions every stored value still belongs to the example beside it."""
    memory = memory_of([5, 40], "balanced", fields={"double": (2,), "loss": ()})
    generator = torch.Generator().manual_seed(1)
    for task in range(TASKS):
        for _ in range(50):
            ids = torch.randint(0, 100_000, (2, 5), generator=generator)
            values = {"double": torch.stack([ids, 2 * ids], -1).float(), "loss": ids.float() + 0.5}
            memory.offer(task, ids, torch.ones_like(ids, dtype=torch.bool), values=values)
    held = memory.held
    assert torch.equal(memory.fields["double"][held][:, 1], 2.0 * memory.ids[held])
    assert torch.equal(memory.fields["loss"][held], memory.ids[held] + 0.5)
    batch = memory.draw(8)
    assert batch.stored["double"].shape == (2, 8, 2) and batch.stored["loss"].shape == (2, 8)
    assert torch.equal(batch.stored["loss"], memory.ids.gather(1, batch.slots) + 0.5)
    memory.write("loss", batch, -batch.ids.float())
    drawn = torch.zeros_like(held).scatter(1, batch.slots[:, :5], True)  # the small memory holds five
    drawn[1].scatter_(0, batch.slots[1], True)
    assert torch.equal(memory.fields["loss"][drawn], -memory.ids[drawn].float())
    assert torch.equal(memory.fields["loss"][held & ~drawn], memory.ids[held & ~drawn] + 0.5)
    sizes = memory.footprint()
    assert sizes["memory_samples"].tolist() == [45, 360]
    assert sizes["memory_double"].tolist() == [5 * 8, 40 * 8] and sizes["memory_loss"].tolist() == [20, 160]
    assert memory.fields["loss"].element_size() * 40 == 160


@pytest.mark.parametrize("policy", STREAMING)
def test_a_restored_memory_goes_on_as_if_nothing_had_been(policy):
    first, second = (memory_of([6, 30], policy, fields={"loss": ()}) for _ in range(2))
    values = {"loss": torch.rand(2, 40, generator=torch.Generator().manual_seed(0))}
    offer(first, 0, torch.arange(40), values)
    first.draw(4)
    second.load_state_dict(first.state_dict())
    for memory in (first, second):
        offer(memory, 1, torch.arange(140, 180), values)
    assert [contents(first, k) for k in (0, 1)] == [contents(second, k) for k in (0, 1)]
    assert torch.equal(first.fields["loss"], second.fields["loss"])
    assert torch.equal(first.draw(4).ids, second.draw(4).ids)


@pytest.fixture(scope="module")
def learned():
    """Three replicas of different budgets that have learned a task, and that task's features by class, one by one."""
    torch.set_num_threads(1)
    learner = trained(digits_run("finetune", seeds=(0, 1, 2), tasks=2), tasks=1)
    task = learner.stream.tasks[0]
    everything = torch.arange(task.train.width).expand(3, -1)
    x, y = task.train.gather(everything)
    return learner, task, exemplars.features(learner.classifier, x), y


def picks_of(learner, task, choose, most):
    """[replica][class] → positions in the order in which they were picked."""
    keys = exemplars.keys_in_order(learner.classifier, task, 10, choose, most)
    y = task.train.units(torch.arange(task.train.width).expand(3, -1))
    order = keys.argsort(dim=1, descending=True, stable=True)
    return [
        [[int(i) for i in order[k] if y[k, i] == c and keys[k, i] > 0] for c in range(10)] for k in range(3)
    ]  # fmt: skip


def test_features_enter_the_output_layer(learned):
    learner, task, phi, _ = learned
    x, _ = task.train.gather(torch.arange(task.train.width).expand(3, -1))
    head = learner.classifier.network.head
    torch.testing.assert_close(phi @ head.weight + head.bias.unsqueeze(1), learner.classifier(x))


def test_herding_is_icarls(learned):
    """Every pick is a greedy optimum, computed here the slow way in double precision; nobody is picked twice."""
    learner, task, phi, y = learned
    picks = picks_of(learner, task, exemplars.herd, 12)
    unit = F.normalize(phi.double(), dim=-1)
    for k in range(3):
        for c in range(10):
            members = (y[k] == c).nonzero().flatten()
            mean = F.normalize(unit[k, members].mean(0), dim=0)
            chosen = picks[k][c]
            assert len(chosen) == len(set(chosen)) == 12 and set(chosen) <= set(members.tolist())
            total = torch.zeros_like(mean)
            for n, i in enumerate(chosen, 1):
                rest = torch.tensor([j for j in members.tolist() if j not in chosen[: n - 1]])
                distances = (mean - (unit[k, rest] + total) / n).norm(dim=1)
                ours = (mean - (unit[k, i] + total) / n).norm()
                assert ours <= distances.min() + 1e-6
                total = total + unit[k, i]


def test_farthest_first_covers(learned):
    learner, task, phi, y = learned
    picks = picks_of(learner, task, exemplars.farthest_first, 10)
    for k in range(3):
        for c in range(10):
            members = (y[k] == c).nonzero().flatten()
            points, chosen = phi[k].double(), picks[k][c]
            away = torch.cdist(points[members], points[members].mean(0, keepdim=True)).flatten()
            assert (points[chosen[0]] - points[members].mean(0)).norm() <= away.min() + 1e-5
            for n in range(1, 10):
                nearest = torch.cdist(points[members], points[chosen[:n]]).amin(1)
                ours = torch.cdist(points[chosen[n : n + 1]], points[chosen[:n]]).amin()
                assert ours >= nearest.max() - 1e-4


@pytest.mark.parametrize("choose", [exemplars.herd, exemplars.farthest_first])
def test_fewer_picks_are_a_prefix(learned, choose):
    learner, task, *_ = learned
    few, many = (picks_of(learner, task, choose, n) for n in (4, 15))
    assert all(few[k][c] == many[k][c][:4] for k in range(3) for c in range(10))
    all_of_them = picks_of(learner, task, choose, 10_000)
    assert sum(len(p) for p in all_of_them[0]) == int(task.train.lengths[0])


@pytest.mark.parametrize("policy", ["herding", "k-center"])
def test_shrinking_truncates_the_order_of_picks(policy):
    """After three tasks, what is left of the first is the beginning of what was picked then."""
    learner = learner_for(digits_run("er", seeds=(0, 1), memories=(0, 40, 100), settings={"er.policy": policy}))
    memory = learner.method.memory
    first = None
    for task in learner.stream.tasks:
        learner.learn(task)
        assert torch.all(memory.counts <= memory.budgets)
        if first is None:
            first = [_classwise(memory, k) for k in range(6)]
    for k in (1, 2, 4, 5):
        last = _classwise(memory, k)
        assert sum(len(v) for v in last.values()) < sum(len(v) for v in first[k].values())
        for c, ids in last.items():
            assert ids == first[k][c][: len(ids)]
    assert memory.counts.tolist() == [0, 40, 100] * 2
    by_class = memory.counts_by_class()
    assert int(by_class[2].max() - by_class[2].min()) <= 3  # each of three tasks is equal up to one


def _classwise(memory, k):
    """Class → ids of the first task's examples in a replica's memory, in order."""
    found = {}
    for slot in (memory.held[k] & (memory.tasks[k] == 0)).nonzero().flatten().tolist():
        found.setdefault(int(memory.units[k, slot]), []).append(int(memory.ids[k, slot]))
    return found


@pytest.mark.parametrize("policy", ["herding", "k-center"])
def test_a_policy_that_needs_whole_tasks_says_so(policy):
    with pytest.raises(RequestError, match="memory_update = task_end"):
        learner_for(digits_run("er", settings={"er.policy": policy, "er.memory_update": "online"}))


def test_splits_are_a_phases_data():
    """What is held, each example once, by task; padding is an example of the same task, also where nothing is held."""
    learner = trained(
        digits_run("er", benchmark="split-digits", scenario="class", memories=(0, 3, 40), options={"order": "seeded"}), tasks=3
    )
    memory, stream = learner.method.memory, learner.stream
    splits = memory.splits(range(4))
    assert [int(n) for n in sum(split.lengths for split in splits)] == [0, 3, 40]
    for task, split in enumerate(splits):
        assert split.lengths.tolist() == memory.counts_by_task()[:, task].tolist()
        for k in range(3):
            held = [i for t, i in contents(memory, k) if t == task]
            assert split.indices[k, : len(held)].tolist() == held
        assert set(stream.units(task, split.indices).flatten().tolist()) <= {2 * task, 2 * task + 1}


def test_what_passes_again_is_refreshed():
    memory = memory_of([0, 3, 20], fields={"mark": (2,)})
    for task in (0, 1):
        ids = torch.arange(10)
        offer(memory, task, ids, {"mark": torch.zeros(3, 10, 2)})
    ids = torch.tensor([[4, 5, 6, 77]]).expand(3, 4)
    weight = torch.tensor([[1.0, 1, 0, 1]]).expand(3, 4)
    before = [contents(memory, k) for k in range(3)]
    marks = torch.arange(1.0, 25).view(3, 4, 2)
    memory.refresh(SimpleNamespace(task=1, ids=ids, weight=weight), {"mark": marks})
    assert [contents(memory, k) for k in range(3)] == before
    for k in range(3):
        for slot, (task, i) in enumerate(before[k]):
            passed = task == 1 and i in (4, 5)
            assert memory.fields["mark"][k, slot].tolist() == (marks[k, i - 4].tolist() if passed else [0.0, 0.0])
    assert bool((memory.fields["mark"][2] > 0).any())
