"""Asks everything once through the unmodified SDK, without a word on where, and prints what came as JSON."""

import json
import os

from openai import OpenAI

MODEL = "demo/chat-small"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

client = OpenAI()
answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Are you there?"}])
stream = client.chat.completions.create(
    model=MODEL, messages=[{"role": "user", "content": "Are you there?"}], stream=True
)
events = [chunk.choices[0] for chunk in stream if chunk.choices]
called = client.chat.completions.create(
    model=MODEL,
    messages=[{"role": "user", "content": "What is the weather in Paris?"}],
    tools=[TOOL],
    tool_choice="required",
)
(call,) = called.choices[0].message.tool_calls or []
print(
    json.dumps(
        {
            "environment": {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")},
            "answer": answer.choices[0].message.content,
            "streamed": "".join(event.delta.content or "" for event in events),
            "chunks": len(events),
            "finish": events[-1].finish_reason,
            "tool": [call.function.name, json.loads(call.function.arguments)],
            "models": [model.id for model in client.models.list()],
        }
    )
)
