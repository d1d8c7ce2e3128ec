"""Declared settings: bounds, unit, scale and help sit once in the field; forms, JSON checks and error messages read them.

    class Hyper(Knobs):
        strength: float = knob(30.0, ge=0, scale="log", axis=True, symbol="λ", help="how stiff the springs are")

A `Knob` is the description of one such field that survives in `catalogue.json`, readable without torch.
"""

from __future__ import annotations

import math
import types
import typing
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined

from clcore.errors import RequestError
from clcore.text import _

Kind = Literal["flag", "integer", "number", "choice", "text"]


def knob(
    default: Any,
    *,
    help: str,
    ge: float | None = None,
    le: float | None = None,
    scale: Literal["linear", "log"] = "linear",
    axis: bool = False,
    symbol: str = "",
    unit: str = "",
    divides: int | None = None,
    suggestions: tuple[str, ...] = (),
    scenario: str = "",
) -> Any:
    """A field of `Knobs`.

    `axis` marks the one knob that may differ between the replicas of a run (a method's strength: shape (K,) at run time).
    `divides` asks for a divisor of that number. `symbol` is the paper's symbol. `suggestions` are texts that a form offers
    beside any other. `scenario`: an option that exists in this one only; elsewhere it is no part of a run.
    """
    extra = {
        "scale": scale, "axis": axis, "symbol": symbol, "unit": unit, "divides": divides, "suggestions": suggestions,
        "scenario": scenario, "ge": ge, "le": le,
    }  # fmt: skip
    return Field(default, description=help, json_schema_extra=extra)


class Knob(BaseModel):
    """The description of one declared setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    default: Any
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()  # all that a choice allows; what a form suggests for a text
    divides: int | None = None
    scale: Literal["linear", "log"] = "linear"
    axis: bool = False
    symbol: str = ""
    unit: str = ""
    scenario: str = ""
    help: str

    @property
    def label(self) -> str:
        """Its name as a form writes it."""
        return _(self.source_label)

    @property
    def source_label(self) -> str:
        return self.name.replace("_", " ").capitalize()

    def check(self, value: Any, owner: str) -> Any:
        """`value` (text from a command line or URL, or already typed) as this knob's type.

        Raises RequestError with the value, what is allowed and where (`owner`, such as "ewc" or "split-digits").
        """
        label = f"{owner}.{self.name}"
        if isinstance(value, str):
            value = self._parse(value, label)
        if value is None:
            if self.optional:
                return None
            raise RequestError(_("{what} needs a value; {allowed}.").format(what=label, allowed=self.allowed()))
        if self.kind == "flag":
            ok = isinstance(value, bool)
        elif self.kind == "choice":
            ok = value in self.choices
        elif self.kind == "text":
            ok = isinstance(value, str)
        elif self.kind == "integer":
            ok = isinstance(value, int) and not isinstance(value, bool)
        else:
            ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            value = float(value) if ok else value
        if ok and self.kind in ("integer", "number"):
            ok = (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)
        if ok and self.divides is not None:
            ok = value > 0 and self.divides % value == 0
        if not ok:
            raise RequestError(_refused(label, value, self.allowed()))
        return value

    def allowed(self) -> str:
        """What this knob accepts, as the end of a sentence."""
        if self.kind == "flag":
            text = _("choose true or false")
        elif self.kind == "choice":
            text = _("choose one of {choices}").format(choices=", ".join(self.choices))
        elif self.kind == "text":
            text = _("give a text")
        elif self.divides is not None:
            divisors = [d for d in range(1, self.divides + 1) if self.divides % d == 0]
            text = _("it must divide {n}: {divisors}").format(n=self.divides, divisors=", ".join(map(str, divisors)))
        else:
            text = self._bounds()
        return text + (" " + _("(or 'none')") if self.optional else "")

    def _bounds(self) -> str:
        whole, low, high = self.kind == "integer", self.minimum, self.maximum
        if low is not None and high is not None:
            text = _("give a whole number from {low:g} to {high:g}") if whole else _("give a number from {low:g} to {high:g}")
        elif low is not None:
            text = _("give a whole number of at least {low:g}") if whole else _("give a number of at least {low:g}")
        elif high is not None:
            text = _("give a whole number of at most {high:g}") if whole else _("give a number of at most {high:g}")
        else:
            text = _("give a whole number") if whole else _("give a number")
        return text.format(low=low, high=high)

    def _parse(self, text: str, label: str) -> Any:
        word = text.strip()
        if self.optional and word.lower() in ("none", ""):
            return None
        try:
            if self.kind == "flag":
                return {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}[word.lower()]
            if self.kind == "integer":
                return int(word)
            if self.kind == "number":
                return float(word)
        except (KeyError, ValueError):
            raise RequestError(_refused(label, text, self.allowed())) from None
        return word


def _refused(label: str, value: Any, allowed: str) -> str:
    return _("{what} = {value} is not allowed: {allowed}.").format(what=label, value=repr(value), allowed=allowed)


class Knobs(BaseModel):
    """A frozen group of declared settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def describe(cls) -> tuple[Knob, ...]:
        """The knobs of this group, in the order in which they are declared."""
        return tuple(_describe(name, field) for name, field in cls.model_fields.items())


def _describe(name: str, field: Any) -> Knob:
    annotation, optional = field.annotation, False
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        parts = [a for a in typing.get_args(annotation) if a is not type(None)]
        annotation, optional = parts[0], True
    choices: tuple[str, ...] = ()
    if typing.get_origin(annotation) is Literal:
        kind: Kind = "choice"
        choices = typing.get_args(annotation)
    else:
        kind = {bool: "flag", int: "integer", float: "number", str: "text"}[annotation]
    extra = dict(field.json_schema_extra or {})
    choices = choices or extra.pop("suggestions")
    extra.pop("suggestions", None)
    default = None if field.default is PydanticUndefined else field.default
    return Knob(
        name=name, kind=kind, default=default, optional=optional, choices=choices, help=field.description,
        minimum=extra.pop("ge"), maximum=extra.pop("le"), **extra,
    )  # fmt: skip


def check_settings(given: dict[str, Any], knobs: tuple[Knob, ...], owner: str) -> dict[str, Any]:
    """Every knob's value: the given ones checked, the others at their default. Raises RequestError."""
    by_name = {k.name: k for k in knobs}
    for name in given:
        if name not in by_name:
            allowed = ", ".join(by_name) or _("none")
            raise RequestError(
                _("{owner} has no setting '{name}'. It has: {allowed}.").format(owner=owner, name=name, allowed=allowed)
            )
    return {name: k.check(given[name], owner) if name in given else k.default for name, k in by_name.items()}
