"""Finds the text that is closest to a question.

OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=any EMBEDDING_MODEL=demo/embed-small python embeddings.py
"""

import os

from openai import OpenAI

TEXTS = [
    "The invoice is due within thirty days.",
    "The cat sleeps on the warm roof.",
    "Our office is closed on public holidays.",
]
QUESTION = "Where does the cat sleep?"

client = OpenAI()
answer = client.embeddings.create(
    model=os.environ.get("EMBEDDING_MODEL", "text-embedding-3-small"),
    input=[QUESTION, *TEXTS],
)
question, *vectors = [item.embedding for item in answer.data]
scores = [sum(one * other for one, other in zip(question, vector, strict=True)) for vector in vectors]
for score, text in sorted(zip(scores, TEXTS, strict=True), reverse=True):
    print(f"{score:6.3f}  {text}")
