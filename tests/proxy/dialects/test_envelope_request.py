"""What a gateway is sent."""

import json
from typing import Any

import pytest

from fakes.envelope import asked, chat
from mimic_proxy.errors import InvalidRequest

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
HISTORY = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    {"role": "tool", "tool_call_id": "unknown", "content": "?"},
]


def test_the_body_goes_as_the_bytes_it_is() -> None:
    body = b'{ "zeta": 1.50e0, "model":"m", "messages":[{"content":"\\ud83d"}], "alpha": 12345678901234567890 }'
    assert chat(body).body == body


@pytest.mark.parametrize(
    ("settings", "body", "sent"),
    [
        ({"request_under": "payload"}, b'{"b":1.50,"a":[ 1 ]}', b'{"payload":{"b":1.50,"a":[ 1 ]}}'),
        ({"request_under": "a.b"}, b'{"b":1}', b'{"a":{"b":{"b":1}}}'),
        ({"request_rename": ("model=modelName",)}, b'{"model":"m","n":1}', b'{"modelName":"m","n":1}'),
        ({"request_add": '{"app":"crm","n":2}'}, b'{"n":1}', b'{"app":"crm","n":1}'),
        (
            {"request_add": '{"input":{"app":"crm"}}', "request_under": "input"},
            b'{"n":1}',
            b'{"input":{"app":"crm","n":1}}',
        ),
        ({"stream": "off"}, b'{"stream":true,"n":1,"stream_options":{}}', b'{"n":1}'),
        ({"request_under": "p"}, b'{"a":"\\ud83d"}', b'{"p":{"a":"\\ud83d"}}'),
    ],
)
def test_a_setting_changes_what_it_names_and_no_other_byte(settings: dict[str, Any], body: bytes, sent: bytes) -> None:
    assert chat(body, **settings).body == sent


def test_tool_calls_of_the_history_go_as_they_are() -> None:
    assert json.loads(chat(asked(messages=HISTORY)).body)["messages"] == HISTORY


def test_tool_calls_of_the_history_can_go_flat_and_results_with_the_name_of_their_tool() -> None:
    sent = json.loads(chat(asked(messages=HISTORY), history="flat").body)["messages"]
    assert sent[1]["tool_calls"] == [{"id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'}]
    assert sent[2] == {**HISTORY[2], "name": "weather"}
    assert (sent[0], sent[3]) == (HISTORY[0], HISTORY[3])


@pytest.mark.parametrize("number", [b"1e400", b"1" + b"0" * 5000])
def test_a_number_that_nothing_can_hold_is_refused_where_the_body_is_rebuilt(number: bytes) -> None:
    body = b'{"messages":[{"content":%b}]}' % number
    assert chat(body).body == body
    with pytest.raises(InvalidRequest, match="too large"):
        chat(body, history="flat")


@pytest.mark.parametrize(
    "messages", [None, "text", [1, None], [{"tool_calls": [1, {"function": 2}]}], [{"tool_calls": 1}]]
)
def test_odd_messages_are_the_gateways_to_judge(messages: Any) -> None:
    assert json.loads(chat(asked(messages=messages), history="flat").body)["messages"] == messages
