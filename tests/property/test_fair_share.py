"""What clients may hold of what all share, against the rule said plainly."""

from hypothesis import given
from hypothesis import strategies as st

from segsearch.service.fair_share import FairShare

LIMIT = 12
CLIENTS = "abc"
steps = st.lists(st.tuples(st.sampled_from(CLIENTS), st.integers(1, LIMIT), st.booleans()), max_size=40)


@given(steps)
def test_a_client_is_let_in_while_it_holds_no_more_than_is_left_free(taken):
    share, held = FairShare(LIMIT), {client: [] for client in CLIENTS}
    for client, amount, leaves in taken:
        if leaves and held[client]:
            share.give_back(client, held[client].pop())
        else:
            total = sum(map(sum, held.values()))
            fits = not total or sum(held[client]) + amount <= LIMIT - total
            assert share.has_room(client, amount) == fits
            if fits:
                share.take(client, amount)
                held[client].append(amount)
        assert share.taken == sum(map(sum, held.values())) <= LIMIT


@given(st.sampled_from(CLIENTS))
def test_one_alone_gets_half_and_a_second_one_half_of_the_rest(first):
    share, second = FairShare(LIMIT), CLIENTS[CLIENTS.index(first) - 1]
    counts = []
    for client in (first, second):
        counts.append(0)
        while share.has_room(client, 1):
            share.take(client, 1)
            counts[-1] += 1
    assert counts == [LIMIT // 2, LIMIT // 4]
