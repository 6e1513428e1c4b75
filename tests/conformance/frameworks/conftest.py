"""The backend behind Mimic, and a tokenizer that is at hand without the network."""

import os
from pathlib import Path

import llama_index.core
import pytest
from behind import Behind

# LlamaIndex brings the encoding that tiktoken would download, under the name that tiktoken looks for.
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache")


@pytest.fixture(scope="session")
def behind() -> Behind:
    return Behind(os.environ["OPENAI_BASE_URL"], os.environ["DIALECT"], os.environ["PIECEMEAL"] == "1")
