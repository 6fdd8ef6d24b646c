"""A monitor of a transparency log, written from the C2SP pages alone: signed-note, tlog-checkpoint, tlog-tiles,
tlog-cosignature and tlog-proof, and RFC 6962 §2.1. It imports nothing of the product.

``fetch`` gives what an address below the log's prefix holds (``checkpoint``, ``tile/0/000``), or None for a 404.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Fetch = Callable[[str], bytes | None]


class Refused(Exception):
    """The log does not keep to the pages, or lies."""


def demand(holds: object, why: str) -> None:
    if not holds:
        raise Refused(why)


# -- signed-note ------------------------------------------------------------------------------------------------------


@dataclass
class Key:
    """A verifier key: name+8 hex digits+base64(type, public key)."""

    name: str
    key_id: bytes
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Key":
        name, key_id, encoded = text.strip().split("+", 2)
        material = base64.b64decode(encoded, validate=True)
        key = cls(name, bytes.fromhex(key_id), material[0], material[1:])
        demand(hashlib.sha256(name.encode() + b"\n" + material).digest()[:4] == key.key_id, "the key id is wrong")
        demand(len(key.public) == 32, "not an Ed25519 key")
        return key


def split_note(note: bytes) -> tuple[bytes, list[tuple[str, bytes, bytes]]]:
    """The signed text, and (name, key id, signature) of each signature line."""
    demand(all(byte >= 0x20 or byte == 0x0A for byte in note), "a control character")
    at = note.rindex(b"\n\n")
    text, tail = note[: at + 1], note[at + 2 :].decode("utf-8")
    demand(tail.endswith("\n"), "the last line does not end")
    found = []
    for line in tail[:-1].split("\n"):
        dash, name, encoded = line.split(" ")
        demand(dash == "\u2014" and name and "+" not in name, "not a signature line")
        raw = base64.b64decode(encoded, validate=True)
        found.append((name, raw[:4], raw[4:]))
    return text, found


def verify_note(note: bytes, key: Key) -> bytes:
    """The text, if the key signed it (0x01) or cosigned it (0x04, tlog-cosignature)."""
    text, signatures = split_note(note)
    mine = [signature for name, key_id, signature in signatures if (name, key_id) == (key.name, key.key_id)]
    demand(mine, f"{key.name} did not sign")
    for signature in mine:
        message = text
        if key.kind == 4:
            message = b"cosignature/v1\ntime %d\n" % int.from_bytes(signature[:8], "big") + text
            signature = signature[8:]  # noqa: PLW2901
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    return text


# -- tlog-checkpoint --------------------------------------------------------------------------------------------------


@dataclass
class Head:
    origin: str
    size: int
    root: bytes


def read_checkpoint(note: bytes, key: Key) -> Head:
    origin, size, root, *_ = verify_note(note, key).decode().split("\n")
    demand(origin == key.name, "another log's checkpoint")
    demand(size == str(int(size)), "the size is not plain decimal")
    return Head(origin, int(size), base64.b64decode(root, validate=True))


# -- RFC 6962 ---------------------------------------------------------------------------------------------------------


def hash_leaf(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def hash_pair(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_hash(hashes: list[bytes]) -> bytes:
    """MTH over leaf hashes, by its definition."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hash_pair(tree_hash(hashes[:k]), tree_hash(hashes[k:]))


def root_of_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """What PATH(m, D[n]) leads to, by its recursive definition."""
    if size == 1:
        demand(not path, "the path is too long")
        return leaf
    k = 1
    while k * 2 < size:
        k *= 2
    demand(path, "the path is too short")
    if index < k:
        return hash_pair(root_of_path(leaf, index, k, path[:-1]), path[-1])
    return hash_pair(path[-1], root_of_path(leaf, index - k, size - k, path[:-1]))


# -- tlog-tiles -------------------------------------------------------------------------------------------------------


def tile_path(level: int, index: int, width: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < 256 else "")


