"""Lets the model call a function of ours, and answer with what it returns.

OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=any MODEL=demo/chat-large python tools.py
"""

import json
import os

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam


def get_weather(city: str, unit: str) -> dict[str, object]:
    """Ours; a real one would ask a weather service."""
    return {"city": city, "temperature": 21 if unit == "celsius" else 70, "unit": unit}


WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}

client = OpenAI()
model = os.environ.get("MODEL", "gpt-4o-mini")
messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]
while True:
    message = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER]).choices[0].message
    if not message.tool_calls:
        break
    calls = [call for call in message.tool_calls if call.type == "function"]
    messages.append(
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
                for call in calls
            ],
        }
    )
    for call in calls:
        print(f"calls {call.function.name}({call.function.arguments})")
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
print(message.content)
