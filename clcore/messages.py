"""`python -m clcore.messages` (or `make messages`) brings the translations in step with the sources.

What is new is added with an empty translation, what is gone is dropped, the rest stays as it is; then it says what has to
be translated. Found are the texts of `_()` and `n_()`, and those of `catalogue.json`.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from clcore import catalogue, po
from clcore.errors import LabError
from clcore.text import LANGUAGES, SOURCE, catalogue_path

ROOT = Path(__file__).parents[1]
SOURCES = ("app.py", "pages/**/*.py", "clcore/**/*.py")
FUNCTIONS = {"_": 1, "n_": 2}  # how many of the arguments are texts
# These translate what another place has written: the cards' texts, found by `_of_the_catalogue`.
INDIRECT = {"clcore/catalogue.py", "clcore/knobs.py"}


def messages() -> dict[tuple[str, str], list[str]]:
    """(text, plural or empty) → the files it is in. Raises LabError when a text is not written out."""
    found: dict[tuple[str, str], list[str]] = {}
    for key, place in [*_of_the_sources(), *_of_the_catalogue()]:
        places = found.setdefault(key, [])
        if place not in places:
            places.append(place)
    return found


def _of_the_sources() -> Iterator[tuple[tuple[str, str], str]]:
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern)):
        place = path.relative_to(ROOT).as_posix()
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if _says(node)]
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            texts = [_text(argument) for argument in call.args[: FUNCTIONS[call.func.id]]]
            if all(isinstance(text, str) for text in texts):
                yield (texts[0], texts[1] if len(texts) > 1 else ""), place
            elif place not in INDIRECT:
                raise LabError(f"{place}:{call.lineno}: a text to translate has to be written out here, as one string.")


def _says(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) else None


def _of_the_catalogue() -> Iterator[tuple[tuple[str, str], str]]:
    texts: list[str] = []
    cards = json.loads(catalogue.PATH.read_text(encoding="utf-8"))
    catalogue.reworded(cards, lambda text: texts.append(text) or text)
    place = catalogue.PATH.relative_to(ROOT).as_posix()
    for text in texts:
        yield (text, ""), place
    for kind in ("methods", "benchmarks", "networks"):
        for card in getattr(catalogue.catalogue(), kind):
            for knob in card.knobs:
                yield (knob.source_label, ""), place


def brought_in_step(entries: list[po.Entry], forms: int) -> list[po.Entry]:
    """The header and every message of the sources, with the translations there are."""
    known = {entry.key: entry for entry in entries}
    fresh = [known[("", "")]]
    for (text, plural), places in messages().items():
        old = known.get((text, plural))
        said = old.said if old else ("",) * (forms if plural else 1)
        fresh.append(po.Entry(text, plural, said, tuple(places), old.flags if old else ()))
    return fresh


def plural_forms(header: str) -> int:
    """As many as the header of the catalogue says."""
    return int(header.partition("nplurals=")[2].partition(";")[0])


def main() -> int:
    waiting = 0
    for language in LANGUAGES:
        if language == SOURCE:
            continue
        path = catalogue_path(language)
        entries = po.read(path.read_text(encoding="utf-8"))
        fresh = brought_in_step(entries, plural_forms(entries[0].said[0]))
        path.write_text(po.written(fresh), encoding="utf-8")
        missing = [entry for entry in fresh if entry.missing]
        waiting += len(missing)
        print(f"{LANGUAGES[language]}: {len(fresh) - 1} texts, {len(missing)} to translate in {path.relative_to(ROOT)}")
        for entry in missing:
            print(f"  {entry.where[0]}: {entry.text}")
    return 1 if waiting else 0


if __name__ == "__main__":
    sys.exit(main())
