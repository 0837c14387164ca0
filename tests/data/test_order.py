"""Epochs as permutations, and their division into batches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ppema.data.order import Plan, epoch_order
from ppema.ranks import Ranks

plans = st.builds(
    Plan,
    samples=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**64),
)


@given(plans, st.integers(0, 10**6))
def test_every_sample_once(plan, epoch):
    order = plan.order(epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(plan.samples))
    np.testing.assert_array_equal(order, plan.order(epoch))
    batches = [plan.batch(order, step) for step in range(plan.steps_per_epoch)]
    read = [index for batch in batches for index in batch]
    whole = plan.samples - plan.samples % plan.batch_size
    assert read == order.tolist()[: whole if plan.drop_last else None]
    assert all(len(batch) == plan.batch_size for batch in batches[:-1])


@given(plans, st.integers(1, 6))
def test_ranks_share_each_batch(plan, ranks):
    order, mine = plan.order(0), [plan.sliced(Ranks(rank, ranks)) for rank in range(ranks)]
    for step in range(plan.steps_per_epoch):
        whole = plan.batch(order, step).tolist()
        parts = [each.batch(order, step).tolist() for each in mine]
        shares = [each.share_of(step) for each in mine]
        assert [index for part, share in zip(parts, shares, strict=True) if share for index in part] == whole
        assert {len(part) for part, share in zip(parts, shares, strict=True) if not share} <= {1}
        assert all(share in (0.0, len(part) / len(whole)) for part, share in zip(parts, shares, strict=True))
        assert max(map(len, parts)) - min(len(part) if share else 0 for part, share in zip(parts, shares, strict=True)) <= 1
        assert {each.size_of(step) for each in mine} == {len(whole)}


def test_unshuffled():
    assert epoch_order(4, seed=3, epoch=5, shuffle=False).tolist() == [0, 1, 2, 3]


def test_seeds_and_epochs_differ():
    orders = {tuple(epoch_order(50, seed=seed, epoch=epoch, shuffle=True)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_the_permutation_is_the_documented_one():
    expected = np.random.default_rng([7, 2]).permutation(20)
    np.testing.assert_array_equal(epoch_order(20, seed=7, epoch=2, shuffle=True), expected)
