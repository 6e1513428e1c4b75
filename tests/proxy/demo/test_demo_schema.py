"""Instances of JSON schemas, judged by pydantic, which did not make them."""

import datetime
import decimal
import enum
import json
import re
import uuid
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mimic_proxy.demo.hints import Hints
from mimic_proxy.demo.pattern import example
from mimic_proxy.demo.refusals import Refusal
from mimic_proxy.demo.schema import instance


class Unit(enum.StrEnum):
    celsius = "celsius"
    fahrenheit = "fahrenheit"


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=3, max_length=12)
    code: str = Field(pattern=r"^[A-Z]{2}-\d{3,5}$")
    population: int = Field(ge=10, lt=1000, multiple_of=7)
    share: float = Field(gt=0.2, lt=0.3)


class Node(BaseModel):
    value: int
    next: Optional["Node"] = None
    children: list["Node"]


class Everything(BaseModel):
    unit: Unit
    place: Place
    tags: set[str] = Field(min_length=3)
    numbers: list[int] = Field(min_length=2, max_length=4)
    pair: tuple[int, str]
    kind: Literal["a", "b"]
    fixed: Literal[7]
    when: datetime.datetime
    day: datetime.date
    at: datetime.time
    wait: datetime.timedelta
    identity: uuid.UUID
    maybe: float | None
    either: int | Place
    amount: decimal.Decimal
    table: dict[str, int] = Field(min_length=2)
    node: Node
    flag: bool
    nothing: None


@pytest.mark.parametrize("model", [Place, Node, Everything])
@pytest.mark.parametrize("said", ["", "Weather in Paris, 12 or 0.25 or 21 in Fahrenheit and 'AB-123'"])
def test_an_instance_satisfies_the_schema_of_a_pydantic_model(model: type[BaseModel], said: str) -> None:
    made = instance(model.model_json_schema(), Hints(said))
    model.model_validate_json(json.dumps(made))


numbers = st.integers(-50, 50)
annotations: st.SearchStrategy[Any] = st.one_of(
    st.just(bool),
    st.just(type(None)),
    st.sampled_from([datetime.date, datetime.datetime, uuid.UUID, Unit, Place]),
    st.builds(lambda low, span: Annotated[int, Field(ge=low, le=low + span)], numbers, st.integers(0, 9)),
    st.builds(lambda low, span: Annotated[float, Field(gt=low, lt=low + span)], numbers, st.floats(0.01, 9)),
    st.builds(lambda step: Annotated[int, Field(multiple_of=step, gt=step)], st.integers(1, 30)),
    st.builds(
        lambda low, more: Annotated[str, Field(min_length=low, max_length=low + more)],
        st.integers(0, 40),
        st.integers(0, 9),
    ),
    st.builds(
        lambda low: Annotated[str, Field(pattern=r"^(?:x|y)[a-f0-9]*z?$", min_length=low)],
        st.integers(0, 20),
    ),
)
nested = st.recursive(
    annotations,
    lambda inner: st.one_of(
        st.builds(lambda one, low: Annotated[list[one], Field(min_length=low)], inner, st.integers(0, 4)),  # type: ignore[valid-type]
        st.builds(lambda one: one | None, inner.filter(lambda one: one is not type(None))),
        st.builds(lambda one, other: tuple[one, other], inner, inner),  # type: ignore[valid-type]
        st.builds(lambda one: dict[str, one], inner),  # type: ignore[valid-type]
    ),
    max_leaves=4,
)


@settings(max_examples=120, deadline=None)
@given(nested, st.text(max_size=40))
def test_an_instance_satisfies_any_schema_of_these_kinds(annotation: Any, said: str) -> None:
    adapter = TypeAdapter[Any](annotation)
    schema = adapter.json_schema()
    made = instance(schema, Hints(said))
    adapter.validate_json(json.dumps(made))
    assert instance(schema, Hints(said)) == made


def test_unique_items_differ() -> None:
    for items in ({"type": "string"}, {"type": "integer", "maximum": 2}, {"enum": ["a", "b", "c"]}, {"format": "date"}):
        made = instance({"type": "array", "items": items, "minItems": 3, "uniqueItems": True}, Hints(""))
        assert len(set(made)) == 3


def test_required_properties_are_there_and_optional_ones_are_not() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}, "days": {"type": "integer"}},
        "required": ["city", "unit"],
    }
    assert instance(schema, Hints("")) == {"city": "example city", "unit": "c"}


def test_what_the_user_said_is_used_where_it_fits() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "maximum": 14},
            "limit": {"type": "number"},
        },
        "required": ["city", "unit", "days", "limit"],
    }
    said = "What is the weather in New York for 100.5 people over 7 days, in Fahrenheit please?"
    assert instance(schema, Hints(said)) == {"city": "New York", "unit": "fahrenheit", "days": 7, "limit": 100.5}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, "example value"),
        ({}, "example value"),
        ({"foo": "bar"}, "example value"),
        ({"type": ["null", "integer"]}, 1),
        ({"const": None}, None),
        ({"minimum": 3, "exclusiveMinimum": True}, 3.5),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"oneOf": [{"type": "null"}, {"const": "x"}]}, "x"),
        ({"$defs": {"a/b": {"const": 5}}, "$ref": "#/$defs/a~1b"}, 5),
        (
            {"type": "object", "minProperties": 2, "additionalProperties": {"type": "boolean"}},
            {"key1": True, "key2": False},
        ),
        ({"type": "array", "maxItems": 0}, []),
    ],
)
def test_a_schema_has_this_instance(schema: object, expected: object) -> None:
    assert instance(schema, Hints("")) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/none"},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "string", "minLength": 5, "maxLength": 4},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "^a(?=b)$"},
        {"type": "string", "minLength": 10**12},
        {"type": "array", "minItems": 10**12},
        {"type": "integer", "minimum": "low"},
        {"type": "object", "required": 7},
        {"enum": 5},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ],
)
def test_a_schema_without_an_instance_is_refused(schema: object) -> None:
    with pytest.raises(Refusal) as caught:
        instance(schema, Hints(""))
    assert (caught.value.status, caught.value.code) == (400, "invalid_schema")


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\d{4}-\d{2}-\d{2}$",
        r"^[^@\s]+@[a-z]+\.(com|org)$",
        r"(ab|cd){2,3}e?",
        r"^[]a-]$",
        r"\$\{\w+\}",
        r"^(?P<year>20\d\d)(?:-x)?$",
        r"^é+中\u0041\x42$",
        r"^#[0-9a-fA-F]{6}$",
        r"^a*?b+?$",
        r"^\bword\b$",
        r"^.{3,}$",
        r"^(?!no)yes$",
        "",
        "{",
    ],
)
def test_an_example_matches_its_pattern(pattern: str) -> None:
    text = example(pattern)
    assert text is not None
    assert re.search(pattern, text)


@settings(max_examples=150)
@given(st.text(max_size=30))
def test_any_pattern_has_an_example_or_none(pattern: str) -> None:
    assert isinstance(example(pattern, stretch=1), str | None)
