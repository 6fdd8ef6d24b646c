"""What must never be seen, and all that a server let be seen: each real server of the suite is held to it.

A test that uses a secret says so (`secret`); the keys and secrets of a server's configuration and data directory are
found here. When a server of `tests.server.process` ends, all that it printed, its pages and the refusals that it gave
are searched for all of them. So a secret that any test makes the server print, in whatever corner, fails that test.
"""

import http.client
import json
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

CHARS_MIN = 12  # shorter ones (a test's "t1") stand in many an innocent text
PAGES = ("/metrics", "/status", "/health", "/ready", "/", "/no-such-page")
PAGE_S_MAX = 10.0
SECRET_FILES = ("secret_file", "key_file", "credentials")

_told: set[str] = set()
_refusals: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)  # by host and port: (what was asked, answer)


def secret(text: str) -> str:
    """Note a secret of the test, and give it back; every server is searched for it from now on."""
    if len(text) >= CHARS_MIN:
        _told.add(text)
    return text


def heard(url: str, asked: str, text: str) -> None:
    """Note the body of a refusal that a client of this server was given."""
    _refusals[urlsplit(url).netloc].append((f"the refusal of {asked}", text))


def secrets_of(config: str, data: Path) -> set[str]:
    """All secrets that a server with this configuration (TOML) and data directory holds."""
    found = set(_settings(tomllib.loads(config)))
    for path in sorted((data / "keys").glob("*")):
        found |= set(_lines(path))
    return {text for text in found if len(text) >= CHARS_MIN}


def _settings(section: dict[str, object]) -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _settings(value)
        elif name == "secret" and isinstance(value, str):
            yield value
        elif name in SECRET_FILES and isinstance(value, str) and value:
            yield from _lines(Path(value))


def _lines(path: Path) -> Iterator[str]:
    """The lines of a key's file that are the key: of a PEM its body, of an account the PEM in it."""
    if not path.is_file():
        return
    text = path.read_text("utf-8", "replace")
    if text.lstrip().startswith("{"):
        text = str(json.loads(text).get("private_key", ""))
    yield from (line.strip() for line in text.splitlines() if not line.startswith("-----"))


def pages(url: str) -> list[tuple[str, str]]:
    """What a server shows to anybody by plain http; one that does not answer now shows nothing."""
    shown: list[tuple[str, str]] = []
    for page in PAGES if url.startswith("http://") else ():
        text = _page(url, page)
        if text is None:
            break
        shown.append((page, text))
    return shown


def _page(url: str, page: str) -> str | None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PAGE_S_MAX)
    try:
        connection.request("GET", page)
        return connection.getresponse().read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def leaks(seen: Iterable[tuple[str, str]], secrets: Iterable[str]) -> list[str]:
    """Where a secret is seen, as sentences that show the line."""
    found = []
    for where, text in seen:
        for one in secrets:
            if one in text:
                line = next(line for line in text.splitlines() if one.splitlines()[0] in line)
                found.append(f"{where} holds the secret {one!r}: {line[:400]}")
    return found


def refuse_leaks(url: str, config: str, data: Path, seen: list[tuple[str, str]]) -> None:
    """Fail where anything that was seen of a server, or was told to its clients, holds a secret."""
    everything = seen + _refusals.pop(urlsplit(url).netloc, [])
    found = leaks(everything, secrets_of(config, data) | _told)
    assert not found, "\n".join(found)
