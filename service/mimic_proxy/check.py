"""`mimic-proxy check`: where calls go, one token, one models call, and in words what is wrong and what to try."""

import asyncio
from collections.abc import Callable

import msgspec

from mimic_proxy.app import Mimic
from mimic_proxy.configuration.values import masked_url
from mimic_proxy.errors import MimicError
from mimic_proxy.relay.headers import RequestFields
from mimic_proxy.relay.target import CHAT, EMBEDDINGS, MODELS, operation_target, parse_base
from mimic_proxy.settings import Settings
from mimic_proxy.tokens.token import AccessToken
from mimic_proxy.web.models import WITHOUT_ROUTE, Models, ModelsAnswer

LONGEST_WAIT_SECONDS = 60.0
"""For the models call: a person waits for it."""
LONGEST_QUOTE = 200

TRY_FOR_TOKENS = {
    "token_rejected": "The secret is wrong, used up or expired: get a new one and set {secret}.",
    "token_unavailable": "Can this machine reach TOKEN_URL at all? {network}",
}
TRY_FOR_BACKEND = {
    "dns": "Is the host in CHAT_API_URL spelt right? {network}",
    "connect": "Are host and port in CHAT_API_URL right, and is the backend up? {network}",
    "tls": "CA_BUNDLE names the certificates of your issuer; http:// or https:// in CHAT_API_URL may be wrong.",
    "upstream_auth_failed": "Does the token belong to this backend? TOKEN_HEADER and TOKEN_FORMAT say how it is sent.",
    "read_timeout": "The backend took the connection and stays silent: does CHAT_API_URL name an API?",
    "protocol": "What answers there does not speak HTTP as a backend does: does CHAT_API_URL name an API?",
}
NETWORK = "HTTP_PROXY, HTTPS_PROXY and NO_PROXY say which calls take an outbound proxy; a VPN may be needed."

Say = Callable[[str], None]


class _Listed(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Listed]


class _ErrorBody(msgspec.Struct):
    error: dict[str, object]


def resolved_urls(settings: Settings) -> dict[str, str]:
    """What each kind of call asks, as it may be shown: method and URL, the values of queries hidden."""
    urls: dict[str, str] = {}
    for name, method, url, suffix in (
        ("Chat completions", "POST", settings.chat_api_url, CHAT),
        ("Embeddings", "POST", settings.embedding_api_url, EMBEDDINGS),
        ("Models", "GET", settings.chat_api_url, MODELS),
    ):
        base = parse_base(url)
        place = (base.host_field + operation_target(base, suffix, b"")).decode("ascii")
        urls[name] = f"{method} {masked_url(f'{base.scheme}://{place}')}"
    if settings.grant == "auth_code" and settings.token_url is not None:
        urls["Access tokens"] = f"POST {masked_url(settings.token_url)}"
    return urls


async def check(mimic: Mimic, say: Say) -> bool:
    """Tells every step to `say`; True if all went well. Needs no running Mimic and starts no server."""
    settings = mimic.settings
    for name, url in resolved_urls(settings).items():
        say(f"      {name}: {url}")
    for warning in settings.warnings:
        say(f"note  {warning}")
    token = await obtained(mimic)
    if isinstance(token, MimicError):
        _fail(say, "Access token", token.message, _advice_on_token(token, settings))
        return False
    say(f"ok    Access token: {_lifetime(mimic, settings)}")
    try:
        return _judge(await _models(mimic).list(RequestFields(), b""), settings, say)
    except MimicError as error:
        kind = error.code if error.code in TRY_FOR_BACKEND else error.error_type or ""
        advice = TRY_FOR_BACKEND.get(kind, "Does CHAT_API_URL name the base of an OpenAI API?")
        _fail(say, "Models", error.message, advice.format(network=NETWORK))
        return False


def _models(mimic: Mimic) -> Models:
    """As the API port asks for them, but neither kept nor replaced by MODELS."""
    limits = [seconds for seconds in (mimic.settings.total_timeout, LONGEST_WAIT_SECONDS) if seconds]
    pool = mimic.pools[parse_base(mimic.settings.chat_api_url).origin]
    return Models(mimic.services, pool, fixed=(), cache_seconds=0.0, timeout=min(limits))


async def obtained(mimic: Mimic) -> AccessToken | MimicError:
    """The token, or why there is none; waits for the one that is on its way."""
    arrived: asyncio.Future[AccessToken | MimicError] = asyncio.get_running_loop().create_future()

    def ready(got: AccessToken | MimicError) -> None:
        if not arrived.done():
            arrived.set_result(got)

    got = mimic.tokens.obtain(ready)
    return await arrived if got is None else got


def _lifetime(mimic: Mimic, settings: Settings) -> str:
    if settings.grant == "none":
        return "none is sent (GRANT=none)."
    state = mimic.tokens.state()
    if settings.grant == "static":
        return "taken from ACCESS_TOKEN."
    if state.expires is None or state.lifetime is None:
        return f"fetched; nobody says how long it lives, so TOKEN_DEFAULT_LIFETIME={settings.token_default_lifetime:g}."
    return f"fetched, it lives {state.lifetime:g} s."


def _judge(answer: ModelsAnswer, settings: Settings, say: Say) -> bool:
    """Says what the answer to the models call means; True if calls will work."""
    if answer.status == 200:
        return _judge_list(answer.body, settings, say)
    said = _quoted(answer.body)
    if answer.status in (401, 403):
        advice = "The backend knows the token and refuses it: ask its owners what this account may use."
    elif answer.status in WITHOUT_ROUTE:
        advice = "Does CHAT_API_URL name the base of an OpenAI API, for example https://models.example.com/v1?"
    else:
        advice = "The backend itself has a problem, or something in front of it: ask its owners."
    _fail(say, "Models", f"the backend answers {answer.status}{said}", advice)
    return False


def _judge_list(body: bytes, settings: Settings, say: Say) -> bool:
    try:
        names = [entry.id for entry in msgspec.json.decode(body, type=_List).data]
    except msgspec.MsgspecError:
        advice = "Does CHAT_API_URL name the base of an OpenAI API, for example https://models.example.com/v1?"
        _fail(say, "Models", "the backend answers 200 with something that is no list of models.", advice)
        return False
    if settings.models:
        say(f"note  MODELS is set: callers see its {len(settings.models)} and not what the backend lists.")
    if names:
        more = ", ..." if names[3:] else ""
        say(f"ok    Models: {len(names)}, {', '.join(_printable(name) for name in names[:3])}{more}")
        return True
    say("ok    Models: the backend answers, but lists none.")
    if not settings.models:
        say("note  MODELS sets a list for callers that ask for one.")
    return True


def _advice_on_token(error: MimicError, settings: Settings) -> str:
    secret = "AUTH_CODE" if settings.grant == "auth_code" else "ACCESS_TOKEN"
    return TRY_FOR_TOKENS.get(error.code, "{network}").format(secret=secret, network=NETWORK)


def _quoted(body: bytes) -> str:
    """The backend's own words, if it has any in OpenAI's shape."""
    try:
        message = msgspec.json.decode(body, type=_ErrorBody).error.get("message")
    except msgspec.MsgspecError:
        return "."
    return f": {_printable(message)}" if isinstance(message, str) and message else "."


def _printable(text: str) -> str:
    shown = "".join(part if part.isprintable() else " " for part in text)
    return shown if len(shown) <= LONGEST_QUOTE else f"{shown[:LONGEST_QUOTE]}..."


def _fail(say: Say, step: str, message: str, advice: str) -> None:
    say(f"FAIL  {step}: {message}")
    say(f"      Try: {advice}")
