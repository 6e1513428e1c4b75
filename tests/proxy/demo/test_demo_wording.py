"""The demo's tokeniser and its words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.demo.assistant import Asked, ToolResult, answer, limited, tokens


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text


@given(st.text(), st.integers(0, 5))
def test_a_limit_takes_the_first_tokens(text: str, most: int) -> None:
    found = limited(text, most=most)
    assert text.startswith(found.text)
    assert len(found.tokens) <= most
    assert (found.finish == "length") == (most == 0 or len(tokens(text)) > most)


def test_a_stop_text_ends_the_answer_before_it() -> None:
    found = limited("one two three", stop=("three", "two"))
    assert (found.text, found.finish) == ("one ", "stop")


@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        (Asked("Where is Paris?"), ['You asked: "Where is Paris?"', "3 words"]),
        (Asked("Hello."), ['You said: "Hello."', "1 word."]),
        (Asked("Look", images=2, attachments=1), ["1 word, 2 images and 1 attachment"]),
        (Asked("And now?", turn=3, instructions="Be brief."), ["message 3", '"Be brief."']),
        (Asked("  "), ["You sent no text."]),
        (Asked("Sum?", results=(ToolResult("add", '{"sum": 5}'),)), ['add answered {"sum": 5}.', '"Sum?"']),
    ],
)
def test_the_answer_shows_what_was_understood(asked: Asked, holds: list[str]) -> None:
    said = answer(asked)
    assert [part for part in holds if part not in said] == []


@pytest.mark.parametrize("text", ["Say this is a test", "please repeat: this is a test", 'echo "this is a test"'])
def test_it_says_what_it_is_told_to_say(text: str) -> None:
    assert answer(Asked(text)) == "this is a test"


def test_a_long_message_is_quoted_in_part() -> None:
    assert len(answer(Asked("word " * 100_000))) < 3000
