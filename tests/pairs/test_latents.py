"""The latents of a datum as one array."""

from __future__ import annotations

import pytest
import torch

from ppgen.pairs.latents import latent_names, numbered, set_apart, side_by_side
from ppgen.pairs.tracing import Particles, Program, run_particles
from tests.tiny import tiny_pair


def seen(name: str) -> Particles:
    pair, data = tiny_pair(name)
    return run_particles(Program(pair.model, pair.guide), data.train, 3)


@pytest.mark.parametrize("name", ["vae", "sbn", "ss_vae", "discrete_vae"])
def test_latents_side_by_side_go_back_to_their_sites(name: str) -> None:
    particles = seen(name)
    values = {latent: particles.guide_sites[latent]["value"] for latent in particles.latents}
    numbers = side_by_side(particles)
    again = set_apart(particles, numbers, values)
    assert numbers.shape[:2] == particles.log_q.shape
    assert numbers.shape[2] == len(latent_names(particles))
    assert again.keys() == values.keys()
    assert all(torch.equal(again[latent], value.to(numbers)) for latent, value in values.items())


def test_latents_of_the_whole_data_set_are_one_row() -> None:
    particles = seen("lda").outside
    assert particles is not None
    numbers = side_by_side(particles)
    assert numbers.shape[:2] == (3, 1)
    assert latent_names(particles)[:2] == ["log_topics[0]", "log_topics[1]"]
    again = set_apart(particles, numbers, {"log_topics": particles.guide_sites["log_topics"]["value"]})
    assert torch.equal(again["log_topics"], particles.guide_sites["log_topics"]["value"])


def test_a_latent_of_one_number_has_its_own_name() -> None:
    assert numbered("scale", 1) == ["scale"]
    assert numbered("z", 2) == ["z[0]", "z[1]"]
