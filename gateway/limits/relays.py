"""Relays and tokens: freshness, sizes, attempts."""

FRESH_MS = 300_000
"""A signed request is taken within five minutes of its ``issuedAt``, either way (relay-and-mirror §1)."""

NONCE_KEPT_MS = 2 * FRESH_MS + 60_000
"""Nonces are remembered until no request that carries them could be fresh: twice the window, and a minute of slack."""

NONCE_CHARS_MAX = 128
"""A nonce is 24 hex characters in the clients that exist; longer than this it is refused, since the log keeps it."""

NESTING_MAX = 64
"""Levels of objects and lists in a signed body: real metadata has four. Above: 400."""

NAME_CHARS_MAX = 512
"""A relay's name or path: ``npub1…`` is 63 characters, and request heads end at 16 KiB. Above: refused."""

ALIASES_MAX = 32
"""Path aliases of one relay: each is a row in a view and a name that nobody else can have. Above: refused."""

PEERS_MAX = 1_024
"""Peers of one relay, as many as fit a registration of 256 KiB at full URL length. Above: refused."""

PEER_CHARS_MAX = 1_024
"""A peer is a 64-hex key or a ws(s):// URL. Above: refused."""

TOKEN_CHARS_MAX = 8_192
"""A token, so that no MAC is computed over more: the request head that carries it ends at 16 KiB."""

AUTH_TOKEN_CHARS_MAX = 2_048
"""``relayAuthToken`` as it is put into a token: base64 of it in JSON must stay under `TOKEN_CHARS_MAX`."""

TEXT_CHARS_MAX = 64
"""A scope; longer ones are refused."""

REASON_CHARS_MAX = 256
"""The reason of a revocation, told to every client that it hits; longer ones are refused."""

OWN_TOKENS_MAX = 10_000
"""Usable tokens of workers kept in memory, so that a renewal does not issue anew; the least recent is forgotten."""

REVOKE_S_MAX = 10.0
"""A revocation that is being recorded is finished though its client has gone; this long, then the log is stuck: 503."""

RELAYS_KEPT_MAX = 10_000
"""Relays whose description is kept in memory: a handshake asks for one. The least recent is read again."""

ATTEMPT_ADDRESSES_MAX = 10_000
"""Addresses whose failing handshakes are counted: 1 MB; the least recent is forgotten."""

assert AUTH_TOKEN_CHARS_MAX * 6 // 3 * 4 // 3 + 1_024 < TOKEN_CHARS_MAX
