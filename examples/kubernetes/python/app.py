"""Asks a question every few seconds, in a stream, and prints what comes. It knows the OpenAI SDK and nothing else.

`python app.py once` asks a single time and ends, as a job does.
"""

import os
import signal
import sys
import time

from openai import OpenAI, OpenAIError

# The first process of a container is deaf to what it does not ask for, and would be killed after half a minute.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())

client = OpenAI()
MODEL = os.environ.get("MODEL", "demo/chat-small")


def ask() -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Why is the sky blue?"}],
        stream=True,
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print(flush=True)


if sys.argv[1:] == ["once"]:
    ask()
else:
    while True:
        try:
            ask()
        except OpenAIError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        time.sleep(5)
