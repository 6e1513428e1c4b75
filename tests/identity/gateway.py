"""A company's model gateway in small, a process of its own: it lets in whom Keycloak vouches for.

A token has to be signed by one of the provider's keys (PyJWT, keys from its JWKS), be for this gateway, and still count
when the provider is asked about it (RFC 7662). Everything else gets 401. The answer to a chat tells, as JSON, for whom
the gateway takes its caller. `GET /seen` counts what happened, and tells the access token that came last.
"""

import json
import os
import time
from collections import Counter
from typing import Any

import httpx2
import jwt
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

ISSUER = os.environ["ISSUER"]
AUDIENCE = os.environ["CLIENT_ID"]
CREDENTIAL = {"client_id": AUDIENCE, "client_secret": os.environ["CLIENT_SECRET"]}
TOLD = ("azp", "jti", "preferred_username", "iat", "exp")

keys = jwt.PyJWKClient(f"{ISSUER}/protocol/openid-connect/certs")
provider = httpx2.Client(trust_env=False)
seen: Counter[str] = Counter()
last: dict[str, str] = {}
app = FastAPI()


class Refused(Exception):
    """The message says what is wrong with the token."""


def claims_of(token: str) -> dict[str, Any]:
    """What a good token says. Raises Refused."""
    try:
        key = keys.get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)
    except jwt.PyJWTError as error:
        raise Refused(f"{type(error).__name__}: {error}") from error
    asked = {"token": token, **CREDENTIAL}
    answer = provider.post(f"{ISSUER}/protocol/openid-connect/token/introspect", data=asked)
    if not answer.raise_for_status().json()["active"]:
        raise Refused("the provider has withdrawn it")
    return claims


# Plain functions: they block, and therefore run in threads.
@app.get("/v1/models")
def models() -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "whoami", "object": "model", "created": 0, "owned_by": "company"}]}


@app.get("/seen")
def report() -> dict[str, Any]:
    return {"counts": dict(seen), **last}


@app.post("/v1/chat/completions")
def chat(request: Request) -> JSONResponse:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    last["token"] = token
    try:
        if scheme != "Bearer":
            raise Refused("no bearer token")
        claims = claims_of(token)
    except Refused as refused:
        seen[str(refused)] += 1
        error = {"message": str(refused), "type": "invalid_request_error", "param": None, "code": "invalid_token"}
        return JSONResponse({"error": error}, 401, {"www-authenticate": 'Bearer error="invalid_token"'})
    seen["let in"] += 1
    message = {"role": "assistant", "content": json.dumps({name: claims.get(name) for name in TOLD})}
    return JSONResponse(
        {
            "id": f"chatcmpl-{seen['let in']}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": "whoami",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        }
    )


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
