"""Pass one item between two threads (``Slot``): either a newer item replaces it, or the producer waits."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The slot is closed and empty: nothing will come any more."""


class Slot(Generic[T]):
    """Holds at most one item, so that memory is bounded and nothing grows old in a queue."""

    def __init__(self, *, newest: bool) -> None:
        """Make an empty slot.

        Args:
            newest: a new item replaces one that nobody took yet; otherwise ``put`` waits until it is taken.
        """
        self._newest = newest
        self._items: list[T] = []
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Put an item into the slot.

        Raises:
            Closed: the slot is closed, also while this waits.
        """
        with self._changed:
            if self._newest and self._items and not self._closed:
                self._items.clear()
            self._changed.wait_for(lambda: self._closed or not self._items)
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> T:
        """Take the item; wait for one where there is none.

        Raises:
            Closed: there is none and none will come.
            TimeoutError: there is none yet.
            BaseException: the error that ``close`` was given, once, after the last item.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._items, timeout_s):
                raise TimeoutError
            if self._items:
                item = self._items.pop()
                self._changed.notify_all()
                return item
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise Closed

    def close(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        """Accept no more items; one that is in the slot can still be taken.

        Args:
            error: the reason, raised by the next ``get``; the first one counts.
            discard: throw away the item in the slot.
        """
        with self._changed:
            if not self._closed:
                self._error = error
            if discard:
                self._items.clear()
            self._closed = True
            self._changed.notify_all()
