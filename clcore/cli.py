"""The command line: what can be chosen, training in the foreground, the recorded runs, the background service.

Exit status: 0 finished, 1 a failed run, 2 a bad request (one sentence on standard error), 130 cancelled.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clcore import report
from clcore.accounting import Measured
from clcore.catalogue import Training, catalogue
from clcore.control import Control
from clcore.errors import Cancelled, LabError, RequestError
from clcore.events import Event, Progress, RunFailed, RunStarted
from clcore.settings import settings
from clcore.spec import ExperimentSpec, Grid, MethodChoice, NetworkChoice, OptimizerChoice, RunSpec, make
from clcore.store import RunRow, Store, open_store

if TYPE_CHECKING:  # torch
    from clcore.fitting import Fitted

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except LabError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


# --- commands ---


def _methods(options: argparse.Namespace) -> None:
    _list_cards(catalogue().methods, options.json, lambda m: f"{m.family:<15} {', '.join(m.scenarios)}")


def _benchmarks(options: argparse.Namespace) -> None:
    _list_cards(
        catalogue().benchmarks,
        options.json,
        lambda b: f"{', '.join(b.scenarios):<20} {'offline' if b.offline else 'downloads ' + b.downloads}",
    )


def _run(options: argparse.Namespace) -> int:
    experiment = experiment_from(options)
    if options.detach:
        return _detach(experiment, options)
    if options.data_dir:
        os.environ["CLCORE_DATA_DIR"] = str(Path(options.data_dir).expanduser())
    _check_writable(options.json)
    for name in _ONE_THREAD:  # two threads gain little on small networks and collapse beside other load
        os.environ.setdefault(name, "1")
    store, group = open_store(), uuid.uuid4().hex[:12]
    runs, results, status = experiment.runs(), [], 0
    for run, fit in zip(runs, _checked(runs), strict=True):
        result, status = _train_here(store, run, group, fit)
        if result is not None:
            results.append(Measured(run, result, group))
        if status:
            break
    if results:
        print(report.table(results))
    if options.json and (results or status == Cancelled.exit_status):
        document = report.document(experiment.benchmark, experiment.scenario, results)
        text = json.dumps(document, indent=1) + "\n"
        _write("--json", options.json, text, "; the results are recorded: `export RUN` writes them")
    return status


def _checked(runs: Sequence[RunSpec]) -> list[Fitted | None]:
    """What the budgets of the runs came to. Raises RequestError before anything is trained or recorded."""
    control = Control()
    with _ProgressBar("checking") as bar, _cancelling(control):
        from clcore import preflight  # torch: several seconds

        return preflight.check(runs, settings().data_dir, control, bar.announce)


@contextmanager
def _cancelling(control: Control) -> Iterator[None]:
    """Ctrl-C is the wish to cancel, which leaves what was finished."""
    before = signal.signal(signal.SIGINT, lambda *_: control.want("cancel"))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _train_here(
    store: Store, run: RunSpec, experiment: str, fit: Fitted | None
) -> tuple[dict[str, Any] | None, int]:  # fmt: skip
    """Trains one run in the foreground, recorded in the store. Returns its result, as far as there is one, and the status."""
    from clcore.runner.processes import created, this_host
    from clcore.runner.recording import RecordedRun

    (run_id,) = store.add([run], state="starting", experiment=experiment)
    row = store.enroll(run_id, host=this_host(), pid=os.getpid(), pid_started=created(os.getpid()) or 0.0)
    with _ProgressBar(run.method.name) as bar:
        recorded = RecordedRun(store, row, listen=bar.listen)
        with _cancelling(recorded.control):
            status = recorded.conduct(announce=bar.announce, fit=fit)
    final = recorded.final
    if isinstance(final, RunFailed):
        if final.traceback:
            print(final.traceback, file=sys.stderr)
        print(final.message, file=sys.stderr)
        status = RequestError.exit_status if final.bad_request else LabError.exit_status
    return getattr(final, "result", None), status if status in (0, 2, Cancelled.exit_status) else 1


def _detach(experiment: ExperimentSpec, options: argparse.Namespace) -> int:
    from clcore.runner.launch import ensure_runner

    if options.data_dir or options.json:
        flag = "--data-dir" if options.data_dir else "--json"
        instead = (
            "set CLCORE_DATA_DIR where the runner starts" if options.data_dir else "use `export RUN` when it is over"
        )
        raise RequestError(f"{flag} does nothing together with --detach; {instead}.")
    for run_id, run in zip(open_store().add(experiment.runs()), experiment.runs(), strict=True):
        print(f"{run_id}  {run.method.name}")
    ensure_runner()
    return 0


def _runs(options: argparse.Namespace) -> None:
    if options.limit < 1:
        raise RequestError(f"--limit {options.limit} is not allowed: give a whole number from 1.")
    rows = open_store().runs(limit=options.limit)
    if options.json:
        print(json.dumps([report.row_summary(row) for row in rows], indent=1))
    else:
        print(report.history(rows))


def _show(options: argparse.Namespace) -> None:
    store = open_store()
    row = store.run(options.run)
    print(report.details(row, _fine_tuning(store, row)))


def _cancel(options: argparse.Namespace) -> None:
    store = open_store()
    row = store.run(options.run)
    if not row.live:
        raise RequestError(f"Run {row.id} is already {row.state}; there is nothing to cancel.")
    store.want(row.id, "cancel")
    print(f"{row.id}  cancel requested")


def _delete(options: argparse.Namespace) -> None:
    store = open_store()
    row = store.run(options.run)
    store.delete([row.id])
    print(f"{row.id}  deleted")


def _export(options: argparse.Namespace) -> None:
    store = open_store()
    row = store.run(options.run)
    if row.result is None:
        raise RequestError(f"Run {row.id} is {row.state} and has no result to export.")
    if options.format == "json":
        fine_tuning = map(report.measured, _fine_tuning(store, row))
        document = report.document(row.benchmark, row.scenario, [report.measured(row)], fine_tuning)
        print(json.dumps(document, indent=1))
    else:
        writer = csv.writer(sys.stdout)
        writer.writerow(report.CELL_COLUMNS)
        writer.writerows(report.cells(row.id, row.spec, row.result))


def _compare(options: argparse.Namespace) -> None:
    from datetime import UTC, datetime

    from clcore.comparison import groups, names, task_ends
    from clcore.export import tables
    from clcore.export.html import report as html

    wanted = {"--html": options.html, "--latex": options.latex, "--csv": options.csv}
    files = {flag: path for flag, path in wanted.items() if path}
    if not files:
        raise RequestError("Say which file to write: --html FILE, --latex FILE or --csv FILE.")
    for flag, path in files.items():
        _check_writable(path, flag)
    store = open_store()
    rows = [store.run(name) for name in options.runs]
    if waiting := [row.id for row in rows if row.state != "finished"]:
        raise RequestError(f"Run {', '.join(waiting)} has not finished; a report is about finished runs.")
    events = {row.id: store.events_after(row.id, types={"run_started", "progress"}) for row in rows}
    plans = {run_id: found[0][1] for run_id, found in events.items() if found}
    seconds = {
        row.id: task_ends((e for _, e in events[row.id] if isinstance(e, Progress)), row.result).seconds
        for row in rows
    }  # fmt: skip
    found = groups(rows, plans)
    labels = names(found)
    makers = {
        "--html": lambda: html(found, labels, title=options.title, seconds=seconds, written=datetime.now(UTC)),
        "--latex": lambda: tables.as_latex(found, labels),
        "--csv": lambda: tables.as_csv(found, labels),
    }
    for flag, path in files.items():
        _write(flag, path, makers[flag]())
        print(f"wrote {path}")


def _import(options: argparse.Namespace) -> None:
    from clcore.export.importing import import_results

    path = Path(options.file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror}); name a file of results.") from None
    store = open_store()
    done = import_results(store, content, name=path.name)
    for run_id in done.new:
        print(f"{run_id}  {store.run(run_id).method}")
    if done.known:
        print(f"{done.known} of its runs {'is' if done.known == 1 else 'are'} here already")


def _fine_tuning(store: Store, row: RunRow) -> list[RunRow]:
    """The newest runs that may be the measure of a run's cost."""
    return store.runs(methods={"finetune"}, states={"finished"}, benchmarks={row.benchmark}, limit=100)


