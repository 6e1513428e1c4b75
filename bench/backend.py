"""The fixed backend: nginx, compiled and fast, that says what it was asked for and nothing else.

The request header `x-bench-want` selects the answer: `chat` is one JSON answer of about 400 bytes, `stream` is a
chunked SSE answer of EVENTS events, one event per chunk, `record` tells which credential arrived. Bodies are read and
thrown away. Below `/gateway` it says the same in the envelope of an in-house gateway.
"""

import json
from pathlib import Path

EVENTS = 50
EVENT_BYTES = 256

NGINX = """\
daemon off;
master_process off;
pid {folder}/{name}.pid;
error_log {folder}/{name}.error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_timeout 75;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/{name}.body;
  proxy_temp_path {folder}/{name}.proxy;
  fastcgi_temp_path {folder}/{name}.fastcgi;
  uwsgi_temp_path {folder}/{name}.uwsgi;
  scgi_temp_path {folder}/{name}.scgi;
{servers}
}}
"""

BACKEND_SERVER = """\
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    root {folder};
    location = /v1/chat/completions {{
      default_type application/json;
      if ($http_x_bench_want = stream) {{ return 405; }}
      if ($http_x_bench_want = record) {{ return 200 '{{"authorization":"$http_authorization"}}'; }}
      error_page 405 =200 /events.sse;
      return 200 '{answer}';
    }}
    location = /gateway/chat {{
      default_type application/json;
      if ($http_x_bench_want = stream) {{ return 405; }}
      if ($http_x_bench_want = record) {{
        return 200 '{{"data":{{"content":{{"content":"$http_authorization"}}}}}}';
      }}
      error_page 405 =200 /gateway.sse;
      return 200 '{gateway_answer}';
    }}
    location ~ ^/(events|gateway).sse$ {{
      internal;
      types {{ text/event-stream sse; }}
      # SSI drops the length of the file, so the answer is chunked; buffers of one event make chunks of one event.
      ssi on;
      ssi_types text/event-stream;
      sendfile off;
      output_buffers 1 {event_bytes};
      postpone_output 0;
    }}
  }}
"""

RELAY_SERVER = """\
  upstream backend {{
    server 127.0.0.1:{backend_port};
    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {access_token}";
      proxy_buffering off;
    }}
  }}
"""


def chat_answer() -> bytes:
    """The JSON answer, about 400 bytes."""
    return json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1750000000,
            "model": "gpt-4o-mini",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": TEXT,
                        "refusal": None,
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 41, "completion_tokens": 18, "total_tokens": 59},
        },
        separators=(",", ":"),
    ).encode()


def stream_answer() -> bytes:
    """EVENTS SSE events of EVENT_BYTES each: a role chunk, content chunks, a finish chunk, `[DONE]`."""
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in WORDS]
    events = [_event(delta, None) for delta in deltas]
    events.append(_event({}, "stop"))
    return b"".join(events) + b"data: [DONE]\n\n"


TEXT = "It fetches the access token once, keeps it fresh, and sends all calls on with it."
WORDS = [f" word{number}" for number in range(EVENTS - 3)]


def gateway_answer() -> bytes:
    """What `chat_answer` says, in an envelope."""
    usage = {"prompt_tokens": 41, "completion_tokens": 18, "total_tokens": 59}
    content = {"content": TEXT, "finish_reason": "stop", "usage": usage}
    return json.dumps({"errorCode": 0, "data": {"content": content}}, separators=(",", ":")).encode()


def gateway_stream() -> bytes:
    """What `stream_answer` says: no event for the role, which becomes one of the EVENTS that the caller gets."""
    contents: list[dict[str, str]] = [{"content": word} for word in WORDS]
    contents.append({"content": "", "finish_reason": "stop"})
    return b"".join(map(_gateway_event, contents)) + b"data: [DONE]\n\n"


def _gateway_event(content: dict[str, str]) -> bytes:
    document: dict[str, object] = {"data": {"content": content}, "trace": ""}
    missing = EVENT_BYTES - len(b"data: \n\n") - len(json.dumps(document, separators=(",", ":")))
    document["trace"] = "f" * missing
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1750000000,
        "model": "gpt-4o-mini",
        "system_fingerprint": "",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    missing = EVENT_BYTES - len(b"data: \n\n") - len(json.dumps(chunk, separators=(",", ":")))
    chunk["system_fingerprint"] = "f" * missing
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def write_backend(folder: Path, port: int) -> Path:
    """Writes the backend's configuration and its stream file; returns the configuration's path."""
    (folder / "events.sse").write_bytes(stream_answer())
    (folder / "gateway.sse").write_bytes(gateway_stream())
    server = BACKEND_SERVER.format(
        port=port,
        folder=folder,
        answer=chat_answer().decode(),
        gateway_answer=gateway_answer().decode(),
        event_bytes=EVENT_BYTES,
    )
    return _write(folder, "backend", server)


def write_relay(folder: Path, port: int, backend_port: int, access_token: str) -> Path:
    """Writes the configuration of nginx as a relay with a fixed token: the floor a compiled proxy sets."""
    return _write(folder, "relay", RELAY_SERVER.format(port=port, backend_port=backend_port, access_token=access_token))


def _write(folder: Path, name: str, servers: str) -> Path:
    path = folder / f"{name}.conf"
    path.write_text(NGINX.format(folder=folder, name=name, servers=servers))
    return path
