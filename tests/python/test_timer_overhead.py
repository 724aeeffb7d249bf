"""The benchmark of what a trial costs, on the double that it drives where there is no GPU."""

from __future__ import annotations

import timer_overhead


def test_a_trial_is_its_kernels_and_little_beyond() -> None:
    short, long = timer_overhead.on_the_double()
    assert (short.latency_us, long.latency_us) == (2.0, 200.0)
    assert short.launches > long.launches == 1
    assert 0 < long.overhead_us < 1e4
