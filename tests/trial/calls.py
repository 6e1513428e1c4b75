"""What an application does with the official Python SDK, against real models; prints what came back.

The SDK's own variables OPENAI_BASE_URL and OPENAI_API_KEY say where to; DIRECT is the chat server's URL, to compare
with, and GATE the gateway's: without it, what concerns tokens is left out. Ends with 1 if a check fails.
"""

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable

import openai
from openai import AsyncOpenAI, OpenAI

CHAT_MODEL = "gemma-3-270m"
EMBEDDING_MODEL = "multilingual-e5-small-q4"
PROMPT = "Once upon a time there was a fox who"
GATE = os.environ.get("GATE", "")
FLOOR_SECONDS = 6

failures: list[str] = []


def check(holds: bool, claim: str) -> None:
    """Prints the claim with what became of it."""
    print(f"    {'ok  ' if holds else 'FAIL'} {claim}")
    if not holds:
        failures.append(claim)


def chat(client: OpenAI) -> None:
    """A plain answer; the same call to the server itself has to give the same words."""
    _ask(client)  # fills the server's prompt cache: a hit may round otherwise than the first evaluation did
    started = time.perf_counter()
    answer = _ask(client)
    elapsed = time.perf_counter() - started
    content = answer.choices[0].message.content
    print(f"    {PROMPT}\n    -> {content!r}")
    print(f"    {elapsed:.2f} s, usage {answer.usage.model_dump(exclude_none=True) if answer.usage else None}")
    direct = _ask(OpenAI(base_url=f"{os.environ['DIRECT']}/v1", api_key="none"))
    check(bool(content), "an answer with content")
    check(direct.choices[0].message.content == content, "the server asked directly gives the same words")


def _ask(client: OpenAI) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(
        model=CHAT_MODEL, messages=[{"role": "user", "content": PROMPT}], temperature=0, seed=1, max_tokens=48
    )


def completion(client: OpenAI) -> None:
    """The older completions API, which passes through: what this model, not trained for dialogue, does best."""
    question = "Q: What is the capital of France?\nA:"
    answer = client.completions.create(model=CHAT_MODEL, prompt=question, temperature=0, max_tokens=24, stop=["\n"])
    print(f"    {question!r} -> {answer.choices[0].text!r}")
    check("Paris" in answer.choices[0].text, "the model knows the capital of France")


def stream(client: OpenAI) -> None:
    """A streamed answer, chunk by chunk."""
    started = time.perf_counter()
    times, words = [], []
    chunks = client.chat.completions.create(
        model=CHAT_MODEL,
        messages=[{"role": "user", "content": PROMPT}],
        temperature=0,
        max_tokens=96,
        stream=True,
    )
    reason = None
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.perf_counter() - started)
            words.append(chunk.choices[0].delta.content)
        reason = chunk.choices[0].finish_reason if chunk.choices else reason
    print("    " + "".join(words).strip().replace("\n", "\n    "))
    rate = (len(times) - 1) / (times[-1] - times[0])
    print(f"    first chunk after {times[0]:.2f} s, last after {times[-1]:.2f} s: {len(times)} chunks, {rate:.0f}/s")
    check(times[-1] - times[0] > 0.2 and len(times) > 10, "chunks arrive one by one, not at the end")
    check(reason in ("stop", "length"), f"it ends with a finish_reason ({reason})")


