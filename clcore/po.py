"""Gettext's .po files: read, written, and compiled in memory to what `gettext` of the standard library understands.

Only what our catalogues hold: a header, comments, messages with or without a plural. No contexts.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_FIELD = re.compile(r'(msgid_plural|msgid|msgstr(?:\[\d+\])?)\s+(".*")')


@dataclass(frozen=True)
class Entry:
    """One message. `said` has one text a plural form; an empty one is not translated yet."""

    text: str
    plural: str = ""
    said: tuple[str, ...] = ("",)
    where: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.text, self.plural

    @property
    def missing(self) -> bool:
        return not all(self.said) or "fuzzy" in self.flags


def read(text: str) -> list[Entry]:
    """The entries of a .po file in their order, its header (with the empty text) first. Raises ValueError."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return [entry for block in blocks if (entry := _entry(block)) is not None]


def _entry(block: str) -> Entry | None:
    fields: dict[str, str] = {}
    where: list[str] = []
    flags: list[str] = []
    current = ""
    for line in map(str.strip, block.splitlines()):
        if line.startswith("#:"):
            where += line[2:].split()
        elif line.startswith("#,"):
            flags += [flag.strip() for flag in line[2:].split(",")]
        elif line.startswith("#"):
            continue
        elif found := _FIELD.fullmatch(line):
            current = found[1]
            if current in fields:
                raise ValueError(f"a second {current} before an empty line: {line}")
            fields[current] = json.loads(found[2])
        elif line.startswith('"') and current:
            fields[current] += json.loads(line)
        else:
            raise ValueError(f"not a line of a .po file: {line}")
    if not fields:
        return None
    said = tuple(text for name, text in fields.items() if name.startswith("msgstr"))
    return Entry(fields["msgid"], fields.get("msgid_plural", ""), said, tuple(where), tuple(flags))


def written(entries: Iterable[Entry]) -> str:
    """The .po file of these entries, a line a text."""
    blocks = []
    for entry in entries:
        lines = [f"#: {place}" for place in entry.where]
        lines += [f"#, {', '.join(entry.flags)}"] if entry.flags else []
        lines += _field("msgid", entry.text)
        if entry.plural:
            lines += _field("msgid_plural", entry.plural)
            for i, said in enumerate(entry.said):
                lines += _field(f"msgstr[{i}]", said)
        else:
            lines += _field("msgstr", entry.said[0])
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _field(name: str, text: str) -> list[str]:
    parts = text.splitlines(keepends=True)
    if len(parts) < 2:
        return [f"{name} {_quoted(text)}"]
    return [f'{name} ""', *map(_quoted, parts)]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def compiled(entries: Sequence[Entry]) -> bytes:
    """The same as an .mo file (the GNU gettext manual describes the format); what is not translated is left out."""
    known = {}
    for entry in entries:
        if not entry.missing:
            known["\0".join(filter(None, entry.key))] = "\0".join(entry.said)
    pairs = sorted((text.encode(), said.encode()) for text, said in known.items())
    n = len(pairs)
    tables, strings = [], b""
    start = 28 + 16 * n  # seven numbers, then two tables of n (length, offset)
    for column in (0, 1):
        for pair in pairs:
            tables += [len(pair[column]), start + len(strings)]
            strings += pair[column] + b"\0"
    return struct.pack(f"<7I{4 * n}I", 0x950412DE, 0, n, 28, 28 + 8 * n, 0, 0, *tables) + strings
