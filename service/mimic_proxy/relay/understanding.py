"""What a JSON request asks for, and how it is put to a backend of another dialect. Pure."""

from mimic_proxy.dialects.base import Dialect, Embedding, Stamp, StreamReader, Translated, Translation
from mimic_proxy.errors import CallerError
from mimic_proxy.http.body import BodyFields, RequestParameters, read_fields, read_parameters
from mimic_proxy.relay.routes import Route

NO_FIELDS = BodyFields()


class Understood:
    """A request as far as it has been read. Nothing of it is content, but what `translation` or `embedding` holds."""

    translation: Translation | None = None
    """One call to a backend of another dialect."""
    embedding: Embedding | None = None
    """Several calls to one."""
    parameters: RequestParameters | None = None

    def __init__(self, fields: BodyFields) -> None:
        self.fields = fields


class OneCall:
    """Embeddings that are one call to the backend, as a Translation."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self.body = embedding.bodies[0]

    def stream(self, content_type: bytes) -> StreamReader | None:
        """Embeddings are not streamed."""
        return None

    def answer(self, status: int, body: bytes) -> Translated:
        """See Translation."""
        return self._embedding.take(0, status, body) or self._embedding.answer()

    def events(self, answer: Translated) -> bytes:
        """Embeddings are not streamed."""
        raise AssertionError("unreachable: embeddings are not streamed")


def understand(
    whole: bytes, route: Route, dialect: Dialect | None, stamp: Stamp | None, *, parameters: bool
) -> Understood | CallerError:
    """Read a whole JSON body; the error is what its caller has to mend.

    dialect, stamp: for a backend that does not speak as the caller does. parameters: they are wanted for a span.
    """
    try:
        understood = Understood(read_fields(whole))
        if dialect is not None and stamp is not None:
            _translate(understood, whole, route, dialect, stamp)
    except CallerError as refusal:
        # Of what is passed through, the backend judges.
        return refusal if route.first_class else Understood(NO_FIELDS)
    if parameters:
        understood.parameters = read_parameters(whole)
    return understood


def _translate(understood: Understood, whole: bytes, route: Route, dialect: Dialect, stamp: Stamp) -> None:
    if route.operation == "chat":
        understood.translation = dialect.translate(whole, understood.fields, stamp)
    elif route.operation == "embeddings":
        embedding = dialect.embed(whole, understood.fields)
        if embedding is not None and len(embedding.bodies) == 1:
            understood.translation = OneCall(embedding)
        else:
            understood.embedding = embedding