def _runner(options: argparse.Namespace) -> int:
    from clcore.runner import service

    return service.main()


def _catalogue(options: argparse.Namespace) -> None:
    from clcore import registry
    from clcore.catalogue import PATH

    registry.write()
    print(f"wrote {PATH.name}")


# --- the experiment that the options of `run` ask for ---


def experiment_from(options: argparse.Namespace) -> ExperimentSpec:
    """The ExperimentSpec; what is not given comes from the benchmark's suggestions. Raises RequestError."""
    card = catalogue().benchmark(options.benchmark)
    training = card.training
    chosen = dict(_pair(text, "--option") for text in options.option)
    for name, value in (("tasks", options.tasks), ("train_per_task", options.train_per_task)):
        if value is not None:
            chosen[name] = value
    knobs = {knob.name: knob for knob in card.knobs}
    optimizer = options.optimizer or training.optimizer
    return make(
        ExperimentSpec,
        benchmark=card.name,
        options={k: knobs[k].check(v, card.name) if k in knobs else v for k, v in chosen.items()},
        scenario=options.scenario or card.default_scenario,
        network=_network(options, training),
        optimizer=make(
            OptimizerChoice,
            name=optimizer,
            lr=_usual_lr(training, optimizer) if options.lr is None else options.lr,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
        ),
        epochs=training.epochs if options.epochs is None else options.epochs,
        batch_size=training.batch_size if options.batch_size is None else options.batch_size,
        active_classes=options.active_classes,
        watch_switches=options.watch_switches,
        optimizer_state=options.optimizer_state,
        device=options.device,
        grid=make(
            Grid,
            seeds=_numbers(options.seeds, int, "--seeds"),
            memories=_numbers(options.memory or "200", int, "--memory"),
        ),
        gradient_samples=_equal(options.equal),
        memory_bytes=_bytes(options),
        methods=_chosen_methods(options),
    )


