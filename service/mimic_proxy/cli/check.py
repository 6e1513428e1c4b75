"""`mimic-proxy check`: where calls go, one token, one models call, and in words what is wrong and what to try.

Embeddings that live elsewhere get a connection and no call.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from mimic_proxy.app.mimic import Mimic
from mimic_proxy.cli.command import DOTENV, Say, in_a_loop, say
from mimic_proxy.dialects.base import Stamp, Translated
from mimic_proxy.errors import MimicError, UpstreamTimeout
from mimic_proxy.http.body import read_fields
from mimic_proxy.http.headers import RequestFields
from mimic_proxy.http.target import CHAT, EMBEDDINGS, MODELS, operation_target, parse_base
from mimic_proxy.relay.client import BackendResponse, Client
from mimic_proxy.relay.connection import Connection
from mimic_proxy.relay.pool import Pool
from mimic_proxy.settings.fields import SECRETS, Settings, load
from mimic_proxy.settings.grants import NEEDED, WITHOUT_SERVICE
from mimic_proxy.settings.values import masked_url
from mimic_proxy.telemetry.logs import LineWriter, configure, written_to
from mimic_proxy.telemetry.port import Telemetry
from mimic_proxy.telemetry.propagation import unsampled
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.explanation import Advice
from mimic_proxy.tokens.token import AccessToken
from mimic_proxy.web.models import WITHOUT_ROUTE, Models

WORDS = "Say hello."
LARGEST_ANSWER_BYTES = 1048576


LONGEST_WAIT_SECONDS = 60.0
"""For one call: a person waits for it."""
LONGEST_QUOTE = 200
LONGEST_EXPLANATION = 1000

NETWORK = "HTTP_PROXY, HTTPS_PROXY and NO_PROXY say which calls take an outbound proxy; a VPN may be needed."
TRY_FOR_TOKENS = {
    Advice.CERTIFICATES: "CA_BUNDLE=/path/company.pem names the certificates of the issuer, as PEM.",
    Advice.SCHEME: "http:// or https:// in TOKEN_URL may be wrong.",
    Advice.PATH: "Does TOKEN_URL name the very address that issues tokens? Its path may be wrong.",
    Advice.OWNERS: "The token service itself has a problem, or something in front of it: ask its owners.",
    Advice.OTHER_URL: "What answers there is no token service as GRANT={grant} needs it: is TOKEN_URL right?",
    Advice.POINTER: (
        "What answers there is no token service as GRANT={grant} needs it: is TOKEN_URL right? TOKEN_POINTER says "
        "where its answers hold the token."
    ),
    Advice.REDIRECT: "TOKEN_URL must name the address that it redirects to, if that is the token service.",
    Advice.LATER: "Wait, and look whether somebody else uses the same account.",
    Advice.REQUEST: "TOKEN_METHOD, TOKEN_ENCODING and TOKEN_FIELDS change what is sent.",
    Advice.NETWORK: f"Can this machine reach TOKEN_URL at all? {NETWORK}",
}
"""What the message has advised, at more length."""
TRY_STORE = "One Mimic at a time can use a TOKEN_STORE, and its folder has to be there and writable for it."
TRY_FOR_BACKEND = {
    "dns": f"Is the host in {{setting}} spelt right? {NETWORK}",
    "connect": f"Are host and port in {{setting}} right, and is the backend up? {NETWORK}",
    "tls": "CA_BUNDLE names the certificates of your issuer; http:// or https:// in {setting} may be wrong.",
    "upstream_auth_failed": "Does the token belong to this backend? TOKEN_HEADER and TOKEN_FORMAT say how it is sent.",
    "read_timeout": "The backend took the connection and stays silent: does {setting} name an API?",
    "protocol": "What answers there does not speak HTTP as a backend does: does {setting} name an API?",
}
TRY_ANOTHER_BASE = "Does CHAT_API_URL name the base of an OpenAI API, for example https://models.example.com/v1?"


class _Listed(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Listed]


class _ErrorBody(msgspec.Struct):
    error: dict[str, object]


def resolved_urls(settings: Settings) -> dict[str, str]:
    """What each kind of call asks, as it may be shown: method and URL, the values of queries hidden."""
    places = [
        ("Chat completions", "POST", settings.chat_api_url, CHAT),
        ("Embeddings", "POST", settings.embedding_api_url, EMBEDDINGS),
    ]
    if settings.models_url is not None:
        places.append(("Models", "GET", settings.models_url, MODELS))
    urls: dict[str, str] = {}
    for name, method, url, suffix in places:
        base = parse_base(url, exact=settings.translates)
        place = (base.host_field + operation_target(base, suffix, b"")).decode("ascii")
        urls[name] = f"{method} {masked_url(f'{base.scheme}://{place}')}"
    if settings.grant not in WITHOUT_SERVICE and settings.token_url is not None:
        urls["Access tokens"] = f"{settings.token_method} {masked_url(settings.token_url)}"
    return urls


def run(environ: Mapping[str, str]) -> bool:
    """The command; CHECK_CHAT is its option `--chat`."""
    settings = load(environ, DOTENV)
    configure(LineWriter(written_to(sys.stderr)), level="ERROR", style="console")

    async def checking() -> bool:
        mimic = Mimic(settings, Telemetry())
        try:
            return await check(mimic, say, environ.get("CHECK_CHAT") or None)
        finally:
            await mimic.close()

    return in_a_loop(checking())


async def check(mimic: Mimic, say: Say, model: str | None = None) -> bool:
    """Tells every step to `say`; True if all went well. Needs no running Mimic and starts no server.

    model: it is sent one small chat.
    """
    settings = mimic.settings
    for name, url in resolved_urls(settings).items():
        say(f"      {name}: {url}")
    for warning in settings.warnings:
        say(f"note  {warning}")
    with _told_once():
        token = await obtained(mimic)
    if isinstance(token, MimicError):
        say(f"FAIL  Access token: {token.message}")
        _explain_token(token, mimic, say)
        return False
    say(f"ok    Access token: {_lifetime(mimic, settings)}")
    told = mimic.tokens.explanation()
    for remark in told.remarks if told is not None else ():
        say(f"note  Access token: {remark}.")
    went_well = [await _try_models(mimic, say), await _try_embeddings(mimic, say)]
    if model is not None:
        went_well.append(await _try_chat(mimic, model, say))
    elif mimic.services.translates:
        say("note  No chat was made: check --chat MODEL makes one, and tells which path finds nothing.")
    return all(went_well)


async def _try_models(mimic: Mimic, say: Say) -> bool:
    if mimic.settings.models_url is None:
        if not mimic.settings.models:
            say("note  Models: neither MODELS nor ENVELOPE_MODELS_URL is set: callers see what has worked.")
        return True
    try:
        # Not `list`: it answers for a backend that has none, and here is asked whether it has.
        models = _models(mimic)
        answer = await models.ask(MODELS, RequestFields(), b"", models.untraced(RequestFields()))
    except MimicError as error:
        _fail(say, "Models", error.message, _advice_on_backend(error, "CHAT_API_URL"))
        return False
    return _judge(answer, mimic.settings, say)


async def _try_chat(mimic: Mimic, model: str, say: Say) -> bool:
    try:
        answer = await small_chat(mimic, model, _patience(mimic))
    except MimicError as error:
        _fail(say, "Chat", error.message, _advice_on_backend(error, "CHAT_API_URL"))
        return False
    said = characters(answer) if answer.status == 200 else None
    if said is not None:
        say(f"ok    Chat: {_printable(model)} answered with {said} characters.")
        return True
    told = _quoted(answer.body, LONGEST_EXPLANATION)
    pointed = "(ENVELOPE_" in told
    advice = "Set it to where that stands among the keys." if pointed else "Does CHAT_API_URL name the chat call?"
    _fail(say, "Chat", f"the answer would be {answer.status}{told}", advice)
    return False


async def _try_embeddings(mimic: Mimic, say: Say) -> bool:
    """A connection to where embeddings live, unless the models call has been there."""
    base = parse_base(mimic.settings.embedding_api_url)
    if base.origin == parse_base(mimic.settings.chat_api_url).origin:
        return True
    try:
        await _connected(mimic.pools.of(base))
    except MimicError as error:
        _fail(say, "Embeddings", error.message, _advice_on_backend(error, "EMBEDDING_API_URL"))
        return False
    say(f"ok    Embeddings: {base.host_field.decode('ascii')} takes connections; no call was made.")
    return True


class _Arrival:
    """Waits for one connection and gives it back unused."""

    def __init__(self) -> None:
        self.result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connected(self, connection: Connection) -> None:
        connection.keep_alive = True
        connection.pool.keep(connection, None)
        if not self.result.done():
            self.result.set_result(None)

    def dial_failed(self, error: MimicError) -> None:
        if not self.result.done():
            self.result.set_exception(error)


async def _connected(pool: Pool) -> None:
    """A new connection. Raises MimicError; CONNECT_TIMEOUT limits it."""
    arrival = _Arrival()
    dial = pool.dial(arrival)
    try:
        await arrival.result
    finally:
        dial.cancel()


@contextmanager
def _told_once() -> Iterator[None]:
    """Keeps from the log why there is no token: the check says it."""
    logger = logging.getLogger("mimic.tokens")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def _models(mimic: Mimic) -> Models:
    """As the API port asks for them, but neither kept nor replaced by MODELS."""
    return Models(mimic.services, mimic.models_backend(_patience(mimic)), fixed=(), cache_seconds=0.0)


def _patience(mimic: Mimic) -> float:
    return min(seconds for seconds in (mimic.settings.total_timeout, LONGEST_WAIT_SECONDS) if seconds)


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


def _judge(answer: BackendResponse, settings: Settings, say: Say) -> bool:
    """Says what the answer to the models call means; True if calls will work."""
    status = answer.fields.status
    if status == 200:
        return _judge_list(answer.body, settings, say)
    if status in WITHOUT_ROUTE:
        return _judge_missing(status, settings, say)
    said = _quoted(answer.body)
    if status in (401, 403):
        advice = "The backend knows the token and refuses it: ask its owners what this account may use."
    elif 300 <= status < 400:
        advice = TRY_ANOTHER_BASE
    else:
        advice = "The backend itself has a problem, or something in front of it: ask its owners."
    _fail(say, "Models", f"the backend answers {status}{said}", advice)
    return False


def _judge_missing(status: int, settings: Settings, say: Say) -> bool:
    """A backend without a list is a good one, and it looks just like a base whose path is wrong."""
    if settings.translates:
        url = resolved_urls(settings)["Models"]
        _fail(say, "Models", f"{url} answered {status}.", "Is ENVELOPE_MODELS_URL right? MODELS can name them instead.")
        return False
    path = parse_base(settings.chat_api_url).path
    asked = f"{resolved_urls(settings)['Models']} answered {status}"
    if status == 404 and not path and not settings.models:
        advice = "CHAT_API_URL has no path: most backends want /v1 at its end. If this one has no list, set MODELS."
        _fail(say, "Models", f"{asked}.", advice)
        return False
    wrong = "has a wrong path" if b"/v1" in path else "lacks /v1"
    say(f"note  Models: {asked}: either this backend has no list (then MODELS sets one), or CHAT_API_URL {wrong}.")
    return True


def _judge_list(body: bytes, settings: Settings, say: Say) -> bool:
    try:
        names = [entry.id for entry in msgspec.json.decode(body, type=_List).data]
    except msgspec.MsgspecError:
        _fail(say, "Models", "the backend answers 200 with something that is no list of models.", TRY_ANOTHER_BASE)
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


def _explain_token(error: MimicError, mimic: Mimic, say: Say) -> None:
    """What was sent, what came back, and what to try."""
    told = mimic.tokens.explanation()
    if told is not None:
        say(f"      Sent: {_printable(told.sent, LONGEST_EXPLANATION)}")
        say(f"      Came: {_printable(told.came, LONGEST_EXPLANATION)}")
        if told.said:
            say(f"      Said: {_printable(told.said, LONGEST_EXPLANATION)}")
        if told.keys:
            say(f"      Keys: {_printable(', '.join(told.keys), LONGEST_EXPLANATION)}")
    tries = told.tries if told is not None else ()
    last = _advice_on_token(error, mimic)
    for advice in tries if last is None else (*tries, last):
        say(f"      Try: {advice}")


def _advice_on_token(error: MimicError, mimic: Mimic) -> str | None:
    """What to try; None where the message has said all of it."""
    grant, state = mimic.settings.grant, mimic.tokens.state()
    if error.message.startswith("TOKEN_STORE="):
        return TRY_STORE
    secret = next(iter(name for name in NEEDED[grant] if name in SECRETS), "the secret")
    if state.trouble is not None and state.last_result is None and error.code != "token_rejected":
        return f"Put the secret into the file that {secret}_FILE names, readable for whoever runs Mimic."
    if error.code == "token_rejected" and mimic.tokens.explanation() is None:
        return f"Nothing was sent: mend what {secret} holds, or the file that {secret}_FILE names."
    told = mimic.tokens.explanation()
    advised = None if told is None else told.advice
    if advised is Advice.BY_ERROR:
        return None
    if advised is Advice.SECRET:
        return f"The secret is wrong, used up or expired: get a new one and set {secret}."
    return TRY_FOR_TOKENS[advised or Advice.NETWORK].replace("{grant}", grant)


def _advice_on_backend(error: MimicError, setting: str) -> str:
    """What to try when `setting` leads to no answer at all."""
    kind = error.code if error.code in TRY_FOR_BACKEND else error.error_type or ""
    if isinstance(error, UpstreamTimeout) and error.timer == "connect":
        kind = "connect"
    return TRY_FOR_BACKEND.get(kind, "Does {setting} name the base of an OpenAI API?").format(setting=setting)


def _quoted(body: bytes, longest: int = LONGEST_QUOTE) -> str:
    """The backend's own words, if it has any in OpenAI's shape."""
    try:
        message = msgspec.json.decode(body, type=_ErrorBody).error.get("message")
    except msgspec.MsgspecError:
        return "."
    return f": {_printable(message, longest)}" if isinstance(message, str) and message else "."


def _printable(text: str, longest: int = LONGEST_QUOTE) -> str:
    shown = "".join(part if part.isprintable() else " " for part in text)
    return shown if len(shown) <= longest else f"{shown[:longest]}..."


def _fail(say: Say, step: str, message: str, advice: str) -> None:
    say(f"FAIL  {step}: {message}")
    say(f"      Try: {advice}")


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said


class _Completion(msgspec.Struct):
    choices: list[_Choice]


async def small_chat(mimic: Mimic, model: str, timeout: float) -> Translated:
    """What a caller gets who says hello to this model; timeout: seconds.

    Raises MimicError where there is no answer at all, or one that is not understood.
    """
    services = mimic.services
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": WORDS}], "max_tokens": 16}).encode()
    stamp = Stamp(services.new_trace()[:32], int(services.wall()))
    translation = services.dialect.translate(body, read_fields(body), stamp) if services.translates else None

    def read(answer: BackendResponse) -> Translated:
        status, plain = answer.fields.status, answer.plain(LARGEST_ANSWER_BYTES)
        return Translated(status, plain) if translation is None else translation.answer(status, plain)

    place = services.backends["chat"].base
    backend = Client(services, mimic.pools.of(place), place, name="CHAT_API_URL", timeout=timeout)
    fields = RequestFields()
    fields.passing += (b"content-type: application/json\r\n",)
    record = Record(services.clock(), "chat", "POST", "")
    record.trace = unsampled(None, services.new_trace())
    sent = body if translation is None else translation.body
    _, given = await backend.ask(b"POST", CHAT, fields, b"", record, body=sent, limit=LARGEST_ANSWER_BYTES, read=read)
    assert given is not None, "`read` makes something of every answer"
    return given


def characters(answer: Translated) -> int | None:
    """How much the model said; None if the answer is no chat completion. Never what it said."""
    try:
        choices = msgspec.json.decode(answer.body, type=_Completion).choices
    except msgspec.MsgspecError:
        return None
    return sum(len(choice.message.content or "") for choice in choices)
