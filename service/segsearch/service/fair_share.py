"""Who may hold how much of what all share: a client no more than is left free for others.

Where it stands: frames that wait to be scored, bytes of bodies under way, and calls that have a thread are each shared
so, see ADR 0009. One client alone gets half, two a third each, and a few who come new find some still.
"""

from collections import Counter


class FairShare:
    """Of one thing. Whoever uses it holds a lock."""

    def __init__(self, limit: int):
        self.limit, self.taken = limit, 0
        self._held: Counter[str] = Counter()  # by client

    def has_room(self, client: str, amount: int) -> bool:
        """Whether a client may take so much. Where nobody holds any, one may take more than there is."""
        return not self.taken or self._held[client] + amount <= self.limit - self.taken

    def take(self, client: str, amount: int) -> None:
        """Whether there is room or not."""
        self.taken += amount
        self._held[client] += amount

    def give_back(self, client: str, amount: int) -> None:
        """What was taken."""
        self.taken -= amount
        self._held[client] -= amount
        if not self._held[client]:
            del self._held[client]
