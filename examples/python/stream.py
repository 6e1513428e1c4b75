"""Prints an answer while it is written; asynchronous, with the usage at the end.

OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=any MODEL=demo/chat-large python stream.py
"""

import asyncio
import os

from openai import AsyncOpenAI


async def main() -> None:
    async with AsyncOpenAI() as client:
        stream = await client.chat.completions.create(
            model=os.environ.get("MODEL", "gpt-4o-mini"),
            messages=[{"role": "user", "content": "Tell me a story about a lighthouse."}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            if chunk.choices:
                print(chunk.choices[0].delta.content or "", end="", flush=True)
            elif chunk.usage:
                print(f"\n({chunk.usage.total_tokens} tokens)")


asyncio.run(main())
