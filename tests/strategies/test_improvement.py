"""The expected improvement of models that are plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from transnas.strategies._improvement import expected_improvement


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_it_is_its_integral_in_the_precision_given(kind: type) -> None:
    gains, deviations = np.array([-1.0, 0.0, 0.5, -8.0]), np.array([0.5, 1.0, 2.0, 2.0])
    found = expected_improvement(gains.astype(kind), deviations.astype(kind))
    assert found.dtype == kind
    exact = [
        quad(lambda f, m=m, s=s: f * norm.pdf(f, m, s), 0, np.inf)[0]  # type: ignore[misc]
        for m, s in zip(gains, deviations, strict=True)
    ]
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-9)
