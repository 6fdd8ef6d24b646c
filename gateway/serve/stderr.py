"""Standard error, where every line of the server goes: a stream that never fails its writer.

Standard error may be a file, on the very disk that is full when there is most to say; a line that cannot be written
must not end the server. Invariant: what was lost is counted, and the count is written as soon as anything can be.
This module must not know what lines say.
"""

import json
from typing import TextIO


class Patient:
    """A text stream over another; lines that it does not take are counted and told of later."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> int:
        """Write, or lose the text; the length is as if it had been written."""
        try:
            if self._lost:
                self._stream.write(json.dumps({"event": "lines were lost", "count": self._lost}) + "\n")
                self._stream.flush()
                self._lost = 0
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Nothing is held back: `write` flushes."""
