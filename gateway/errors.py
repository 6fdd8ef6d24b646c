"""The three families of failure, which never mix.

*Theirs*: `PushRefused`, `ApiRefused`, `SocketRefused`: typed, each carrying what goes over the wire; nothing is left
behind. *Ours*: plain assertions and any other exception: loud, they crash. *The world's*: `Unavailable`, and the log's
own ``LogFailed``: answered 503 or retried with a deadline.
This module must not know HTTP frameworks or sockets.
"""


class Refused(Exception):
    """Their fault: the request was understood and is refused."""


class PushRefused(Refused):
    """A refusal of the push API: ``{"ok":false,"error":sentence,"code":code}`` with an HTTP status (push §6)."""

    def __init__(self, status: int, code: str, sentence: str, retry_after_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence, self.retry_after_s = status, code, sentence, retry_after_s


class ApiRefused(Refused):
    """A refusal of the relay API: ``{"error":text}`` with an HTTP status (relay-and-mirror §1)."""

    def __init__(self, status: int, text: str, retry_after_s: int | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.retry_after_s = status, text, retry_after_s


class SocketRefused(Refused):
    """A handshake that is answered with a close code (relay-and-mirror §3); ``metric`` is the reason label."""

    def __init__(self, code: int, reason: str, metric: str = "") -> None:
        super().__init__(reason)
        self.code, self.reason, self.metric = code, reason, metric


class NostrRefused(Refused):
    """A nostr message that is refused; the text is NIP-01's machine-readable prefix, a colon and a sentence."""


class ConfigInvalid(Refused):
    """The configuration names something unknown or impossible; the text says what, where and what would be right."""


class Unavailable(Exception):
    """The world's fault: a peer or the log cannot serve now; ``retry_after_s`` says when to ask again."""

    def __init__(self, sentence: str, retry_after_s: int = 1) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s