def _equal(text: str | None) -> int | str | None:
    """`gradient-samples`: as many as fine-tuning takes; `gradient-samples=N`: that many."""
    if text is None:
        return None
    name, equals, number = text.partition("=")
    if name != "gradient-samples":
        raise RequestError(f"--equal {text} is not allowed: write gradient-samples or gradient-samples=N.")
    if not equals:
        return "fine-tuning"
    found = _numbers(number, int, "--equal gradient-samples")
    if len(found) > 1:
        raise RequestError(f"--equal {text} is not allowed: give one number.")
    return found[0]


def _bytes(options: argparse.Namespace) -> int | None:
    if options.memory_bytes is not None and options.memory is not None:
        raise RequestError("--memory counts examples and --memory-bytes bytes; give one of them.")
    return options.memory_bytes


def _usual_lr(training: Training, optimizer: str) -> float:
    return training.lr if optimizer == training.optimizer else {"sgd": 0.1, "adam": 0.001, "adamw": 0.001}[optimizer]


def _network(options: argparse.Namespace, training: Training) -> NetworkChoice:
    """The network with its widths (the benchmark's suggestion where it has none of its own) and its settings."""
    card = catalogue().network(options.network)
    hidden = training.hidden if card.hidden is None else card.hidden
    if options.hidden is not None:  # "none" is no hidden layer
        hidden = () if options.hidden.strip().lower() == "none" else _numbers(options.hidden, int, "--hidden")
    knobs = {knob.name: knob for knob in card.knobs}
    given = dict(_pair(text, "--network-option") for text in options.network_option)
    settings = {k: knobs[k].check(v, card.name) if k in knobs else v for k, v in given.items()}
    return make(NetworkChoice, name=card.name, hidden=hidden, settings=settings)


