"""Who waits for what comes of a notification: woken once all its targets have an outcome, or when nothing more comes.

Invariant: nobody is held longer than there is something to wait for; being woken says only that it is time to look.
This module must not know what an outcome is, nor deadlines: whoever waits has one.
"""

from collections import defaultdict

import trio


class Waiting:
    """By the seq of the record that accepted it: how many targets are still to be heard of, and who waits."""

    def __init__(self) -> None:
        self._outstanding: dict[int, int] = {}  # of this run's notifications
        self._lots: defaultdict[int, trio.lowlevel.ParkingLot] = defaultdict(trio.lowlevel.ParkingLot)

    def expect(self, accepted_seq: int, targets: int) -> None:
        """Count what was just accepted."""
        self._outstanding[accepted_seq] = targets

    async def progress(self, accepted_seq: int) -> None:
        """Wait until all targets of a notification have an outcome, a deferral included, and the views show it.

        After a restart each outcome counts, and a breaker that opens wakes everybody: look again. The caller has a
        deadline.
        """
        lot = self._lots[accepted_seq]
        try:
            await lot.park()
        finally:
            if not lot:
                self._lots.pop(accepted_seq, None)

    def tell(self, accepted_seq: int) -> None:
        """Count an outcome; wake whoever waits when it was the last."""
        left = self._outstanding.pop(accepted_seq, 0) - 1
        if left > 0:
            self._outstanding[accepted_seq] = left
        else:
            self.let_go(accepted_seq)

    def let_go(self, accepted_seq: int) -> None:
        """Wake whoever waits for a notification, whatever has come of it."""
        if (lot := self._lots.get(accepted_seq)) is not None:
            lot.unpark_all()

    def let_all_go(self) -> None:
        """Wake everybody."""
        for lot in self._lots.values():
            lot.unpark_all()
