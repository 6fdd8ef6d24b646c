"""A manifest is read back as it was written; one that leads elsewhere is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.errors import Corrupt
from eventlog.exchange import FORMAT, File, Manifest, beside, decode, encode

FILES = (File("log/origin.cbor", 90), File("log/00000000000000000000.evl", 500), File("log/tile/0/x001/234.p/7", 224))
MANIFEST = Manifest(FORMAT, "log.example", 0, 5, "00" * 32, FILES)


def test_a_manifest_is_read_back() -> None:
    assert decode(encode(MANIFEST)) == MANIFEST
    assert encode(MANIFEST).startswith(b'{\n "format": "heliograph-log/1",\n "origin": "log.example"')


STRANGE = (
    "../etc/passwd /etc/passwd log/../x log/ keys/../log.pem keys/.hidden log/tile/../../x views/a log/tile//0/000"
)


@pytest.mark.parametrize(
    "name", [*STRANGE.split(), "log/x.evl", "keys/a/b", "log/snap/..", "log/origin.cbor\n", "manifest.json", ""]
)
def test_a_name_that_is_no_file_of_a_log_is_refused(name: str) -> None:
    with pytest.raises(Corrupt, match="no file of a log"):
        decode(encode(Manifest(FORMAT, "a", 0, 0, "", (FILES[0], File(name, 1)))))


def test_a_file_twice_none_of_origin_and_another_format_are_refused() -> None:
    for files in ((FILES[0], FILES[0]), (FILES[1],), ()):
        with pytest.raises(Corrupt, match="twice, or lacks"):
            decode(encode(Manifest(FORMAT, "a", 0, 0, "", files)))
    with pytest.raises(Corrupt, match="newer release"):
        decode(encode(Manifest("heliograph-log/2", "a", 0, 0, "", FILES)))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decode(data)


def test_what_belongs_to_a_log_is_picked_out() -> None:
    assert beside(["LOCK", "tiled", "x.tmp", "torn-0-5.bytes", "retention", "a.idx"]) == ["retention", "tiled"]
