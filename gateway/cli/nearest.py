"""What somebody may have meant who typed a name that does not exist.

This module must not know what the names are of.
"""

import difflib
from collections.abc import Collection

NEAR_MAX = 3  # a mistyped name has one or two that are meant; more is a list


def nearest(name: str, known: Collection[str]) -> str:
    """Give the known names that are nearest as a question, or all of them where none is near."""
    near = difflib.get_close_matches(name, known, n=NEAR_MAX)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"known: {', '.join(sorted(known)) or 'none'}"
