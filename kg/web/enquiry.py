"""What a page asks the catalogue, to tell more than its own document says.

Hides how questions are asked for a page. Promises that all answers of one page are of one state of the graph, and that a question
that cannot be answered just now costs the page that part only, which says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from kg import questions
from kg.asking import Desk
from kg.engine import NOBODY, Caller
from kg.errors import InvalidParameter, KgError
from kg.questions import Question
from kg.tables import Table, Value

log = logging.getLogger("kg.web")

#: Rows of one answer that a page shows; the question's own page shows more.
ROWS = 100

#: Seconds after which a page asks nothing more and does without the rest.
_PATIENCE = 20.0


@dataclass(frozen=True)
class Finding:
    """A question with its answer, or the reason why there is none; `address` is that of the question asked so, without suffix."""

    question: Question
    address: str
    query: str
    table: Table | None
    problem: str | None

    @property
    def rows(self) -> list[dict[str, Value]]:
        """The rows by column."""
        if self.table is None:
            return []
        names = [column.name for column in self.table.columns]
        return [dict(zip(names, row, strict=True)) for row in self.table.rows]

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return self.table is not None and self.table.complete

    def form(self, suffix: str) -> str:
        """The address of the answer in a form, such as `csv`."""
        return f"{self.address}.{suffix}{self.query}"


class Enquiry:
    """The questions of one page. `asof` is the day by which things must have been published, as it was sent."""

    def __init__(self, desk: Desk, languages: Sequence[str], caller: Caller = NOBODY, asof: str | None = None) -> None:
        self.desk = desk
        self.languages = languages
        self.asof = asof.strip() if asof and asof.strip() else None
        self.revision: int | None = None
        self.whole = True
        self._caller = caller
        self._until = time.monotonic() + _PATIENCE

    def ask(self, name: str, most: int = ROWS, **parameters: str | None) -> Finding:
        """The answer to a question of the catalogue, at most so many rows, at the revision of the page's other answers; of all days
        with an `asof` that is empty.

        Raises `InvalidParameter` for a value that the question does not take, which only `asof` can be.
        """
        question = questions.find(name)
        if self.asof is not None and "asof" in question.parameters:
            parameters.setdefault("asof", self.asof)
        given = {key: value for key, value in parameters.items() if value}
        address, query = f"questions/{question.id}", f"?{urlencode(given)}" if given else ""
        asked = {key: [value] for key, value in given.items()} | {"limit": [str(most)]}
        if self.revision:  # an empty graph has none that could be asked for
            asked["revision"] = [str(self.revision)]
        wish = self.desk.understand(question, asked)
        if time.monotonic() > self._until:
            self.whole = False
            return Finding(question, address, query, None, "the rest of the page took too long")
        try:
            table = self.desk.ask(wish, self._caller)
        except InvalidParameter:
            raise
        except KgError as error:
            log.warning("a page goes without %s: %s", question.id, error.detail)
            self.whole = False
            return Finding(question, address, query, None, error.detail)
        self.revision = table.revision
        return Finding(question, address, query, table, None)
