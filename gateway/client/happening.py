"""What can happen to a client, and what it may decide to do: two closed unions of values, JSON in the behaviour table.

Times are wall time in ms since 1970; ``roll`` is a dice throw in [0, 1) for jitter. Sockets are ``normal`` and
``mirror``. `behaviour.js` uses the same objects. This module must not know what is decided.
"""

from typing import Any, Literal

import msgspec

Socket = Literal["normal", "mirror"]
Event = dict[str, Any]


class In(msgspec.Struct, frozen=True, tag_field="in", tag=str.lower, rename="camel"):
    """Something that happened."""


class Out(msgspec.Struct, frozen=True, tag_field="do", tag=str.lower, rename="camel"):
    """Something to do."""


class Start(In, frozen=True):
    """The caller wants to begin."""


class Granted(In, frozen=True):
    """The provider gave a token: an answer of /api/relay-tokens/issue or /refresh; times in ms, None where unknown."""

    token: str = ""
    replication_token: str | None = None
    expires_at: int | None = None
    refresh_after: int | None = None

    @property
    def for_mirror(self) -> str:
        """The token that the mirror is opened with: the narrower one where there is one."""
        return self.replication_token or self.token


class Denied(In, frozen=True):
    """The provider gave none; ``final``: asking again is no use (False: the world was not there)."""

    reason: str
    final: bool = True
    roll: float = 0.0


class Opened(In, frozen=True):
    """A socket's handshake is through. The gateway may still close it with a code that says why not."""

    socket: Socket


class Closed(In, frozen=True):
    """A socket is closed, or was never reached (code 1006)."""

    socket: Socket
    code: int
    reason: str = ""
    roll: float = 0.0


class Heard(In, frozen=True):
    """A frame came."""

    socket: Socket
    frame: list[Any]


class Due(In, frozen=True):
    """A timer that was asked for by `Wake` has come."""

    timer: str


class Publish(In, frozen=True):
    """The caller wants events or replication rows stored; each gets one `Answer`."""

    events: list[Event]


class Subscribe(In, frozen=True):
    """The caller wants what matches, from behind a cursor that it stored (None: from the start)."""

    sub: str
    filters: list[dict[str, Any]]
    cursor: str | None = None


class Unsubscribe(In, frozen=True):
    """The caller has enough."""

    sub: str


class Stop(In, frozen=True):
    """The caller ends."""


Happening = Start | Granted | Denied | Opened | Closed | Heard | Due | Publish | Subscribe | Unsubscribe | Stop


class Ask(Out, frozen=True):
    """Ask the provider for a token: `Granted` or `Denied` follows."""


class Connect(Out, frozen=True):
    """Open a socket: `Opened` follows, or `Closed`."""

    socket: Socket
    url: str


class Disconnect(Out, frozen=True):
    """Close a socket: `Closed` follows."""

    socket: Socket


class Say(Out, frozen=True):
    """Send a frame on an open socket."""

    socket: Socket
    frame: list[Any]


class Wake(Out, frozen=True):
    """Give `Due` at that time; in the place of an earlier timer of that name."""

    timer: str
    at: int


class Rows(Out, frozen=True):
    """Rows for a subscriber. With a cursor: stored together with these rows, it is where to go on."""

    sub: str
    rows: list[Event]
    cursor: str | None = None


class Caught(Out, frozen=True):
    """All that was stored has been given; what comes from here on is live."""

    sub: str
    cursor: str | None = None


class Ended(Out, frozen=True):
    """A subscription is over and not asked for again; the reason is the gateway's, or ours for what is never sent."""

    sub: str
    reason: str


class Answer(Out, frozen=True):
    """What became of one event that was to be published; of two with one id the earlier is answered first."""

    socket: Socket
    id: str
    accepted: bool
    reason: str


class Lost(Out, frozen=True):
    """A socket is gone and will be opened again: for the caller to show."""

    socket: Socket
    code: int
    reason: str


class Notice(Out, frozen=True):
    """A sentence for the caller to show."""

    socket: Socket
    text: str


class Report(Out, frozen=True):
    """The client has stopped for good and the caller must hear why: ``token-required``, ``auth-failed``."""

    error: str
    reason: str


Effect = Ask | Connect | Disconnect | Say | Wake | Rows | Caught | Ended | Answer | Lost | Notice | Report