def fetch_tile(fetch: Fetch, level: int, index: int, width: int) -> list[bytes]:
    path = tile_path(level, index, width)
    data = fetch(path)
    demand(data is not None, f"{path} is not there")
    assert data is not None
    demand(len(data) == 32 * width, f"{path} has {len(data)} bytes")
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def tile_hash(fetch: Fetch, size: int, level: int, index: int) -> list[bytes]:
    """The tile at a place, as wide as a tree of ``size`` has it."""
    return fetch_tile(fetch, level, index, min(256, size // 256**level - index * 256))


def check_whole_tree(fetch: Fetch, head: Head) -> list[bytes]:
    """Fetch every tile of a tree, hold each level against the one below and all against the root; the leaf hashes."""
    below: list[list[bytes]] = []
    leaves: list[bytes] = []
    level = 0
    while head.size // 256**level:
        count = head.size // 256**level
        tiles = [tile_hash(fetch, head.size, level, index) for index in range(-(-count // 256))]
        row = [one for tile in tiles for one in tile]
        if level == 0:
            leaves = row
        else:
            full = [tree_hash(tile) for tile in below if len(tile) == 256]
            demand(row == full, f"level {level} is not what the tiles below it hash to")
        below = tiles
        level += 1
    demand(tree_hash(leaves) == head.root, "the leaves do not give the root")
    return leaves


def subtree_hash(fetch: Fetch, size: int, start: int, end: int) -> bytes:
    """MTH(D[start:end]) from as few tiles as hold it."""
    level, span = 0, 1
    while span * 256 <= end - start and start % (span * 256) == 0 and (end - start) % (span * 256) == 0:
        level, span = level + 1, span * 256
    if (end - start) <= span * 256 and start % span == 0 and (end - start) % span == 0:
        index, at = divmod(start // span, 256)
        if at + (end - start) // span <= 256:
            return tree_hash(tile_hash(fetch, size, level, index)[at : at + (end - start) // span])
    k = 1
    while k * 2 < end - start:
        k *= 2
    left, right = (start, start + k), (start + k, end)
    return hash_pair(subtree_hash(fetch, size, *left), subtree_hash(fetch, size, *right))


def check_inclusion_by_tiles(fetch: Fetch, head: Head, index: int, leaf: bytes) -> None:
    """What a receipt's holder does: the leaf's place from the tiles, the path from the tiles, the root signed."""
    demand(index < head.size, "the checkpoint is older than the receipt: fetch a newer one")
    hashes = tile_hash(fetch, head.size, 0, index // 256)
    demand(hashes[index % 256] == hash_leaf(leaf), f"another leaf stands at {index}")
    path: list[bytes] = []
    start, end = 0, head.size
    while end - start > 1:
        k = 1
        while k * 2 < end - start:
            k *= 2
        if index < start + k:
            path.insert(0, subtree_hash(fetch, head.size, start + k, end))
            end = start + k
        else:
            path.insert(0, subtree_hash(fetch, head.size, start, start + k))
            start += k
    demand(root_of_path(hash_leaf(leaf), index, head.size, path) == head.root, "the path does not lead to the root")


# -- tlog-proof -------------------------------------------------------------------------------------------------------


def check_proof(text: bytes, key: Key, leaf: bytes) -> tuple[int, bytes]:
    """Check a ``.tlog-proof`` for a leaf that is known otherwise: (its index, the extra data)."""
    front, _, note = text.partition(b"\n\n")
    first, *lines = front.decode("ascii").split("\n")
    demand(first == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    extra = base64.b64decode(lines.pop(0).removeprefix("extra "), validate=True) if lines[0][:6] == "extra " else b""
    word, index = lines.pop(0).split(" ")
    demand(word == "index" and index == str(int(index)), "no index")
    head = read_checkpoint(note, key)
    path = [base64.b64decode(line, validate=True) for line in lines]
    demand(root_of_path(hash_leaf(leaf), int(index), head.size, path) == head.root, "the proof does not hold")
    return int(index), extra
