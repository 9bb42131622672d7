"""A shape refuses what its schema refuses, with the place, and describes itself by the docstring of its class."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from jsonschema import Draft202012Validator

from semviz.common import json_shapes as shapes
from semviz.common.json_shapes import COUNT, NUMBER, TEXT, ListOf, MapOf, Record


@dataclass
class Animal:
    """An animal.

    Attributes:
        name: What it is called,
            in one word; None before.
        legs, eyes: How many it has: of each.
    """

    name: str
    legs: int
    eyes: int


RECORD = Record({"name": TEXT.or_none, "legs": COUNT, "eyes": COUNT.described("Two, mostly.")}, of=Animal)
SHAPES = {
    name: shape for name, shape in vars(shapes).items() if isinstance(shape, shapes.Scalar)
} | {
    "a number or null": NUMBER.or_none,
    "a word or null": shapes.one_of("a", "1").or_none,
    "one word": shapes.one_of("a", "b"),
    "a pattern": shapes.text_of("a's", "a+"),
    "three": shapes.constant(3),
    "a list": ListOf(COUNT),
    "a map": MapOf(COUNT, keys="[a-z]"),
    "any map": MapOf(TEXT),
    "a record": RECORD,
    "a record of before": Record(RECORD.fields, of=Animal, optional=("name", "eyes")),
    "a list of records": ListOf(RECORD),
}  # fmt: skip
ANIMAL = {"name": None, "legs": 4, "eyes": 2}
VALUES = [
    None, True, False, 0, 1, 3, -1, 0.5, 1.5, -0.5, "", "a", "aa", "ab", "1", [], [1], [-1], [[]], {}, {"a": 1},
    {"A": 1}, {"a": "b"}, {"a": -1}, ANIMAL, {**ANIMAL, "legs": -1}, {"name": "a", "legs": 1}, [ANIMAL], [ANIMAL, {}],
    {"legs": 4}, {"legs": 4, "eyes": -1},
]  # fmt: skip


def fits(shape, value):
    try:
        shape.check(value, "it")
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_and_its_schema_agree(name):
    schema = SHAPES[name].schema()
    Draft202012Validator.check_schema(schema)
    taken = [fits(SHAPES[name], value) for value in VALUES]
    assert taken == [Draft202012Validator(schema).is_valid(value) for value in VALUES]
    assert {*taken} == {True, False}


def test_the_place_is_told():
    with pytest.raises(ValueError, match=r"^zoo\[1\]\.legs is '4' and not a whole number of at least 0$"):
        ListOf(RECORD).check([ANIMAL, {**ANIMAL, "legs": "4"}], "zoo")
    with pytest.raises(ValueError, match=r"^legs is missing$"):
        RECORD.check({"name": "cat"})
    with pytest.raises(ValueError, match=r"^ids has the key 'x', which does not match"):
        MapOf(TEXT, keys="[0-9]+").check({"x": "y"}, "ids")


def test_a_reader_overlooks_a_key_that_the_schema_refuses():
    more = {**ANIMAL, "stranger": 1}
    assert fits(RECORD, more)
    assert not Draft202012Validator(RECORD.schema()).is_valid(more)


def test_meanings_are_those_of_the_docstring_unless_a_shape_has_its_own():
    said = {key: part["description"] for key, part in RECORD.schema()["properties"].items()}
    legs = "How many it has: of each."
    assert said == {"name": "What it is called, in one word; null before.", "legs": legs, "eyes": "Two, mostly."}


def test_a_key_that_nobody_describes_is_not_rendered():
    with pytest.raises(KeyError, match="legs"):
        Record({"legs": COUNT}).schema()
