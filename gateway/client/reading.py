"""One subscription of a client: what it asks for after each reconnect, and which rows it has already given. Pure.

Two ways: ``after`` cursors, where rows, batches and EOSE bring the place to go on from; and plain REQs for servers
without cursors (and for all that is no replication), where ``since`` overlaps and known rows are left out.
Invariant: with cursors a row is given once, in any order of cuts; without them at least once, and once while the
client lives and `SEEN_CHARS_MAX` reaches back. `behaviour.js` does the same. This module must not know connections.
"""

from typing import Any

from gateway.client.happening import Caught, Effect, Ended, Event, Rows, Socket
from gateway.limits.client import PLAIN_OVERLAP_S, SEEN_CHARS_MAX

SINCE = "since:"
"""How a cursor of ours begins where the server has none: the newest ``created_at`` that was given follows."""


class Reading:
    """A subscription; ``request`` is what to ask, the other methods take the answers."""

    def __init__(self, sub: str, socket: Socket, filters: list[dict[str, Any]], cursor: str | None) -> None:
        self.sub, self.socket, self._filters = sub, socket, filters
        plain = cursor is not None and cursor.startswith(SINCE)
        self._fast = socket == "mirror" and not plain
        self._cursor = "" if cursor is None or plain else cursor
        self._newest = int(cursor.removeprefix(SINCE)) if plain and cursor else 0
        self._complete = False  # plain: all that was stored has come, so that `_newest` is a place to go on from
        self._seen: dict[str, None] = {}
        self._seen_chars = 0

    def request(self) -> list[Any]:
        """Give the REQ that goes on where this subscription stands."""
        self._complete = False
        return ["REQ", self.sub, *[{**one, **self._place(one)} for one in self._filters]]

    def rows(self, rows: list[Event], tail: list[Any]) -> list[Effect]:
        """Take an EVENT's row or an EVENTS' rows, and what stands behind them."""
        cursor = self._advance(tail)
        if cursor is not None:
            # Behind a cursor nothing comes twice, save what an earlier session gave without one and was then cut.
            new = [row for row in rows if not self._recall(row)] if self._seen else rows
        else:
            new = [row for row in rows if self._is_new(row)]
            if not self._fast and self._complete and self.socket == "mirror":
                cursor = self._since()
        return [Rows(self.sub, new, cursor)] if new or cursor is not None else []

    def eose(self, tail: list[Any]) -> list[Effect]:
        """Take the end of what is stored; a server that gives no cursor with it has none."""
        cursor = self._advance(tail)
        if cursor is not None:
            self._forget()
        else:
            self._fast, self._complete = False, True
            cursor = self._since() if self.socket == "mirror" else None
        return [Caught(self.sub, cursor)]

    def closed(self, reason: str) -> list[Effect] | None:
        """Take a CLOSED: None where it is to be asked again, in the plain way; else the end of the subscription."""
        if self._fast and reason.startswith(("invalid: after", "invalid: batch")):
            self._fast = False
            return None
        return [Ended(self.sub, reason)]

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        if self._fast:
            return {"after": self._cursor, "batch": True}
        if self.socket == "normal" or not self._newest:
            return {}
        return {"since": max(one.get("since") or 0, self._newest - PLAIN_OVERLAP_S)}

    def _advance(self, tail: list[Any]) -> str | None:
        """Note the cursor behind a frame; None without one."""
        cursor = tail[0].get("cursor") if tail and isinstance(tail[0], dict) else None
        if not self._fast or not isinstance(cursor, str):
            return None
        self._cursor = cursor
        return cursor

    def _since(self) -> str | None:
        return f"{SINCE}{self._newest}" if self._newest else None

    def _is_new(self, row: Event) -> bool:
        """Note a row; its id alone would let another's row of the same id displace it."""
        key = _key(row)
        created_at = row.get("created_at")
        if isinstance(created_at, int):
            self._newest = max(self._newest, created_at)
        if key in self._seen:
            return False
        self._seen[key] = None
        self._seen_chars += len(key)
        while self._seen_chars > SEEN_CHARS_MAX:
            oldest = next(iter(self._seen))
            del self._seen[oldest]
            self._seen_chars -= len(oldest)
        return True

    def _recall(self, row: Event) -> bool:
        """Tell whether a row was given before, and forget it: it does not come again."""
        key = _key(row)
        if key not in self._seen:
            return False
        del self._seen[key]
        self._seen_chars -= len(key)
        return True

    def _forget(self) -> None:
        """All that was stored has come behind a cursor: what comes from here on comes once."""
        self._seen, self._seen_chars = {}, 0


def _key(row: Event) -> str:
    return f"{row.get('id')}:{row.get('eventData') or ''}"
