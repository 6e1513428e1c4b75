"""Asks one question and prints the answer.

OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=any MODEL=demo/chat-large python chat.py
"""

import os

from openai import OpenAI

client = OpenAI()
answer = client.chat.completions.create(
    model=os.environ.get("MODEL", "gpt-4o-mini"),
    messages=[
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
)
print(answer.choices[0].message.content)
if answer.usage:
    print(f"({answer.usage.prompt_tokens} tokens in, {answer.usage.completion_tokens} out)")
