"""Other stores, measured beside the log in the same run: LMDB, eventsourcing's recorder, hypercore.

Each is given the bytes of records that are encoded while the clock runs, as the log encodes them, in commits of the
same size; each syncs at every commit but hypercore, which cannot. A peer that is not installed is left out by name.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import cbor2
import lmdb
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from eventlog.record import Draft, encode

HERE = Path(__file__).parent
COMMIT_RECORDS = 1_000
MAP_BYTES = 16 << 30  # LMDB's limit on the file, not its size
Rates = tuple[float, float]  # records a second: append, replay
Peer = Callable[[Path, list[Draft]], Rates]


def commits(drafts: list[Draft]) -> "list[list[Draft]]":
    return [drafts[at : at + COMMIT_RECORDS] for at in range(0, len(drafts), COMMIT_RECORDS)]


def timed(count: int, work: Callable[[], int]) -> float:
    """Records a second; the work must have handled so many."""
    began = time.perf_counter()
    assert work() == count
    return count / (time.perf_counter() - began)


def with_lmdb(directory: Path, drafts: list[Draft]) -> Rates:
    """A key a record, one write transaction a commit, which syncs."""
    with closing(lmdb.open(str(directory), map_size=MAP_BYTES)) as env:

        def append() -> int:
            seq = 0
            for some in commits(drafts):
                with env.begin(write=True) as txn:
                    for stored in encode(some).stored:
                        txn.put(seq.to_bytes(8, "big"), stored, append=True)
                        seq += 1
            return seq

        def replay() -> int:
            with env.begin() as txn:
                return sum(cbor2.loads(value) is not None for _, value in txn.cursor())

        return timed(len(drafts), append), timed(len(drafts), replay)


def with_eventsourcing(directory: Path, drafts: list[Draft]) -> Rates:
    """Its SQLite recorder: one transaction a commit, a notification log read in pages."""
    with closing(SQLiteDatastore(str(directory / "events.db"))) as store:
        recorder = SQLiteApplicationRecorder(store)
        recorder.create_table()

        def append() -> int:
            seq = 0
            for some in commits(drafts):
                states = encode(some).stored
                recorder.insert_events(
                    [
                        StoredEvent(UUID(int=1), seq + n, draft.kind, state)
                        for n, (draft, state) in enumerate(zip(some, states, strict=True))
                    ]
                )
                seq += len(some)
            return seq

        def replay() -> int:
            count = 0
            while page := recorder.select_notifications(start=count + 1, limit=COMMIT_RECORDS):
                count += len([cbor2.loads(one.state) for one in page])
            return count

        return timed(len(drafts), append), timed(len(drafts), replay)


def with_hypercore(directory: Path, drafts: list[Draft]) -> Rates:
    """In node, blocks of the records' size that are ready before the clock starts: it neither encodes nor syncs."""
    size = len(encode(drafts[:1]).stored[0])
    command = ["node", "hypercore.js", directory, len(drafts), COMMIT_RECORDS, size]
    done = subprocess.run([str(word) for word in command], cwd=HERE, check=True, capture_output=True, text=True)
    took = json.loads(done.stdout)
    return len(drafts) / took["append"], len(drafts) / took["replay"]


PEERS: dict[str, Peer] = {
    "lmdb": with_lmdb,
    "eventsourcing": with_eventsourcing,
    "hypercore": with_hypercore,
}


def missing() -> list[str]:
    """Name the peers that are not installed."""
    there = shutil.which("node") and (HERE / "node_modules" / "hypercore").is_dir()
    return [] if there else ["hypercore"]
