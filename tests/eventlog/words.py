"""A small view for the log's tests, and the slow oracle that it is held against."""

from collections import Counter

from eventlog.record import Draft, Record
from eventlog.view import TableView


class WordsView(TableView):
    """How often each word was said, and when last."""

    name = "words"
    kinds = frozenset({"word.said"})
    tables = ("words",)
    schema = "CREATE TABLE IF NOT EXISTS words (word BLOB PRIMARY KEY, times INTEGER, last INTEGER)"

    def fold(self, record: Record) -> None:
        self.db.execute(
            "INSERT INTO words VALUES (?, 1, ?) ON CONFLICT (word) DO UPDATE SET times = times + 1, last = ?",
            (record.payload, record.seq, record.seq),
        )

    def found(self) -> dict[bytes, tuple[int, int]]:
        return {bytes(word): (times, last) for word, times, last in self.db.execute("SELECT * FROM words")}


def said(word: bytes, ts_ns: int = 1) -> Draft:
    return Draft("word.said", word, ts_ns)


def oracle(records: list[Record]) -> dict[bytes, tuple[int, int]]:
    mine = [record for record in records if record.kind == "word.said"]
    times = Counter(record.payload or b"" for record in mine)
    return {word: (times[word], max(r.seq for r in mine if r.payload == word)) for word in times}
