"""Everything that can go wrong and that a caller can do something about.

Hides nothing and knows no HTTP: `kg.web` maps this tree to statuses, `kg.cli` to exit codes. The first line of a
class's docstring is its title for people, the rest is its page in the documentation (`/errors`).

    KgError
    ├── ConfigurationError
    │   ├── BaseMismatch
    │   ├── NewerFormat
    │   ├── DirectoryInUse
    │   └── MalformedQuestion
    ├── RequestError
    │   ├── InvalidParameter
    │   │   ├── UnknownName
    │   │   └── AmbiguousName
    │   ├── NotAcceptable
    │   ├── UnsupportedMediaType
    │   ├── MethodNotAllowed
    │   ├── PreconditionFailed
    │   ├── Unauthorized
    │   └── Forbidden
    ├── DocumentError
    │   ├── MalformedDocument
    │   ├── DocumentTooLarge
    │   ├── UnplaceableDocument
    │   ├── TangledBlankNodes
    │   ├── RemoteReference
    │   ├── JudgingTimeout
    │   └── JudgeDied
    ├── Rejected
    ├── StillReferredTo
    ├── NotFound
    │   ├── Gone
    │   ├── UnknownQuestion
    │   └── SnapshotGone
    ├── QueryError
    │   ├── MalformedQuery
    │   ├── ServiceRefused
    │   ├── ServiceFailed
    │   ├── UpdateRefused
    │   ├── QueryTimeout
    │   ├── QueryMemoryExceeded
    │   ├── ResultTooLarge
    │   ├── QueryProcessDied
    │   ├── EngineUnsuitable
    │   └── CallerGone
    ├── Overloaded
    │   ├── BeingMade
    │   └── TooManyRequests
    └── StorageError
        ├── IndexBehind
        └── EngineUnavailable
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kg.gate import Report


class KgError(Exception):
    """The service could not do what was asked.

    Every error says what to mend. `detail` is a sentence for people, `facts` what a program needs of the case.
    """

    def __init__(self, detail: str, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts: dict[str, Any] = {name: value for name, value in facts.items() if value is not None}

    @classmethod
    def name(cls) -> str:
        """The stable name of this kind of error, its anchor in the documentation: `malformed-query`."""
        words = "".join(f"-{c.lower()}" if c.isupper() else c for c in cls.__name__)
        return words.lstrip("-")

    @classmethod
    def title(cls) -> str:
        """The first line of the documentation of this kind of error, without its full stop."""
        return (cls.__doc__ or cls.__name__).splitlines()[0].rstrip(".")

    @classmethod
    def explanation(cls) -> str:
        """The rest of the documentation of this kind of error, as one paragraph; what stands between backticks is literal."""
        return " ".join("".join((cls.__doc__ or "").splitlines(keepends=True)[1:]).split())

    @classmethod
    def tree(cls) -> Iterator[type[KgError]]:
        """This kind of error and every kind below it, parents first."""
        yield cls
        for kind in cls.__subclasses__():
            yield from kind.tree()


class ConfigurationError(KgError):
    """A setting cannot be used.

    The message names the setting, what was given and what is allowed.
    """


class BaseMismatch(ConfigurationError):
    """The data directory belongs to another base IRI.

    The base is chosen when a data directory is created, because every IRI in it starts with it. Start the service
    without `--base`, or with the one that the message names, or choose another directory with `--data`.
    """


class NewerFormat(ConfigurationError):
    """The data directory was written by a newer version.

    Nothing was changed. Install the version that wrote it, or a later one.
    """


class DirectoryInUse(ConfigurationError):
    """Another process serves this data directory.

    One directory has one server. Stop the other process, which the message names, or choose another directory.
    """


class MalformedQuestion(ConfigurationError):
    """A file of a question cannot be used.

    The message names the file and what its header or its query must have. The documentation of `kg.questions` says what a
    header holds; `kg ask new ID` writes one to begin with.
    """


class RequestError(KgError):
    """The request does not follow the protocol.

    The message says which parameter or header is missing, repeated or not understood.
    """


class InvalidParameter(RequestError):
    """A parameter of the question cannot be used.

    `errors` has one entry for each that is missing, unknown, or not of its type, with its name as `parameter` and what is allowed.
    """


class UnknownName(InvalidParameter):
    """Nothing here has that name.

    `matches` has near ones, if any. Actors, places, agreements, events, propositions and articles are given by their
    address, by its last part, or by a label in any language, or by the beginning of a label that only one of them has.
    """


class AmbiguousName(InvalidParameter):
    """Several things have that name.

    `matches` lists them, with label and address: send one of these addresses, or its last part.
    """


class NotAcceptable(RequestError):
    """None of the media types asked for can be had.

    `available` lists those that can. Ask for one of them in `Accept`, or leave the header out.
    """


class UnsupportedMediaType(RequestError):
    """The body is in a media type that is not read here.

    `supported` lists those that are. Name the right one in `Content-Type`; for a file, by its suffix.
    """


class MethodNotAllowed(RequestError):
    """This address does not take that method.

    `Allow` lists the methods it takes.
    """


class PreconditionFailed(RequestError):
    """The document is no longer as it was.

    Somebody has changed it since the version that the request names (`If-Match`), or it is there already (`If-None-Match: *`).
    Nothing was written. `etag` and `revision` are those it has now: fetch it, apply the change to that, and send it again.
    """


class Unauthorized(RequestError):
    """Writing takes a token.

    Send it in the header `Authorization: Bearer kg_…`, never in the address. The operator makes one with
    `kg token create --name NAME --role writer`.
    """


class Forbidden(RequestError):
    """This may not be done.

    As long as there is no token, nothing can be written over HTTP: the operator makes one with `kg token create`. A `writer` records, corrects and retracts; deleting takes a token with the role `admin`. What was published and turned
    out wrong is better retracted: that keeps the article, with the reason and the date.
    """


class DocumentError(KgError):
    """A document could not be read.

    Nothing was stored. The message says what to mend, with line and column where they are known.
    """


class MalformedDocument(DocumentError):
    """The text is not well-formed RDF.

    `line` and `column` count from 1 and say where reading stopped. Nothing of the file was stored.
    """


class DocumentTooLarge(DocumentError):
    """The document is over the limit.

    `limit` is in bytes. A document is one article, actor, place, agreement, event or proposition: split it, or
    let the operator raise `KG_DOCUMENT_LIMIT` (for files and bodies with many documents `KG_BATCH_LIMIT`).
    """


class UnplaceableDocument(DocumentError):
    """It is not clear which document this is.

    A Turtle, N-Triples or RDF/XML file holds one document, recognised by its subjects: `{base}{kind}/{slug}` and
    hash IRIs under it. TriG, N-Quads and JSON-LD may hold many, one in each named graph, whose name is the
    document's IRI.
    """


class TangledBlankNodes(DocumentError):
    """A blank node is used from more than one place.

    Blank nodes are for parts of one thing, such as a selector or a geometry. What is referred to twice, or refers
    to itself, needs a name of its own: a hash IRI under the document's IRI.
    """


class RemoteReference(DocumentError):
    """The document asks for another to be fetched.

    Nothing is ever fetched from elsewhere while a document is read: put a JSON-LD context into the document or
    name this service's own (`{base}context.jsonld`), and write XML without a document type declaration.
    """


class JudgingTimeout(DocumentError):
    """The document took longer to judge than it may.

    `limit` is in seconds. Nothing was stored. Long chains of nodes that refer to each other cost most: split the document.
    An operator may raise `KG_JUDGE_TIMEOUT`.
    """


class JudgeDied(DocumentError):
    """The process that judged the document died of it.

    Nothing was stored, and the process has been replaced. Send fewer or smaller documents at once.
    """


class Rejected(KgError):
    """The gate rejected the document.

    Nothing was stored, neither this document nor any other of its batch. Each result of the report names the node,
    the property and the value concerned, and how to mend it.
    """

    def __init__(self, reports: Sequence[Report]) -> None:
        failed = [report for report in reports if not report.conforms]
        count = sum(len(report.results) for report in failed)
        names = ", ".join(report.document for report in failed[:3]) + (", …" if len(failed) > 3 else "")
        super().__init__(f"{count} thing{'s' if count != 1 else ''} to mend in {names}")
        self.reports = failed


class StillReferredTo(KgError):
    """Other documents refer to what would be taken away.

    Nothing was changed. `referrers` names them, each with the node that it refers to, up to a hundred of `total`. Change or delete
    them first or in the same batch; an article can be retracted instead, which keeps it.
    """


class NotFound(KgError):
    """There is nothing under this address.

    The document was never recorded, or the address is not one of this service's.
    """


class Gone(NotFound):
    """The document was withdrawn.

    It was here, and `revision` took it away. Its history stays: `timemap` is the address of the list of its states, each of which
    can be read with `?revision=`.
    """


class UnknownQuestion(NotFound):
    """There is no question of that name.

    `/questions` lists all there are; `near` has those whose names are close.
    """


class SnapshotGone(NotFound):
    """The graph as it was at that revision is no longer at hand.

    Questions can be asked of a revision for as long as its snapshot is kept, which is a while after the next change. Leave
    `revision` out to ask the graph as it is now. The documents' own history is kept for ever.
    """


class QueryError(KgError):
    """The query could not be answered.

    No part of an answer was sent: results are whole or an error.
    """


class MalformedQuery(QueryError):
    """The query is not SPARQL 1.1.

    `line` and `column` count from 1 and say where the parser stopped. Updates are not queries and go elsewhere.
    """


class ServiceRefused(QueryError):
    """Queries do not reach out to other services.

    `SERVICE` and `LOAD` would make this machine send requests elsewhere. Query both services from your side and
    join there. An operator may allow single endpoints with `KG_SERVICE_ALLOW`; `endpoint` names the one that was asked
    for and is not among them. `line` and `column` say where.
    """


class ServiceFailed(QueryError):
    """Another service that the query asks did not answer as it must.

    `endpoint` names it. It was away, too slow, answered with too much or with something else than SPARQL results.
    Write `SERVICE SILENT` to go on without it.
    """


class UpdateRefused(QueryError):
    """An update names its documents outright, and nothing else.

    Each graph that an update reads or writes is a document, named by its IRI after GRAPH, WITH, USING or the name of an operation.
    A variable for a graph, triples in no graph, `DROP ALL` and graphs that are no documents are refused, whatever the token;
    the message says what to write instead, `line` and `column` where.
    """


class QueryTimeout(QueryError):
    """The query took longer than it may.

    `limit` is in seconds. The query was stopped and its processor time is free again. Name more of what you know
    (a type, an actor, a date), add a `LIMIT`, or avoid patterns that are not joined to each other.
    """


class QueryMemoryExceeded(QueryError):
    """The query needed more memory than it may use.

    `limit` is in bytes. It was stopped. Sorting, grouping and `DISTINCT` hold their whole input: narrow it first.
    """


class ResultTooLarge(QueryError):
    """The answer is larger than an answer may be.

    `limit` is in bytes. No truncated answer was sent. Ask in parts, with `LIMIT` and `OFFSET` or by dates.
    """


class QueryProcessDied(QueryError):
    """The process that evaluated the query died of it.

    Only this request is concerned; the process has been replaced. A known cause is `ORDER BY` over values that have
    no order among each other, such as dates with and without a time zone: order by `STR(?x)` instead.
    """


class EngineUnsuitable(QueryError):
    """The SPARQL server here does not answer this question as is meant.

    This service keeps its index on another server (`KG_ENGINE`), of a kind that is known to answer this question with other rows, or
    not at all. A wrong answer would look like any other, so none is given; the message says what is known. A service with the index of
    its own, or on Oxigraph, answers it. `engine` names the product.
    """


class CallerGone(QueryError):
    """The caller went away before the answer.

    The query was stopped, and its processor time is free again. Nobody reads this error but the log.
    """


class Overloaded(KgError):
    """Too many queries are waiting.

    `retry_after` says in how many seconds to try again.
    """


class BeingMade(Overloaded):
    """What was asked for is still being made.

    A dump of the whole graph is made once for each revision that is asked for, which takes a while in a large graph. `retry_after`
    says in how many seconds to ask again.
    """


class TooManyRequests(Overloaded):
    """There were too many requests from this address.

    `retry_after` says in how many seconds to try again.
    """


class StorageError(KgError):
    """The data directory could not be read or written.

    What had been acknowledged before is kept. The message names the file and the reason.
    """


class IndexBehind(StorageError):
    """The index has not yet reached this revision.

    The write itself is safe in the journal. `reached` is the last revision that questions can see.
    """


class EngineUnavailable(StorageError):
    """The SPARQL server behind this service cannot be used.

    This service keeps its index on another server (`KG_ENGINE`), which is away, refuses us, or is not set up as it must be;
    the message says which. What was written is safe in the journal and reaches that server when it is back.
    """
