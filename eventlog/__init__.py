"""A log of CBOR records, and views over it.

Five nouns: *record* (one fact), *frame* (one commit), *segment* (one file), *view* (what the records add up to),
*cursor* (a reader's place). Only the log changes; everything else is a cursor on it.

Nothing is re-exported here: importing a pure module must never pull in ``eventlog.disk`` and with it trio.
This package knows nothing of nostr, push or HTTP.
"""
