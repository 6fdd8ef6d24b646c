"""An instance's two keys: each verifies on its own surface and nowhere else, whatever the other signed."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.push.es256 import public_pem
from tests.conformance.fakes import canonical, raw_signature
from tests.conformance.world import Answer, World, world
from tests.security.test_tenants_apart import inquiry


@dataclass
class Split:
    """A world whose instance publishes one key for registrations and another for the webhook."""

    w: World
    keys: dict[str, ec.EllipticCurvePrivateKey]

    def ask(self, surface: str, key: str) -> Answer:
        """Ask for something, signed with one of the two."""
        match surface:
            case "register":
                body = self.w.demo.registration()
                return self.w.register(body, self.header(key, body))
            case "deregister":
                body = self.w.demo.registration(action="deregister")
                return self.w.register(body, self.header(key, body))
            case "notify":
                body = self.w.demo.event()
                return self.w.post("/internal/push/events", body, self.header(key, body))
            case _:
                body = inquiry(self.w.demo)
                return self.w.get(f"/push/tenant?{urlencode(body)}", self.header(key, body))

    def header(self, key: str, body: dict[str, Any]) -> dict[str, str]:
        return {"X-Push-Signature": base64.b64encode(raw_signature(self.keys[key], canonical(body))).decode()}


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Split]:
    with world(tmp_path_factory.mktemp("keys")) as w:
        webhook = ec.generate_private_key(ec.SECP256R1())
        published = {"algorithm": "ES256", "publicKey": public_pem(webhook.public_key())}
        document = {"instance": w.demo.domain, "registrationPublicKey": w.demo.pem, "webhook": published}
        w.demo.broken = json.dumps(document).encode()
        yield Split(w, {"registration": w.demo.key, "webhook": webhook})


@pytest.mark.parametrize(
    ("surface", "key", "other"),
    [
        ("register", "registration", "webhook"),
        ("deregister", "registration", "webhook"),
        ("notify", "webhook", "registration"),
        ("read", "webhook", "registration"),
    ],
)
def test_each_key_opens_its_own_surface_alone(split: Split, surface: str, key: str, other: str) -> None:
    assert split.ask(surface, other).refusal() == (401, "signature-invalid")
    answer = split.ask(surface, key)
    assert answer.status == 200, answer
