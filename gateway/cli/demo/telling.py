"""How the story is told: what is about to happen, what came of it, and how long it took.

Invariant: a step is either held, with its outcome and time on one line, or it ends the story with the reason; nothing
is shown as done that was not checked. On a terminal in colour, elsewhere as plain lines.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

WIDTH_MAX = 108


class StoryBroken(Exception):
    """A step did not hold; the text says which promise was not kept."""


class Step:
    """One step while it runs: `note` adds lines below it, `outcome` says what came of it."""

    def __init__(self) -> None:
        self.outcome = ""
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Add a line of detail."""
        self.notes.append(text)


class Telling:
    """The story's voice."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._console.width = min(self._console.width, WIDTH_MAX)
        self._began = time.monotonic()
        self.held = 0

    def summary(self) -> str:
        """How many steps held, and in what time."""
        return f"All {self.held} steps held, in {told_s(time.monotonic() - self._began)}."

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self._console.print(f"\n[bold]{escape(title)}[/]")

    def say(self, text: str) -> None:
        """Say something that is no step."""
        self._console.print(escape(text), soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Tell one step; what is raised inside is told as the reason why it did not hold."""
        step, began = Step(), time.monotonic()
        try:
            with self._console.status(escape(text)):
                yield step
        except BaseException:
            self._console.print(f"  [bold red]✗[/] {escape(text)}", soft_wrap=True)
            raise
        self.held += 1
        took = f"[dim]{told_s(time.monotonic() - began)}[/]"
        outcome = f" [dim]·[/] {escape(step.outcome)}" if step.outcome else ""
        self._console.print(f"  [green]✓[/] {escape(text)}{outcome}  {took}", soft_wrap=True)
        for note in step.notes:
            self._console.print(f"    [dim]{escape(note)}[/]", soft_wrap=True)

    def phone(self, title: str, body: str) -> None:
        """Show a notification as a phone would."""
        panel = Panel(f"[bold]{escape(title)}[/]\n{escape(body)}", title="the phone", expand=False, border_style="cyan")
        self._console.print(panel)

    def broken(self, reason: str) -> None:
        """Tell why the story ends here."""
        self._console.print(f"\n[bold red]The story does not hold:[/] {escape(reason)}", soft_wrap=True)


def told_s(seconds: float) -> str:
    """A span as a person says it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def check(holds: object, promise: str) -> None:
    """Raise StoryBroken with the promise that was not kept."""
    if not holds:
        raise StoryBroken(promise)