def _chosen_methods(options: argparse.Namespace) -> tuple[MethodChoice, ...]:
    choices = [MethodChoice(name=name) for name in options.method]
    settings: list[dict[str, Any]] = [{} for _ in choices]
    for text in options.set:
        key, value = _pair(text, "--set")
        part, _, name = key.partition(".")
        owners = [i for i, choice in enumerate(choices) if part in choice.parts]
        if not owners:
            raise RequestError(f"--set {text}: no chosen method is named '{part}'; write METHOD.NAME=VALUE.")
        knobs = {knob.name: knob for knob in catalogue().method(part).knobs}
        for i in owners:
            settings[i][key] = knobs[name].check(value, part) if name in knobs else value
    strengths: list[tuple[float, ...]] = [() for _ in choices]
    for text in options.strengths:
        method, equals, values = text.rpartition("=")
        able = [i for i, choice in enumerate(choices) if (choice.name == method if equals else choice.swept_part)]
        if not able and not equals:
            raise RequestError(
                f"--strengths {text}: no chosen method has a strength to sweep; leave it out or choose a method with one."
            )
        if not able or (len(able) > 1 and not equals):  # named and chosen twice: refused as that
            named = ", ".join(choice.name for i, choice in enumerate(choices) if i in able or not able)
            what = f"no chosen method is named '{method}'" if equals else f"{len(able)} of the chosen methods have a strength"
            raise RequestError(f"--strengths {text}: {what}; write METHOD=1,10,100 with one of {named}.")
        strengths[able[0]] = _numbers(values, float, "--strengths")
    return tuple(
        make(MethodChoice, name=c.name, settings=s, strengths=x)
        for c, s, x in zip(choices, settings, strengths, strict=True)
    )


