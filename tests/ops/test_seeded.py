"""Seeded matrices are what the seed says, now and later."""

import hashlib

import numpy as np
import torch

from inlay.ops.seeded import seeded_uniform


def test_equals_its_naive_twin():
    """Each entry by itself, from the upper 24 bits of one integer of the stream."""
    found = seeded_uniform(3, 5, 0.7, seed=11, stream=1)
    bits = np.random.PCG64([11, 1, 3, 5])
    expected = [0.7 * ((int(bits.random_raw()) >> 40) / 2**23 - 1) for _ in range(15)]
    torch.testing.assert_close(
        found.double().flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_the_bits_never_change():
    """Saved adapters hold the seed only: other numbers here would break every one of them."""
    matrix = seeded_uniform(7, 9, 0.5, seed=3, stream=0)
    digest = hashlib.sha256(matrix.numpy().tobytes()).hexdigest()
    assert digest[:16] == "65f2cd37ccfd8afb"
    assert matrix.dtype == torch.float32


def test_it_is_even_between_the_bounds():
    matrix = seeded_uniform(100, 300, 0.2, seed=0, stream=0)
    assert -0.2 <= matrix.min() < -0.1999
    assert 0.1999 < matrix.max() < 0.2
    torch.testing.assert_close(matrix.mean().item(), 0.0, atol=3e-3, rtol=0)
    torch.testing.assert_close(matrix.var().item(), 0.2**2 / 3, atol=0, rtol=0.02)


def test_seed_stream_and_shape_give_other_numbers_and_leave_pytorch_alone():
    state = torch.random.get_rng_state()
    same = seeded_uniform(4, 6, 1.0, seed=1, stream=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(same, seeded_uniform(4, 6, 1.0, seed=1, stream=0))
    assert not torch.equal(same, seeded_uniform(4, 6, 1.0, seed=2, stream=0))
    assert not torch.equal(same, seeded_uniform(4, 6, 1.0, seed=1, stream=1))
    assert not torch.equal(same.flatten(), seeded_uniform(6, 4, 1.0, seed=1, stream=0).flatten())
