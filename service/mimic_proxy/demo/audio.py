"""/v1/audio: transcriptions and translations (multipart in, JSON or text out), speech (JSON in, sound out)."""

import functools
import hashlib
import io
import math
import struct
import wave
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from msgspec import Struct

from mimic_proxy.demo.desk import Desk
from mimic_proxy.demo.multipart import Part, form, required, text
from mimic_proxy.demo.refusals import Refusal, model_name, read

_RATE_HERTZ: Final = 24_000
_TONE_SECONDS: Final = 0.06
_TONES: Final = 12
_LONGEST_INPUT: Final = 4096
_FORMATS: Final = ("json", "text", "verbose_json")


class SpeechRequest(Struct):
    model: str
    input: str
    voice: str | dict[str, Any]
    response_format: str = "mp3"


def audio_router(desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/audio")

    async def transcribe(request: Request) -> Response:
        parts = form(request.headers.get("content-type", ""), await request.body())
        sound = required(parts, "file")
        faults = desk.faults(request, model_name(text(parts, "model")))
        said, seconds = _heard(sound)
        shape = text(parts, "response_format", "json")
        if shape not in _FORMATS:
            message = f"Invalid value: '{shape}'. Supported values are: {', '.join(_FORMATS)}."
            raise Refusal(message, param="response_format", code="invalid_value")
        if shape == "text":
            return desk.answer(faults, f"{said}\n".encode(), media_type="text/plain; charset=utf-8")
        usage = {"type": "duration", "seconds": math.ceil(seconds)}
        document: dict[str, Any] = {"text": said, "usage": usage}
        if shape == "verbose_json":
            document |= {"task": request.url.path.rsplit("/", 1)[-1], "language": "english", "duration": seconds}
        return desk.answer(faults, document)

    router.add_api_route("/transcriptions", transcribe, methods=["POST"])
    router.add_api_route("/translations", transcribe, methods=["POST"])

    @router.post("/speech")
    async def speak(request: Request) -> Response:
        """Tones, one for each word: WAV whatever format is asked for, but for `pcm` (16 bit, mono, 24 kHz)."""
        asked = read(await request.body(), SpeechRequest)
        faults = desk.faults(request, model_name(asked.model))
        if not 0 < len(asked.input) <= _LONGEST_INPUT:
            message = f"'input' must hold between 1 and {_LONGEST_INPUT} characters."
            raise Refusal(message, param="input", code="invalid_value")
        samples = b"".join(_tone(_pitch(word)) for word in asked.input.split())
        if asked.response_format == "pcm":
            return desk.answer(faults, samples, media_type="audio/pcm")
        return desk.answer(faults, _wav(samples), media_type="audio/wav")

    return router


def _heard(sound: Part) -> tuple[str, float]:
    """What the transcription says, and the length of the sound in seconds (0 if it is no WAV)."""
    digest = hashlib.blake2b(sound.content, digest_size=4).hexdigest()
    seconds = 0.0
    try:
        with wave.open(io.BytesIO(sound.content)) as reader:
            seconds = reader.getnframes() / reader.getframerate()
    except (wave.Error, EOFError):
        length = ""
    else:
        length = f", {seconds:.2f} seconds"
    return (
        f"The demo received {sound.filename or 'a file'}: {len(sound.content)} bytes{length}, hash {digest}.",
        seconds,
    )


def _pitch(word: str) -> int:
    return hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=1).digest()[0] % _TONES


@functools.cache
def _tone(pitch: int) -> bytes:
    hertz = 220 * 2 ** (pitch / _TONES)
    count = int(_RATE_HERTZ * _TONE_SECONDS)
    samples = (int(8000 * math.sin(2 * math.pi * hertz * at / _RATE_HERTZ)) for at in range(count))
    return struct.pack(f"<{count}h", *samples)


def _wav(samples: bytes) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(_RATE_HERTZ)
        writer.writeframes(samples)
    return target.getvalue()
