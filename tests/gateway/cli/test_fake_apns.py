"""The fake APNs' command: its help, and a key and certificate with which a client gets through."""

import ssl
import subprocess
import sys
from pathlib import Path

import httpx
from click.testing import CliRunner

from gateway.cli.fake_apns import command
from gateway.push.apns import provider_token
from gateway.push.es256 import private_key
from gateway.serve.clock import SystemClock
from gateway.serve.fakes.apns import FAILURES


def test_the_help_lists_every_failure() -> None:
    told = CliRunner().invoke(command, ["--help"]).output.split()
    assert set(FAILURES) <= set(told)


def test_what_it_writes_is_what_a_client_needs(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "gateway.cli.main", "fake-apns", "--directory", str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as fake:
        try:
            assert fake.stdout
            url = fake.stdout.readline().removeprefix("listening on ").strip()
            key = private_key((tmp_path / "apns.p8").read_text("ascii"))
            bearer = provider_token(key, "ABC1234567", "DEF7654321", SystemClock().now_ms() // 1000)
            headers = {"authorization": f"bearer {bearer}", "apns-topic": "com.example"}
            context = ssl.create_default_context(cafile=tmp_path / "fake-apns.pem")
            with httpx.Client(base_url=url, http2=True, verify=context, timeout=60) as client:
                statuses = []
                for name in ("iphone", "gone"):
                    token = client.get(f"/token/{name}").json()["token"]
                    statuses.append(client.post(f"/3/device/{token}", headers=headers, content=b"{}").status_code)
                told = client.get("/sent").json()
                missing = client.get("/elsewhere").status_code
            assert statuses == [200, 410]
            assert [(one["status"], one["apns-topic"]) for one in told["sent"]] == [
                (200, "com.example"),
                (410, "com.example"),
            ]
            assert missing == 404
        finally:
            fake.terminate()
