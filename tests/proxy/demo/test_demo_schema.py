"""Instances of JSON schemas, judged by pydantic, which did not make them."""

import enum
import json
from typing import Literal, Optional

import pytest
from pydantic import BaseModel, ConfigDict, Field

from mimic_proxy.demo.refusals import Refusal
from mimic_proxy.demo.schema import Hints, instance


class Unit(enum.StrEnum):
    celsius = "celsius"
    fahrenheit = "fahrenheit"


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=3, max_length=12)
    population: int = Field(ge=10, lt=1000, multiple_of=7)
    share: float = Field(gt=0.2, lt=0.3)


class Node(BaseModel):
    value: int
    next: Optional["Node"] = None
    children: list["Node"]


class Everything(BaseModel):
    unit: Unit
    place: Place
    numbers: list[int] = Field(min_length=2, max_length=4)
    kind: Literal["a", "b"]
    fixed: Literal[7]
    maybe: float | None
    either: int | Place
    node: Node
    flag: bool
    nothing: None


@pytest.mark.parametrize("model", [Place, Node, Everything])
@pytest.mark.parametrize("said", ["", "Weather in Paris, 12 or 0.25 or 21 in Fahrenheit and 'AB-123'"])
def test_an_instance_satisfies_the_schema_of_a_pydantic_model(model: type[BaseModel], said: str) -> None:
    made = instance(model.model_json_schema(), Hints(said))
    model.model_validate_json(json.dumps(made))


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
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"oneOf": [{"type": "null"}, {"const": "x"}]}, "x"),
        ({"$defs": {"a/b": {"const": 5}}, "$ref": "#/$defs/a~1b"}, 5),
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
