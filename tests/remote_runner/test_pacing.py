"""How much bulk is on its way: enough to fill a line, and after an edit no more than the line holds."""

import random

import pytest

from hotloop.remote_runner.pacing import MAX_WINDOW_BYTES, Pacer

MESSAGE_BYTES = (256 << 10) + 60


def carry(pacer, num_messages, *, round_trip_s, bytes_by_s, began_s=0.0, is_yielding=False):
    """Send through a line that takes one message after the other; gives when the last was acknowledged, and the most in flight."""
    jitter = random.Random(1)
    now_s, free_s, most, total = began_s, began_s, 0, pacer._sent_bytes
    coming = []
    while num_messages or coming:
        if num_messages and pacer.may_send(MESSAGE_BYTES, is_yielding=is_yielding):
            pacer.sent(MESSAGE_BYTES, now_s)
            free_s = max(free_s, now_s) + MESSAGE_BYTES / bytes_by_s
            coming.append(max([*coming[-1:], free_s + round_trip_s + jitter.uniform(0, 0.002)]))
            num_messages -= 1
            most = max(most, pacer.in_flight_bytes)
        else:
            now_s, total = coming.pop(0), total + MESSAGE_BYTES
            pacer.acknowledged(total, now_s)
    return now_s, most


@pytest.mark.parametrize("bytes_by_s", [2e6, 20e6, 80e6])
def test_a_line_is_filled_also_after_edits_had_it(bytes_by_s):
    pacer = Pacer()
    edited_s, _ = carry(pacer, 40, round_trip_s=0.04, bytes_by_s=bytes_by_s, is_yielding=True)
    done_s, most = carry(pacer, 400, round_trip_s=0.04, bytes_by_s=bytes_by_s, began_s=edited_s)

    least_s = 400 * MESSAGE_BYTES / bytes_by_s
    assert done_s - edited_s < 1.25 * least_s + 0.04
    assert most <= MAX_WINDOW_BYTES + MESSAGE_BYTES


@pytest.mark.parametrize("bytes_by_s", [2e6, 20e6, 80e6])
def test_while_an_edit_counts_no_more_is_on_its_way_than_the_line_holds(bytes_by_s):
    pacer = Pacer()
    filled_s, _ = carry(pacer, 400, round_trip_s=0.04, bytes_by_s=bytes_by_s)
    _, most = carry(pacer, 40, round_trip_s=0.04, bytes_by_s=bytes_by_s, began_s=filled_s, is_yielding=True)

    quickest_s = 0.042 + MESSAGE_BYTES / bytes_by_s
    assert most <= max(1.01 * bytes_by_s * quickest_s, MESSAGE_BYTES)
