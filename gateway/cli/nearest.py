"""What somebody may have meant who typed a name that does not exist.

This module must not know what the names are of.
"""

import difflib
from collections.abc import Collection

NEAR_MAX = 3  # a mistyped name has one or two that are meant; more is a list
NAMED_MAX = 40  # of all where none is near: every kind of record, and not every tenant of thousands


def nearest(name: str, known: Collection[str]) -> str:
    """Give the known names that are nearest as a question, or all of them where none is near, as far as they fit."""
    near = difflib.get_close_matches(name, known, n=NEAR_MAX)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    named, more = sorted(known)[:NAMED_MAX], len(known) - NAMED_MAX
    return f"known: {', '.join(named) or 'none'}" + (f" and {more} more" if more > 0 else "")
