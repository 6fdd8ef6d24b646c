"""A key proved to a relay that asks for one (NIP-42), as one connection sees it: challenges in, AUTH frames out. Pure.

One proof is on its way at a time, of the newest challenge, since some relays send a challenge with every refusal.
Invariant: a proof names the relay as it was dialled, without what its URL may hold that is nobody else's to know (a
token, a password); it is never sent but in answer to a challenge. This module must not know connections or who waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from gateway.limits.client import PROOFS_REFUSED_MAX
from gateway.nostr.authentication import proof
from gateway.nostr.event import stored_form
from gateway.nostr.signature import Signer

REQUIRED, RESTRICTED = "auth-required:", "restricted:"


@dataclass(frozen=True, slots=True)
class Identity:
    """A key that may be proved, the time in ms, and random bytes."""

    signer: Signer
    now_ms: Callable[[], int]
    random_bytes: Callable[[int], bytes]


class Proving:
    """Where one connection stands: `challenged` and `answered` give the frame to send now, if there is one."""

    def __init__(self, identity: Identity | None, url: str) -> None:
        self._identity, self.relay = identity, named(url)
        self._challenge: str | None = None  # the newest, while it is not answered
        self._sent = ""  # the id of the proof that is on its way
        self._refused = 0
        self.is_asked = False
        self.taken = 0  # proofs: whoever was refused before one of them may ask again
        self.refusal = ""  # of the last proof

    @property
    def has_key(self) -> bool:
        """Whether there is a key to prove."""
        return self._identity is not None

    @property
    def is_under_way(self) -> bool:
        """Whether a proof waits for its answer."""
        return bool(self._sent)

    def challenged(self, challenge: str) -> bytes | None:
        """Take a challenge."""
        self.is_asked, self._challenge = True, challenge
        return self._next()

    def is_proof(self, name: str) -> bool:
        """Tell whether an OK is about the proof that is on its way."""
        return bool(name) and name == self._sent

    def answered(self, accepted: bool, reason: str) -> bytes | None:
        """Take the answer to the proof."""
        self._sent = ""
        self.taken += accepted
        self._refused += not accepted
        self.refusal = "" if accepted else reason
        if accepted:
            self._challenge = None  # asked before it was known whose connection this is
        return self._next()

    def may_help(self, taken: int, reason: str) -> bool:
        """Whether a request may be taken after a proof, that was refused when ``taken`` proofs had been."""
        if not reason.startswith((REQUIRED, RESTRICTED)) or not self.has_key:
            return False
        if self.taken > taken or self.is_under_way:
            return True
        # Else a challenge may still be coming; behind a refused proof none does.
        return reason.startswith(REQUIRED) and not self.taken and not self._refused

    def _next(self) -> bytes | None:
        identity, challenge = self._identity, self._challenge
        if identity is None or challenge is None or self._sent or self._refused >= PROOFS_REFUSED_MAX:
            return None
        self._challenge = None
        event = proof(identity.signer, challenge, self.relay, identity.now_ms() // 1000, identity.random_bytes(32))
        self._sent = event.id
        return b'["AUTH",' + stored_form(event) + b"]"


def named(url: str) -> str:
    """Give a relay's URL without user, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
