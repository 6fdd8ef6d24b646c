"""The measured disk writes what the real one writes, and counts it."""

from pathlib import Path

import pytest

from gateway.serve.measured import MeasuredDisk
from gateway.serve.metrics import Metrics


def test_writes_and_syncs_are_counted(tmp_path: Path) -> None:
    """Bytes by what was written, syncs by how many there were, one that failed included."""
    metrics = Metrics()
    disk = MeasuredDisk(metrics)
    fd = disk.open(str(tmp_path / "file"), create=True)
    disk.write(fd, b"hello", 0)
    disk.datasync(fd)
    disk.close(fd)
    with pytest.raises(OSError, match="descriptor"):
        disk.datasync(fd)
    assert (tmp_path / "file").read_bytes() == b"hello"
    value = metrics.registry.get_sample_value
    assert value("gateway_log_bytes_total") == 5
    assert value("gateway_log_fsync_seconds_count") == 2
