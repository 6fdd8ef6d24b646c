"""Instants as JavaScript writes them: ``2026-11-22T16:27:54.133Z``, read to milliseconds since 1970."""

import re
from datetime import UTC, datetime, timedelta

from gateway.errors import PushRefused

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_LOOSE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_ms(text: str, field: str, *, loose: bool = False) -> int:
    """Read one instant; anything else, other zones and precisions included, is PushRefused 400 ``invalid-field``.

    ``loose`` takes any number of decimals up to six: for times that come out of an instance's database.
    """
    if (_LOOSE if loose else _INSTANT).fullmatch(text):
        try:
            since = datetime.fromisoformat(text) - _EPOCH
        except ValueError:
            pass
        else:
            return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    raise PushRefused(400, "invalid-field", f"{field} is not a time like 2026-11-22T16:27:54.133Z.")


def instant_text(ms: int) -> str:
    """Write an instant as ``toISOString`` does."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
