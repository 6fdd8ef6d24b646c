"""A line that cannot be written ends nobody, and is told of when one can be."""

import errno
import io

from gateway.serve.stderr import Patient


class Full(io.StringIO):
    """A stream on a disk that is full while it says so."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "no space left")
        return super().write(text)


def test_lines_that_a_full_disk_refuses_are_counted_and_the_count_is_written_once_there_is_room() -> None:
    stream = Full()
    lines = Patient(stream)
    lines.write("first\n")
    stream.is_full = True
    assert lines.write("second\n") == len("second\n")
    lines.write("third\n")
    lines.flush()
    stream.is_full = False
    lines.write("fourth\n")
    lines.write("fifth\n")
    assert stream.getvalue() == 'first\n{"event": "lines were lost", "count": 2}\nfourth\nfifth\n'
