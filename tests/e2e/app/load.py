"""Calls the model without a pause, half of it in streams, with the SDK's default retries; a line of JSON for each.

On TERM it starts no further call, brings those at hand to their end, and ends: what a careful application does.
"""

import asyncio
import json
import signal
import time

from openai import AsyncOpenAI, OpenAIError

CALLERS = 3
MODEL = "fault-slow-chunks-60"
"""The demo backend's: a pause before each event, so that there are always open streams."""
MESSAGES = [{"role": "user", "content": "How long is a stream that nobody cuts?"}]


async def call(client: AsyncOpenAI, stream: bool) -> str:
    """How it finished."""
    if not stream:
        answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        return str(answer.choices[0].finish_reason)
    finish = "cut"
    async for chunk in await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
        if chunk.choices and chunk.choices[0].finish_reason:
            finish = chunk.choices[0].finish_reason
    return finish


async def caller(client: AsyncOpenAI, ending: asyncio.Event, stream: bool) -> None:
    while not ending.is_set():
        began = time.time()
        try:
            finish = await call(client, stream)
        except OpenAIError as error:
            finish = f"{type(error).__name__}: {error}"
            await asyncio.sleep(0.2)
        print(json.dumps({"began": began, "ended": time.time(), "stream": stream, "finish": finish}), flush=True)


async def main() -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with AsyncOpenAI() as client:
        await asyncio.gather(*(caller(client, ending, stream) for _ in range(CALLERS) for stream in (True, False)))
    print(json.dumps({"end": "asked to"}), flush=True)


asyncio.run(main())
