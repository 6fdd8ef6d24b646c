"""A C2SP tlog-witness that behaves, or misbehaves on demand; written from the page, with none of the product's code.

Call `answer` with the body of an ``add-checkpoint``: it gives (status, headers, body).
"""

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.conformance import tlog

Answer = tuple[int, dict[str, str], bytes]


def root_from(old: int, size: int, proof: list[bytes], old_root: bytes, whole: bool = True) -> tuple[bytes, bytes]:
    """RFC 6962 §2.1.2 turned around: (old root, new root) that a consistency proof leads to; proof from the end."""
    if old == size:
        mine = old_root if whole else proof.pop()
        return mine, mine
    k = 1
    while k * 2 < size:
        k *= 2
    beside = proof.pop()
    if old <= k:
        before, after = root_from(old, k, proof, old_root, whole)
        return before, tlog.hash_pair(after, beside)
    before, after = root_from(old - k, size - k, proof, old_root, False)
    return tlog.hash_pair(beside, before), tlog.hash_pair(beside, after)


class FakeWitness:
    """Remembers the latest checkpoint that it cosigned."""

    def __init__(self, log_key: str = "", name: str = "witness.example/w1") -> None:
        self.name = name
        self.log_key = log_key
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.size, self.root = 0, b""
        self.requests: list[bytes] = []
        self.time_s = 1_700_000_000
        self.lies = False

    @property
    def vkey(self) -> str:
        material = b"\x04" + self.key.public_key().public_bytes_raw()
        ident = hashlib.sha256(self.name.encode() + b"\n" + material).digest()[:4]
        return f"{self.name}+{ident.hex()}+{base64.b64encode(material).decode()}"

    def answer(self, body: bytes) -> Answer:
        self.requests.append(body)
        front, _, note = body.partition(b"\n\n")
        first, *lines = front.decode().split("\n")
        word, _, number = first.partition(" ")
        old = int(number)
        try:
            head = tlog.read_checkpoint(note, tlog.Key.parse(self.log_key))
        except Exception:  # noqa: BLE001 - whatever does not verify
            return 403, {}, b""
        if word != "old" or number != str(old) or old > head.size or len(lines) > 63:
            return 400, {}, b""
        if old != self.size or (old == head.size and self.root not in (b"", head.root)):
            return 409, {"Content-Type": "text/x.tlog.size"}, b"%d\n" % self.size
        proof = [base64.b64decode(line, validate=True) for line in lines]
        if old == 0 or old == head.size:
            good = not proof
        else:
            good = root_from(old, head.size, proof, self.root) == (self.root, head.root) and not proof
        if not good:
            return 422, {}, b""
        self.size, self.root = head.size, head.root
        return 200, {}, self.cosign(tlog.split_note(note)[0])

    def cosign(self, text: bytes) -> bytes:
        self.time_s += 1
        signature = self.key.sign(b"cosignature/v1\ntime %d\n" % self.time_s + (b"lies" if self.lies else text))
        ident = tlog.Key.parse(self.vkey).key_id
        line = base64.b64encode(ident + self.time_s.to_bytes(8, "big") + signature).decode()
        return f"\u2014 {self.name} {line}\n".encode()
