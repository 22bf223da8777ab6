"""Single points that were measured wrong, and curves that only look as if they had some."""

import numpy as np
import pytest

from llmsim.latency.smoothing import without_spikes

SIZES = 2.0 ** np.arange(12)


def test_one_wrong_point_is_replaced_and_named():
    true = 10 + 0.05 * SIZES
    for place, factor in ((4, 3.0), (9, 2.5), (6, 0.3)):
        measured = true.copy()
        measured[place] *= factor
        found, named = without_spikes(measured)

        assert [where for where, _ in named] == [place]
        assert named[0][1] == pytest.approx(factor, rel=0.15)
        assert found[place] == pytest.approx(true[place], rel=0.15)
        np.testing.assert_allclose(np.delete(found, place), np.delete(measured, place), rtol=1e-12)


def test_a_knee_with_noise_behind_it_stays():
    """Experts: time doubles until all are awake, and stands still then, up to noise."""
    measured = np.array([1.0, 2.0, 4.0, 3.9, 4.0, 3.95, 4.1, 8.0])
    found, named = without_spikes(measured)

    assert named == []
    np.testing.assert_allclose(found, measured, rtol=1e-12)