def json_mode(client: OpenAI) -> None:
    """JSON mode, which this server enforces with a grammar."""
    answer = client.chat.completions.create(
        model=CHAT_MODEL,
        messages=[{"role": "user", "content": 'Describe Paris as JSON with the keys "country" and "river".'}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=96,
    )
    content = answer.choices[0].message.content or ""
    print(f"    {content!r}")
    check(isinstance(json.loads(content), dict), "the content is a JSON object")


def embeddings(client: OpenAI) -> None:
    """Vectors as the SDK asks for them (base64), and whether they mean something."""
    texts = [
        "query: how do I renew a passport",
        "passage: Passports are renewed at the town hall.",
        "passage: The cake needs three eggs.",
    ]
    answer = client.embeddings.create(model=EMBEDDING_MODEL, input=texts)
    vectors = [item.embedding for item in answer.data]
    near, far = _cosine(vectors[0], vectors[1]), _cosine(vectors[0], vectors[2])
    print(f"    {len(vectors)} vectors of {len(vectors[0])}; cosine to the passport {near:.3f}, to the cake {far:.3f}")
    check(near > far, "the passport question is nearer to the passport answer than to the cake")
    floats = client.embeddings.create(model=EMBEDDING_MODEL, input=texts, encoding_format="float").data[0].embedding
    check(max(abs(a - b) for a, b in zip(floats, vectors[0], strict=True)) < 1e-6, "base64 and float agree")


def _cosine(left: list[float], right: list[float]) -> float:
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return float(dot / (sum(a * a for a in left) * sum(b * b for b in right)) ** 0.5)


def models(client: OpenAI) -> None:
    """The list, one entry, and an id that does not exist."""
    listed = [model.id for model in client.models.list()]
    print(f"    {listed}")
    check(CHAT_MODEL in listed, "the list names the chat model")
    check(client.models.retrieve(CHAT_MODEL).id == CHAT_MODEL, "one model by its id")
    try:
        client.models.retrieve("org/no-such-model")
    except openai.NotFoundError as error:
        check(error.code == "model_not_found", f"an unknown id gives NotFoundError ({error.code})")
    else:
        check(False, "an unknown id gives NotFoundError")


def revoked(client: OpenAI) -> None:
    """The gateway forgets all its tokens; nobody here notices."""
    before = _revoke()
    answer = _ask(client)
    new = _since(before)
    print(f"    at the gateway meanwhile: {new}")
    check(bool(answer.choices[0].message.content), "a chat right after a revocation is answered")
    check(new == {"calls refused": 1, "tokens issued": 1}, "it cost one refused call and one token")


def together(client: OpenAI) -> None:
    """Eight callers at once on servers that work one by one, right after another revocation."""
    before = _revoke()
    started = time.perf_counter()
    vectors = asyncio.run(_together(str(client.base_url)))
    issued = _since(before)["tokens issued"]
    print(f"    {len(vectors)} vectors in {time.perf_counter() - started:.2f} s, tokens issued meanwhile: {issued}")
    check(len(vectors) == 8, "all eight are answered")
    check(issued == 1, "they shared one token call")


async def _together(base_url: str) -> list[list[float]]:
    async with AsyncOpenAI(base_url=base_url) as client:
        calls = [client.embeddings.create(model=EMBEDDING_MODEL, input=f"query: number {n}") for n in range(8)]
        return [answer.data[0].embedding for answer in await asyncio.gather(*calls)]


def hang_up(client: OpenAI) -> None:
    """A caller who leaves in the middle of a stream."""
    before = _gate("GET", "/seen").get("callers gone", 0)
    chunks = client.chat.completions.create(
        model=CHAT_MODEL,
        messages=[{"role": "user", "content": "Tell a very long story."}],
        temperature=0,
        max_tokens=1500,
        stream=True,
    )
    for _ in range(5):
        next(chunks)
    left = time.perf_counter()
    chunks.close()
    while _gate("GET", "/seen").get("callers gone", 0) == before and time.perf_counter() - left < 5:
        time.sleep(0.002)
    seen = (time.perf_counter() - left) * 1000
    print(f"    the gateway saw its caller gone {seen:.0f} ms after the hang-up")
    check(seen < 1000, "leaving reaches the gateway at once")
    check(bool(_ask(client).choices[0].message.content), "the model server is free for the next call")


def expiry(client: OpenAI) -> None:
    """The gateway turns to tokens of four seconds; calls for more than three such lifetimes."""
    before = _revoke("?lifetime=4")
    seconds = 13
    until, calls = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        client.embeddings.create(model=EMBEDDING_MODEL, input=f"query: number {calls}")
        calls += 1
    new = _since(before)
    print(f"    {calls} calls in {seconds} s; at the gateway meanwhile: {new}")
    check(new["calls refused"] == 1, "only the call after the revocation was refused, none for an expired token")
    check(new["tokens issued"] >= 4, "tokens were replaced before they expired")


def _revoke(query: str = "") -> dict[str, int]:
    """Withdraws all tokens, with a pause for Mimic's floor between forced refreshes; what the gate had seen before."""
    time.sleep(FLOOR_SECONDS)
    before = _gate("GET", "/seen")
    _gate("POST", f"/revoke{query}")
    return before


def _since(before: dict[str, int]) -> dict[str, int]:
    after = _gate("GET", "/seen")
    return {key: after.get(key, 0) - before.get(key, 0) for key in ("calls refused", "tokens issued")}


def _gate(method: str, path: str) -> dict[str, int]:
    with urllib.request.urlopen(urllib.request.Request(GATE + path, method=method), timeout=5) as answer:
        return dict(json.load(answer))


def main() -> int:
    """All of them in order; 1 if a check failed."""
    steps: dict[str, Callable[[OpenAI], None]] = {
        "Chat": chat,
        "Streamed chat": stream,
        "JSON mode": json_mode,
        "Completion, passed through": completion,
        "Embeddings": embeddings,
        "Models": models,
    }
    of_the_gateway: dict[str, Callable[[OpenAI], None]] = {
        "A revoked token": revoked,
        "Eight callers and no valid token": together,
        "A caller who hangs up": hang_up,
        "Tokens that expire": expiry,
    }
    client = OpenAI(max_retries=0)
    for title, step in (steps | of_the_gateway if GATE else steps).items():
        print(f"\n{title}", flush=True)
        try:
            step(client)
        except openai.OpenAIError as error:
            check(False, f"{type(error).__name__}: {error}")
    if GATE:
        print(f"\nAt the gateway, in all: {_gate('GET', '/seen')}")
    print("All checks hold." if not failures else f"{len(failures)} checks FAILED: {failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
