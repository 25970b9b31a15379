from __future__ import annotations

import threading
import time

import pytest

from edgeseg.camera.slot import Closed, Slot


def test_the_newest_item_wins() -> None:
    slot: Slot[int] = Slot(newest=True)
    for item in range(5):
        slot.put(item)  # never waits
    assert slot.get() == 4
    with pytest.raises(TimeoutError):
        slot.get(timeout_s=0.01)


def test_every_item_arrives_in_order_where_the_giver_waits() -> None:
    slot: Slot[int] = Slot(newest=False)

    def give() -> None:
        for item in range(100):
            slot.put(item)
        slot.close()

    giver = threading.Thread(target=give)
    giver.start()
    taken = []
    with pytest.raises(Closed):
        while True:
            taken.append(slot.get())
    giver.join()
    assert taken == list(range(100))


def test_a_giver_that_waits_is_woken_by_close() -> None:
    slot: Slot[int] = Slot(newest=False)
    slot.put(1)
    ended = []

    def give() -> None:
        with pytest.raises(Closed):
            slot.put(2)
        ended.append(True)

    giver = threading.Thread(target=give)
    giver.start()
    time.sleep(0.05)
    slot.close()
    giver.join(5)
    assert ended == [True]
    assert slot.get() == 1  # what lay there before is not lost


def test_a_taker_that_waits_is_woken_by_an_item_and_by_close() -> None:
    slot: Slot[int] = Slot(newest=True)
    threading.Timer(0.02, slot.put, (7,)).start()
    assert slot.get() == 7
    threading.Timer(0.02, slot.close).start()
    with pytest.raises(Closed):
        slot.get()


def test_an_error_comes_after_the_last_item_and_once() -> None:
    slot: Slot[int] = Slot(newest=False)
    slot.put(1)
    slot.close(ValueError("broke"))
    slot.close(ValueError("a later one does not count"))
    assert slot.get() == 1
    with pytest.raises(ValueError, match=r"^broke$"):
        slot.get()
    with pytest.raises(Closed):
        slot.get()


def test_discarding_leaves_nothing() -> None:
    slot: Slot[int] = Slot(newest=False)
    slot.put(1)
    slot.close(discard=True)
    with pytest.raises(Closed):
        slot.get()
    with pytest.raises(Closed):
        slot.put(2)