def _pair(text: str, flag: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise RequestError(f"{flag} {text} is not allowed: write NAME=VALUE.")
    return key, value


def _numbers(text: str, kind: type, flag: str) -> tuple:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        noun = "whole numbers" if kind is int else "numbers"
        raise RequestError(f"{flag} '{text}' is not allowed: give {noun} separated by commas.") from None


# --- output ---


class _ProgressBar:
    """A bar on the terminal (hidden when the output is not one), fed by events."""

    def __init__(self, method: str):
        from tqdm import tqdm

        self._bar = tqdm(
            total=1.0, desc=method, disable=None, leave=False,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}",
        )  # fmt: skip

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def announce(self, message: str, share: float | None) -> None:
        """Before training: a download, say."""
        self._bar.set_postfix_str(message if share is None else f"{message} {share:.0%}")

    def listen(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._bar.reset(total=float(len(event.tasks)))
            if event.note:
                self._bar.write(f"{event.method}: {event.note}", file=sys.stderr)
        elif isinstance(event, Progress):
            self._bar.set_postfix_str(f"task {event.task}")
            self._bar.update(max(0.0, event.position - self._bar.n))


def _list_cards(cards: Sequence[Any], as_json: bool, facts) -> None:
    if as_json:
        print(json.dumps([card.model_dump(mode="json") for card in cards], indent=1))
        return
    for card in cards:
        print(f"{card.name:<22} {card.title:<26} {facts(card)}")
        if card.knobs:
            print(" " * 23 + "settings: " + ", ".join(f"{k.name}={_shown(k.default)}" for k in card.knobs))


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _check_writable(path: str | None, flag: str = "--json") -> None:
    """Better a sentence now than a lost result after an hour."""
    if path is None:
        return
    target = Path(path)
    folder = target.parent
    if target.is_dir() or not folder.is_dir() or not os.access(target if target.exists() else folder, os.W_OK):
        raise RequestError(
            f"{flag} {path} cannot be written; name a file in a folder that exists and that you may write to."
        )


def _write(flag: str, path: str, text: str, hint: str = "") -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabError(f"{flag} {path} could not be written ({error.strerror}){hint}.") from error


# --- arguments ---


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        self.exit(2, f"{message[0].upper()}{message[1:]}. See `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m clcore", description="Forgetting Lab: continual learning, trained and measured.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, function, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=function)
        return sub

    for name, function in (("methods", _methods), ("benchmarks", _benchmarks)):
        command(name, function, f"list the {name}").add_argument(
            "--json", action="store_true", help="the full catalogue"
        )
    _add_run_arguments(command("run", _run, "train in the foreground"))
    runs = command("runs", _runs, "list recorded runs, newest first")
    runs.add_argument("--limit", type=int, default=30)
    runs.add_argument("--json", action="store_true")
    for name, function, help in (
        ("show", _show, "show one run"),
        ("cancel", _cancel, "cancel a run"),
        ("delete", _delete, "delete a run that is over"),
    ):
        command(name, function, help).add_argument("run", metavar="RUN", help="its id, or a unique beginning of it")
    export = command("export", _export, "write a run's results to standard output")
    export.add_argument("run", metavar="RUN")
    export.add_argument("--format", choices=("csv", "json"), default="json")
    compare = command("report", _compare, "compare finished runs in a file: a report, or a table")
    compare.add_argument("runs", metavar="RUN", nargs="+")
    compare.add_argument(
        "--html", metavar="FILE", help="charts, tables, run card and commands in one file; works offline"
    )
    compare.add_argument("--latex", metavar="FILE", help="the table of metrics for a paper")
    compare.add_argument("--csv", metavar="FILE", help="the table of metrics, unrounded")
    compare.add_argument("--title", default="", help="the report's heading")
    importing = command("import", _import, "record the results of a file that `run --json` has written")
    importing.add_argument("file", metavar="FILE")
    command("runner", _runner, "the background service that trains queued runs")
    command("catalogue", _catalogue, "regenerate catalogue.json from the code")
    return parser


def _add_run_arguments(run: argparse.ArgumentParser) -> None:
    run.add_argument("--benchmark", required=True, metavar="NAME")
    run.add_argument("--scenario", help="task, domain, class or task-free (default: the benchmark's usual one)")
    run.add_argument("--method", action="append", required=True, metavar="NAME", help="repeatable; er+ewc combines two")
    run.add_argument(
        "--set", action="append", default=[], metavar="METHOD.NAME=VALUE", help="a hyper-parameter; repeatable"
    )
    run.add_argument(
        "--strengths", action="append", default=[], metavar="METHOD=1,10", help="sweep a method's strength"
    )
    run.add_argument("--memory", metavar="N,N", help="replay budgets in examples, for the whole stream (default 200)")
    run.add_argument(
        "--memory-bytes",
        type=int,
        metavar="N",
        help="instead: bytes for all that a method keeps; replay gets what is left",
    )
    run.add_argument(
        "--equal", metavar="gradient-samples[=N]",
        help="fit each method's epochs to the gradient samples that fine-tuning takes in --epochs, or to N",
    )  # fmt: skip
    run.add_argument("--seeds", default="0", metavar="N,N", help="default 0")
    run.add_argument("--epochs", type=int)
    run.add_argument("--batch-size", type=int)
    run.add_argument("--network", default="mlp", metavar="NAME", help="mlp (default), cnn, vgg-small or resnet18-slim")
    run.add_argument("--hidden", metavar="N,N", help="widths of the fully connected hidden layers, or none")
    run.add_argument(
        "--network-option", action="append", default=[], metavar="NAME=VALUE",
        help="a setting of the network, such as norm=batch; repeatable",
    )  # fmt: skip
    run.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="a benchmark option; repeatable"
    )
    run.add_argument("--tasks", type=int)
    run.add_argument("--train-per-task", type=int)
    run.add_argument("--optimizer", choices=("sgd", "adam", "adamw"))
    run.add_argument("--lr", type=float)
    run.add_argument("--momentum", type=float, default=0.0)
    run.add_argument("--weight-decay", type=float, default=0.0)
    run.add_argument("--active-classes", choices=("seen", "all", "current"), default="seen")
    run.add_argument("--optimizer-state", choices=("reset", "keep"), default="reset")
    run.add_argument(
        "--watch-switches", type=int, default=0, metavar="N",
        help="evaluate after each of the first N steps of every task: the stability gap (costs time, changes no result)",
    )  # fmt: skip
    run.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    run.add_argument("--data-dir", metavar="DIR")
    run.add_argument("--json", metavar="FILE", help="write the results there")
    run.add_argument("--detach", action="store_true", help="hand the runs to the background service")
