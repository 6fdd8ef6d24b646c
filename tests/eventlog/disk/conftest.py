"""A log in a directory of its own, for whoever audits one, or tampers with it."""

from pathlib import Path

import pytest

from eventlog.disk.log import open_log
from tests.eventlog.logs import draft, running
from tests.fakes import FakeClock


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """Five segments of two frames of ten records."""
    async with running(open_log(tmp_path / "data", FakeClock(), segment_bytes_max=2600)) as log:
        for first in range(0, 100, 10):
            await log.append_many([draft(n) for n in range(first, first + 10)])
    return tmp_path / "data"
