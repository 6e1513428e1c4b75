"""Completions, moderations, audio and files of the demo backend."""

import contextlib
import io
import json
import wave

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import NotFoundError, OpenAI

from mimic_proxy.demo.multipart import form
from mimic_proxy.demo.refusals import Refusal


def test_a_completion_is_limited_to_16_tokens_by_default(sdk: OpenAI) -> None:
    answer = sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon a time")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


def test_each_prompt_of_a_completion_is_answered_n_times(sdk: OpenAI) -> None:
    answer = sdk.completions.create(model="m", prompt=["say one", "say two"], n=2, echo=True, max_tokens=50)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[2].text.startswith("say twotwo")


def test_a_streamed_completion_is_the_same_text(sdk: OpenAI) -> None:
    whole = sdk.completions.create(model="m", prompt="Hello", max_tokens=100)
    chunks = list(
        sdk.completions.create(
            model="m", prompt="Hello", max_tokens=100, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


def test_moderation_flags_by_its_word_list(sdk: OpenAI) -> None:
    results = sdk.moderations.create(input=["I will kill the process", "good morning"]).results
    assert [result.flagged for result in results] == [True, False]
    assert results[0].categories.violence


def test_speech_is_sound_that_a_transcription_receives(sdk: OpenAI) -> None:
    sound = sdk.audio.speech.create(model="tts-1", voice="alloy", input="three short words").content
    with wave.open(io.BytesIO(sound)) as reader:
        assert reader.getnframes() / reader.getframerate() == pytest.approx(0.18)
    heard = sdk.audio.transcriptions.create(model="whisper-1", file=("words.wav", sound))
    assert f"words.wav: {len(sound)} bytes, 0.18 seconds" in heard.text
    assert "words" in sdk.audio.transcriptions.create(
        model="whisper-1", file=("words.mp3", b"x"), response_format="text"
    )


def test_speech_as_pcm_is_raw(sdk: OpenAI) -> None:
    sound = sdk.audio.speech.create(model="tts-1", voice="alloy", input="one", response_format="pcm")
    assert len(sound.content) == 2 * int(24_000 * 0.06)
    assert sound.response.headers["content-type"] == "audio/pcm"


def test_a_file_is_kept_listed_read_and_deleted(sdk: OpenAI) -> None:
    content = bytes(range(256)) * 50 + b"\r\n--not the boundary\r\n"
    kept = sdk.files.create(file=("dät a.bin", content), purpose="user_data")
    assert (kept.bytes, kept.filename) == (len(content), "dät a.bin")
    assert kept.id in [file.id for file in sdk.files.list(purpose="user_data")]
    assert kept.id not in [file.id for file in sdk.files.list(purpose="vision")]
    assert sdk.files.retrieve(kept.id) == kept
    assert sdk.files.content(kept.id).content == content
    sdk.files.delete(kept.id)
    with pytest.raises(NotFoundError):
        sdk.files.retrieve(kept.id)


def test_the_same_content_twice_is_two_files(sdk: OpenAI) -> None:
    first, second = (sdk.files.create(file=b"x", purpose="user_data").id for _ in range(2))
    assert first != second


@pytest.mark.parametrize("path", ["/v1/files", "/v1/audio/transcriptions"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--"),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\ny\r\n--x--'),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\ncut'),
    ],
)
def test_a_form_that_is_none_is_refused(http: httpx2.Client, path: str, content_type: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@given(st.binary(), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_a_form_written_by_another_hand_is_read_as_it_was(content: bytes, value: str) -> None:
    request = httpx2.Request("POST", "http://demo", files={"file": ("name.bin", content, "x/y")}, data={"field": value})
    parts = form(request.headers["content-type"], request.read())
    assert (parts["file"].content, parts["file"].filename, parts["file"].content_type) == (content, "name.bin", "x/y")
    assert (parts["field"].content.decode(), parts["field"].filename) == (value, None)


@given(st.binary())
def test_no_body_makes_the_form_fail_otherwise(body: bytes) -> None:
    with contextlib.suppress(Refusal):
        form("multipart/form-data; boundary=b", body)


def test_the_documentation_page_is_not_served(http: httpx2.Client) -> None:
    assert json.loads(http.get("/openapi.json").content)["error"]["code"] == "unknown_url"
