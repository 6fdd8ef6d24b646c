"""Receipts: where in the log an answer's record stands, for a client that asked to be told (``"receipts": true``).

A receipt holds the log's origin, the record's seq and its Merkle leaf. With them and nothing else of ours its holder
can show at any later time that the log has the record: the leaf's hash stands at that place in ``/log/tile/0/…``, and
the signed ``/log/checkpoint`` covers it. Whoever repeats a request is given the receipt of the record that holds it.
Invariant: a receipt is made of a durable record alone.
"""

import base64

from eventlog.disk.log import Readable
from eventlog.errors import Absent
from eventlog.prooftext import leaf

OPTION = "receipts"


def receipt(log: Readable, seq: int) -> dict[str, object] | None:
    """Make the receipt of a durable record, also of an erased one; None where retention has taken all of it."""
    try:
        record = log.record(seq)
    except Absent:
        if seq >= log.durable_size:
            raise
        return None
    return {"log": log.origin, "seq": seq, "leaf": base64.b64encode(leaf(record)).decode()}
