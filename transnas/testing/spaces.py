"""`SpaceContract`: what every search space must do, as a pytest class."""

from __future__ import annotations

import contextlib
import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transnas._errors import InputError
from transnas.spaces import Architecture, Space

__all__ = ["SpaceContract"]

LISTABLE = 20_000
"""Spaces up to this size are checked exhaustively."""

seeds = st.integers(0, 2**32 - 1)
checked = settings(
    max_examples=25,
    deadline=None,
    # A contract is inherited by many test classes: each runs it by itself.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


def draw(space: Space, seed: int) -> Architecture:
    """Return one architecture of `space` for a seed."""
    return space.sample(np.random.default_rng(seed))


class SpaceContract:
    """Properties of a `Space`. Subclasses override the fixture `space`."""

    @pytest.fixture
    def space(self) -> Space:
        """Return the space under test."""
        raise NotImplementedError("override the fixture `space`")

    def listable(self, space: Space) -> bool:
        """Return whether the space is small enough to be listed in a test."""
        return not space.ranges and space.size <= LISTABLE

    @checked
    @given(seed=seeds)
    def test_samples_are_valid_and_follow_the_seed(self, space: Space, seed: int) -> None:
        arch = draw(space, seed)
        space.validate(arch)
        assert arch == draw(space, seed)
        assert hash(arch) == hash(draw(space, seed))

    @checked
    @given(seed=seeds)
    def test_some_value_may_follow_every_valid_prefix(self, space: Space, seed: int) -> None:
        arch = draw(space, seed)
        for i, value in enumerate(arch.values):
            mask = space.mask(arch.values[:i])
            assert mask.shape == (len(space.choices[i].values),)
            assert mask.dtype == np.bool_
            assert mask[value]

    @checked
    @given(seed=seeds)
    def test_completions_add_up_along_prefixes(self, space: Space, seed: int) -> None:
        arch = draw(space, seed)
        for i in range(len(arch.values)):
            prefix = arch.values[:i]
            children = [(*prefix, v) for v in np.flatnonzero(space.mask(prefix)).tolist()]
            assert space.completions(prefix) == sum(map(space.completions, children))
        assert space.completions(arch.values) == 1

    @checked
    @given(seed=seeds)
    def test_text_json_and_pickle_round_trips(self, space: Space, seed: int) -> None:
        arch = draw(space, seed)
        assert space.from_text(space.to_text(arch)) == arch
        assert space.from_json(space.to_json(arch)) == arch
        assert pickle.loads(pickle.dumps(arch)) == arch
        shown = json.loads(space.to_json(arch))
        assert shown["space"] == space.name
        assert set(shown["values"]) == {c.name for c in space.choices} | {
            r.name for r in space.ranges
        }

    @checked
    @given(text=st.text(max_size=60))
    def test_any_text_is_read_or_refused_in_one_sentence(self, space: Space, text: str) -> None:
        for read in (space.from_text, space.from_json):
            with contextlib.suppress(InputError):
                space.validate(read(text))

    @checked
    @given(seed=seeds)
    def test_invalid_architectures_are_refused(self, space: Space, seed: int) -> None:
        arch = draw(space, seed)
        wrong_length = Architecture(space.name, arch.values[:-1], arch.numbers)
        wrong_space = Architecture(space.name + "?", arch.values, arch.numbers)
        beyond = len(space.choices[0].values)
        wrong_value = Architecture(space.name, (beyond, *arch.values[1:]), arch.numbers)
        for bad in (wrong_length, wrong_space, wrong_value):
            with pytest.raises(InputError):
                space.validate(bad)

    @checked
    @given(seed=seeds)
    def test_neighbours_are_valid_distinct_and_symmetric(self, space: Space, seed: int) -> None:
        arch = draw(space, seed)
        found = space.neighbours(arch)
        assert arch not in found
        assert len(set(found)) == len(found)
        for other in found:
            space.validate(other)
        for other in found[:8]:
            assert arch in space.neighbours(other)

    @checked
    @given(seed=seeds)
    def test_mutation_gives_a_neighbour_or_moves_a_number(self, space: Space, seed: int) -> None:
        arch = draw(space, seed)
        child = space.mutate(arch, np.random.default_rng(seed))
        space.validate(child)
        assert child == space.mutate(arch, np.random.default_rng(seed))
        if child.numbers == arch.numbers:
            assert child in space.neighbours(arch)
        else:
            assert child.values == arch.values

    @checked
    @given(seed=seeds)
    def test_canonical_and_pruned_are_idempotent(self, space: Space, seed: int) -> None:
        arch = draw(space, seed)
        representative = space.canonical(arch)
        space.validate(representative)
        assert space.canonical(representative) == representative
        pruned = space.pruned(arch)
        assert space.pruned(pruned) == pruned
        assert sorted(space.paths(pruned)) == sorted(space.paths(arch))

    @checked
    @given(first=seeds, second=seeds)
    def test_encodings_are_one_hot_and_tell_apart(
        self, space: Space, first: int, second: int
    ) -> None:
        archs = [draw(space, first), draw(space, second)]
        codes = space.encode(archs)
        assert codes.shape == (2, space.width)
        assert codes.dtype == np.float32
        one_hot = codes[:, : space.width - len(space.ranges)]
        assert (one_hot.sum(axis=1) == len(space.choices)).all()
        assert (codes[0] == codes[1]).all() == (archs[0] == archs[1])
        assert space.encode([]).shape == (0, space.width)

    @checked
    @given(seed=seeds)
    def test_graph_edges_run_forward_between_known_nodes(self, space: Space, seed: int) -> None:
        graph = space.graph(draw(space, seed))
        position = {node: i for i, node in enumerate(graph.nodes)}
        assert len(position) == len(graph.nodes)
        for source, target, label in graph.edges:
            assert position[source] < position[target]
            assert label

    @checked
    @given(seed=seeds)
    def test_index_and_at_are_inverse(self, space: Space, seed: int) -> None:
        if space.ranges:
            pytest.skip("a space with number ranges cannot be listed")
        arch = draw(space, seed)
        assert space.at(space.index(arch)) == arch
        for outside in (-1, space.size):
            with pytest.raises(InputError):
                space.at(outside)

    def test_listing_has_every_valid_architecture_once(self, space: Space) -> None:
        if not self.listable(space):
            pytest.skip("too many architectures to list")
        listed = list(space.architectures())
        assert [space.index(a) for a in listed] == list(range(space.size))
        everything = itertools.product(*(range(len(c.values)) for c in space.choices))
        valid = {
            codes
            for codes in everything
            if all(space.mask(codes[:i])[v] for i, v in enumerate(codes))
        }
        assert {a.values for a in listed} == valid

    def test_neighbours_lead_from_any_architecture_to_every_other(self, space: Space) -> None:
        if not self.listable(space):
            pytest.skip("too many architectures to list")
        start = space.at(0)
        seen, frontier = {start.values}, [start]
        while frontier:
            found = {a.values: a for arch in frontier for a in space.neighbours(arch)}
            frontier = [a for values, a in found.items() if values not in seen]
            seen |= found.keys()
        assert len(seen) == space.size

    def test_sampling_is_uniform(self, space: Space) -> None:
        if not self.listable(space):
            pytest.skip("too many architectures to list")
        rng = np.random.default_rng(0)
        bins = min(20, space.size)
        drawn = np.array([space.index(space.sample(rng)) for _ in range(2000)])
        edges = np.linspace(0, space.size, bins + 1).astype(int)
        seen = np.histogram(drawn, edges)[0]
        expected = 2000 * np.diff(edges) / space.size
        chi_square = float(((seen - expected) ** 2 / expected).sum())
        # A chi-square variable with k degrees of freedom exceeds k + 7 sqrt(2 k) about never.
        assert chi_square < bins + 7 * np.sqrt(2 * bins)
