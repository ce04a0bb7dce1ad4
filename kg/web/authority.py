"""Who may write: bearer tokens (RFC 6750, in the header alone), and how often one address may try.

Hides where tokens lie and how attempts are counted. Promises that a token is never taken from an address, never logged, and that
guessing is slowed without locking out those who write already from the same address.
"""

from __future__ import annotations

import hashlib
import ipaddress
import threading
import time
from collections import OrderedDict, deque
from urllib.parse import parse_qsl

from flask import request

from kg.engine import NOBODY
from kg.errors import Forbidden, TooManyRequests, Unauthorized
from kg.library import Library
from kg.tokens import PREFIX, Token, Tokens

#: Wrong tokens that one address may send in a minute.
ATTEMPTS = 10

#: Addresses of which is known how often they came; the ones that came longest ago are forgotten first.
_ADDRESSES = 10_000

_IN_ADDRESS = ("token", "access_token", "api_key", "authorization")


class Rate:
    """How often an address did something within the last minute. Threads may share one."""

    def __init__(self, limit: int, seconds: float = 60.0) -> None:
        self._limit = limit
        self._seconds = seconds
        self._lock = threading.Lock()
        self._moments: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Seconds until the address may again; 0 if it may now."""
        with self._lock:
            moments = self._recent(address)
            if len(moments) < self._limit:
                return 0
            return max(1, int(moments[0] + self._seconds - time.monotonic()) + 1)

    def count(self, address: str) -> None:
        """Once more."""
        with self._lock:
            moments = self._recent(address)
            moments.append(time.monotonic())
            self._moments[address] = moments
            self._moments.move_to_end(address)
            while len(self._moments) > _ADDRESSES:
                self._moments.popitem(last=False)

    def _recent(self, address: str) -> deque[float]:
        moments = self._moments.get(address, deque(maxlen=self._limit))
        while moments and moments[0] <= time.monotonic() - self._seconds:
            moments.popleft()
        return moments


def address() -> str:
    """Whom a request is from: its address, of IPv6 the network, within which anybody has as many as they like."""
    caller = request.environ.get("kg.caller", NOBODY).address or request.remote_addr or ""
    try:
        parsed = ipaddress.ip_address(caller.strip("[]"))
    except ValueError:
        return caller
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else caller


class Authority:
    """Says whether the request that is being answered may do something."""

    def __init__(self, library: Library) -> None:
        self._tokens = Tokens(library.config.data)
        self._attempts = Rate(ATTEMPTS)
        self._known: set[bytes] = set()  # digests of tokens that were good once, while this process runs

    def require(self, role: str = "writer") -> Token:
        """The token of the request, if it has this role. Raises `Unauthorized`, `Forbidden` or `TooManyRequests`."""
        self._refuse_token_in_address()
        scheme, _, secret = request.headers.get("Authorization", "").strip().partition(" ")
        secret = secret.strip()
        if not self._tokens.are_in_use():
            raise Forbidden(
                "writing over HTTP is off here, because there is no token; whoever runs the service turns it on with "
                "`kg token create --name NAME --role writer` on the data directory"
            )
        if not scheme:
            raise Unauthorized("writing takes a token: send it as `Authorization: Bearer kg_…`")
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized("the token comes as `Authorization: Bearer kg_…`; other schemes are not known here")
        token = self._found(secret)
        if role == "admin" and token.role != "admin":
            raise Forbidden(
                "deleting takes a token with the role admin. What turned out wrong is better retracted, which keeps it with reason "
                "and date: POST to the article with an empty body, `KG-Change: retracted` and the reason in `KG-Note`",
                role=token.role,
            )
        return token

    def recognises(self, authorization: str) -> bool:
        """Whether this is the `Authorization` of somebody who may write. Counts no attempt: it only decides how much is read."""
        scheme, _, secret = authorization.strip().partition(" ")
        return scheme.lower() == "bearer" and secret.isascii() and self._tokens.find(secret.strip()) is not None

    def _found(self, secret: str) -> Token:
        mark = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        if mark not in self._known and (wait := self._attempts.wait(address())):
            raise TooManyRequests(
                f"there were {ATTEMPTS} wrong tokens from this address within a minute; try again in {wait} seconds",
                retry_after=wait,
            )
        token = self._tokens.find(secret) if secret.isascii() else None
        if token is None:
            self._known.discard(mark)
            self._attempts.count(address())
            raise Unauthorized("this token is not known, or it has expired or been revoked")
        self._known.add(mark)
        return token

    @staticmethod
    def _refuse_token_in_address() -> None:
        fields = parse_qsl(request.query_string.decode("latin-1"), keep_blank_values=True)
        if any(name.lower() in _IN_ADDRESS or value.startswith(PREFIX) for name, value in fields):
            raise Unauthorized(
                "a token does not go into an address, where logs and histories keep it: send it as `Authorization: Bearer kg_…`, "
                "and revoke the one that was in this address"
            )
