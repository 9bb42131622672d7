"""The shapes of JSON that a file holds: what a reader checks, and the JSON Schema that says the same to other programs.

Files may be damaged, made by others, or made to deceive, so each is compared with its shape before anything is made of
it. `docs/schema/write.py` writes the schemas and the tables of docs/data-format.md from the same shapes.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any

from semviz.common.checks import is_whole, short_repr

if TYPE_CHECKING:
    from typing_extensions import Self

Schema = dict[str, Any]


@dataclass(frozen=True)
class Shape(ABC):
    """What a value of JSON must look like.

    Attributes:
        description: What the value means, where no class with attributes says it.
    """

    _: KW_ONLY
    description: str = ""

    def described(self, description: str) -> Self:
        """The same shape with what its value means."""
        return replace(self, description=description)

    def check(self, value: Any, name: str = "") -> None:
        """Compare a value with the shape.

        Args:
            value: The value, as `json.loads` gives it.
            name: Its place in the file.

        Raises:
            ValueError: If it has another shape, with the place.
        """
        self._check(value, name)

    def schema(self) -> Schema:
        """Render it as JSON Schema (2020-12), without the description."""
        return self._schema()

    @abstractmethod
    def _check(self, value: Any, name: str) -> None: ...

    @abstractmethod
    def _schema(self) -> Schema: ...


@dataclass(frozen=True)
class Scalar(Shape):
    """A text, a number, true, false or null.

    Attributes:
        words: What it should be.
        fits: The test of it.
        rendered: The same as JSON Schema.
    """

    words: str
    fits: Callable[[Any], bool]
    rendered: Schema

    @property
    def or_none(self) -> Scalar:
        """The same, or null."""
        rendered = {"anyOf": [self.rendered, {"type": "null"}]}
        return Scalar(f"{self.words} or null", lambda value: value is None or self.fits(value), rendered)

    def _check(self, value: Any, name: str) -> None:
        if not self.fits(value):
            raise ValueError(f"{name} is {short_repr(value)} and not {self.words}")

    def _schema(self) -> Schema:
        return self.rendered


@dataclass(frozen=True)
class ListOf(Shape):
    """A list whose items all have one shape."""

    items: Shape

    def _check(self, value: Any, name: str) -> None:
        if not isinstance(value, list):
            raise ValueError(f"{name} is {short_repr(value)} and not a list")
        for i, item in enumerate(value):
            self.items.check(item, f"{name}[{i}]")

    def _schema(self) -> Schema:
        return {"type": "array", "items": self.items.schema()}


@dataclass(frozen=True)
class MapOf(Shape):
    """An object with keys of any name, whose values all have one shape.

    Attributes:
        values: The shape.
        keys: Regular expression that the keys match as a whole.
    """

    values: Shape
    keys: str = ".*"

    def _check(self, value: Any, name: str) -> None:
        for key, item in _object(value, name).items():
            if not re.fullmatch(self.keys, key, re.DOTALL):
                raise ValueError(f"{name} has the key {short_repr(key)}, which does not match {self.keys}")
            self.values.check(item, f"{name}.{short_repr(key)}")

    def _schema(self) -> Schema:
        keys = {} if self.keys == ".*" else {"propertyNames": {"pattern": f"^{self.keys}$"}}
        return {"type": "object", **keys, "additionalProperties": self.values.schema()}


@dataclass(frozen=True)
class Record(Shape):
    """An object with keys that must be there; a reader overlooks others, and a writer writes none.

    Attributes:
        fields: The shape of each key's value.
        optional: Keys that files of before lack; what the class has by default then holds.
        of: The class whose attributes the keys are; what they mean stands in its docstring.
    """

    fields: Mapping[str, Shape]
    of: type | None = None
    optional: tuple[str, ...] = ()

    def _check(self, value: Any, name: str) -> None:
        found = _object(value, name)
        for key, shape in self.fields.items():
            place = f"{name}.{key}" if name else key
            if key in found:
                shape.check(found[key], place)
            elif key not in self.optional:
                raise ValueError(f"{place} is missing")

    def _schema(self) -> Schema:
        described = {} if self.of is None else attribute_descriptions(self.of)
        described = {key: re.sub(r"\bNone\b", "null", text) for key, text in described.items()}
        properties = {
            key: {"description": shape.description or described[key], **shape.schema()}
            for key, shape in self.fields.items()
        }
        return {
            "type": "object",
            "properties": properties,
            "required": [key for key in self.fields if key not in self.optional],
            "additionalProperties": False,
        }


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'it'} is {short_repr(value)} and not an object with keys")
    return value


def attribute_descriptions(of: type) -> dict[str, str]:
    """Read what each attribute of a class means off its docstring's section `Attributes`, on one line each."""
    section = inspect.cleandoc(of.__doc__ or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def one_of(*words: str) -> Scalar:
    """One of some words."""
    return Scalar(f"one of {list(words)}", lambda value: isinstance(value, str) and value in words, {"enum": [*words]})


def text_of(words: str, pattern: str) -> Scalar:
    """A text that matches a regular expression as a whole."""
    schema = {"type": "string", "pattern": f"^{pattern}$"}
    return Scalar(words, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, schema)


def constant(value: int) -> Scalar:
    """One number, such as a version."""
    return Scalar(str(value), lambda found: is_whole(found) and found == value, {"const": value})


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    # A whole number of JSON may be too large for any float.
    return _number(value) and abs(value) < 1e300


def _whole(least: int) -> Scalar:
    words = f"a whole number of at least {least}"
    return Scalar(
        words, lambda value: is_whole(value) and least <= value < 2**63, {"type": "integer", "minimum": least}
    )


TEXT = Scalar("a text", lambda value: isinstance(value, str), {"type": "string"})
FLAG = Scalar("true or false", lambda value: isinstance(value, bool), {"type": "boolean"})
COUNT, NATURAL = _whole(0), _whole(1)
NUMBER = Scalar(
    "a number", lambda value: _number(value) and (isinstance(value, float) or _finite(value)), {"type": "number"}
)
"""Also Infinity and NaN, which Python's `json` writes."""
FINITE = Scalar("a finite number", _finite, {"type": "number"})
POSITIVE = Scalar(
    "a positive number", lambda value: _finite(value) and value > 0, {"type": "number", "exclusiveMinimum": 0}
)
AMOUNT = Scalar("a number of at least 0", lambda value: _finite(value) and value >= 0, {"type": "number", "minimum": 0})
SHARE = Scalar(
    "a number from 0 to 1",
    lambda value: _finite(value) and 0 <= value <= 1,
    {"type": "number", "minimum": 0, "maximum": 1},
)
