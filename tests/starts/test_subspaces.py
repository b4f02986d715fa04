from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from pyod_lipocc.lipschitz import GaussianBlur, Mean, NearestSubspace, lipschitz_bound
from pyod_lipocc.starts import k_subspaces, nearest_subspace, principal_subspace, prototypes
from pyod_lipocc.stiefel import orthogonality_error

FLOAT32 = 1e-5
"""Largest error of a float32 distance between rows of unit scale."""

DEGENERATE = {
    "one row": torch.tensor([[1.0, 2.0, 3.0]]),
    "one number": torch.tensor([[1.0]]),
    "two rows": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
    "one feature": torch.linspace(-1, 1, 30)[:, None],
    "constant columns": torch.cat([torch.linspace(-1, 1, 30)[:, None], torch.ones(30, 3)], 1),
    "equal rows": torch.ones(30, 4),
    "duplicates": torch.eye(5).repeat(6, 1),
    "fewer rows than features": torch.eye(3, 20),
    "rows on a line": torch.linspace(-1, 1, 30)[:, None] * torch.ones(4),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cloud(n, d, seed=1):
    return torch.randn(n, d, generator=generator(seed))


def planes(n_planes, n_directions, d, rows_each, spread=20.0, noise=0.01):
    """Rows of affine subspaces that are far from each other, and the plane of each."""
    draw = np.random.default_rng(3)
    rows, labels = [], np.repeat(np.arange(n_planes), rows_each)
    for k in range(n_planes):
        axes = np.linalg.qr(draw.normal(size=(d, n_directions)))[0].T
        center = np.zeros(d)
        center[k] = spread
        along = draw.normal(size=(rows_each, n_directions)) @ axes
        rows.append(center + along + noise * draw.normal(size=(rows_each, d)))
    return torch.from_numpy(np.concatenate(rows)).float(), labels


def images(n, shape, seed=2):
    """Smooth random images: blobs whose place and width vary."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    centers = draw.uniform(0, shape[-1], size=(n, 2, 1, 1))
    blobs = np.exp(-((y - centers[:, 0]) ** 2 + (x - centers[:, 1]) ** 2) / 4)
    return torch.from_numpy(blobs.reshape(n, -1)).float()


def values(network, rows):
    with torch.no_grad():
        return network(rows).reshape(-1)


class TestPrototypes:
    @pytest.mark.parametrize("j", [1, 2, 5])
    def test_they_are_nearest_neighbours(self, j):
        rows, queries = cloud(50, 4), cloud(20, 4, seed=2)
        network = prototypes(rows, j).eval()
        mean = NearestNeighbors(n_neighbors=j).fit(rows).kneighbors(queries)[0].mean(1)
        np.testing.assert_allclose(-values(network, queries), mean, atol=FLOAT32)

    @pytest.mark.parametrize("j", [1, 5])
    def test_rows_are_left_out_of_their_own_score(self, j):
        rows = cloud(50, 4)
        mean = NearestNeighbors(n_neighbors=j).fit(rows).kneighbors()[0].mean(1)
        np.testing.assert_allclose(-values(prototypes(rows, j).train(), rows), mean, atol=FLOAT32)

    @given(st.integers(1, 6), st.integers(1, 9))
    def test_no_more_neighbours_than_other_rows(self, n, j):
        network = prototypes(cloud(n, 2), j)
        assert network.n_nearest == max(1, min(j, n - 1))
        assert network.leave_one_out == (n > 1)
        assert values(network.train(), cloud(3, 2)).isfinite().all()


class TestPrincipalSubspace:
    @pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
    def test_it_is_the_residual_of_the_fewest_directions_that_hold_the_share(self, variance):
        rows = cloud(80, 6) * torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25]) + 3
        network = principal_subspace(rows, variance)
        pca = PCA(variance).fit(rows)
        assert network.basis.shape[1] == pca.n_components_
        residual = rows.numpy() - pca.inverse_transform(pca.transform(rows))
        np.testing.assert_allclose(
            -values(network, rows), np.linalg.norm(residual, axis=1), atol=1e-4
        )

    @pytest.mark.parametrize("rows", DEGENERATE.values(), ids=DEGENERATE.keys())
    @pytest.mark.parametrize("variance", [0.9, 1.0])
    def test_degenerate_data(self, rows, variance):
        network = principal_subspace(rows, variance)
        assert network.basis.shape[1] < max(2, rows.shape[1])
        assert values(network, rows).isfinite().all()
        assert lipschitz_bound(network) <= 1 + 1e-6


class TestKSubspaces:
    def test_it_recovers_separated_subspaces(self):
        rows, labels = planes(4, 2, 8, rows_each=100)
        network = k_subspaces(rows, 4, 2, 1, seed=0)
        with torch.no_grad():
            found = network.nearest(rows, network.coordinates(rows)).squeeze(1).numpy()
        for k in range(4):
            assert len(set(found[labels == k])) == 1, "a plane is one component"
            U = network.basis[found[labels == k][0]].detach()
            members = rows[labels == k] - rows[labels == k].mean(0)
            outside = members - members @ U.T @ U
            assert outside.norm(dim=1).max() < 0.1
        assert len(set(found)) == 4

    def test_its_contractions_are_deviations_of_the_rest_over_those_along(self):
        rows = cloud(4000, 5) * torch.tensor([10.0, 4.0, 1.0, 1.0, 1.0])
        network = k_subspaces(rows, 1, 2, 1, seed=0)
        torch.testing.assert_close(
            network.contraction.detach(), torch.tensor([[0.1, 0.25]]), rtol=0.05, atol=0
        )

    def test_radii_are_mean_distances_of_the_members(self):
        rows, labels = planes(3, 1, 6, rows_each=80, noise=0.1)
        network = k_subspaces(rows, 3, 1, 1, seed=0)
        f = values(network, rows).numpy()
        for k in range(3):
            assert abs(f[labels == k].mean()) < 1e-3, "on the mean the boundary is met"

    @pytest.mark.parametrize("n_directions", [0, 1, 3])
    @pytest.mark.parametrize("rows", [cloud(60, 4), *(r.repeat(8, 1) for r in (torch.eye(4),))])
    def test_contractions_bases_and_bound(self, n_directions, rows):
        network = k_subspaces(rows, 4, n_directions, 2, seed=1)
        assert network.n_nearest == 2
        assert ((network.contraction >= 0) & (network.contraction <= 1)).all()
        if n_directions:
            assert orthogonality_error(network.basis).max() < 1e-4
        assert values(network, rows).isfinite().all()
        assert lipschitz_bound(network) <= 1 + 1e-4

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    @pytest.mark.parametrize(
        "rows",
        [torch.ones(20, 4), torch.eye(20, 30), DEGENERATE["constant columns"]],
        ids=["equal rows", "fewer rows than features", "constant columns"],
    )
    def test_degenerate_data(self, rows):
        network = k_subspaces(rows, 5, 3, 1, seed=0)
        assert values(network, rows).isfinite().all()
        assert all(weight.isfinite().all() for weight in network.parameters())

    def test_the_seed_decides_and_global_generators_stay(self, global_rngs_untouched):
        rows, _ = planes(3, 2, 12, rows_each=60)
        first, second = (k_subspaces(rows, 3, 2, 1, seed=5).state_dict() for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


class TestRule:
    def test_clean_tables(self):
        (network,) = nearest_subspace(4, rows=cloud(50, 4), generator=generator())
        assert isinstance(network, NearestSubspace)
        assert (len(network.centers), network.basis.shape[1], network.n_nearest) == (50, 0, 2)
        assert network.leave_one_out

    def test_contaminated_tables(self):
        rows = cloud(50, 4) * torch.tensor([9.0, 9.0, 1.0, 1.0])
        (network,) = nearest_subspace(4, rows=rows, contamination=0.1, generator=generator())
        assert isinstance(network, Mean)
        neighbours, principal = network.networks
        assert (len(neighbours.centers), neighbours.n_nearest) == (50, 5)
        assert (len(principal.centers), principal.n_nearest) == (1, 1)
        assert principal.basis.shape[1] == 2

    def test_a_principal_subspace_that_is_the_whole_space_is_left_out(self):
        (network,) = nearest_subspace(
            2, rows=cloud(50, 2), contamination=0.1, generator=generator()
        )
        assert isinstance(network, NearestSubspace)

    @pytest.mark.parametrize("contamination", [0.0, 0.1])
    @pytest.mark.parametrize("shape", [(8, 8), (2, 8, 6)])
    def test_images(self, shape, contamination):
        rows = images(1000, shape[-2:]).repeat(1, math.prod(shape[:-2]))
        blur, network = nearest_subspace(
            rows.shape[1],
            rows=rows,
            image_shape=shape,
            contamination=contamination,
            generator=generator(),
        )
        assert isinstance(blur, GaussianBlur)
        assert blur.image_shape == shape
        assert blur.sigma == min(shape[-2:]) / 40
        assert isinstance(network, Mean)
        assert len(network.networks) == 3
        for expert in network.networks:
            K, q, _ = expert.basis.shape
            assert (K, q, expert.n_nearest) == (5, 12, 2)
        assert len({expert.centers[0, 0].item() for expert in network.networks}) == 3

    def test_few_images_are_their_own_centers(self):
        (network,) = nearest_subspace(64, rows=images(999, (8, 8)), image_shape=(8, 8))
        assert (len(network.centers), network.n_nearest) == (999, 1)

    @pytest.mark.parametrize("contamination", [0.0, 0.02, 0.1, 0.3])
    @pytest.mark.parametrize("n", [10, 61, 400])
    def test_f_is_the_margin_on_all_but_a_share_of_the_rows(self, n, contamination):
        rows, margin = cloud(n, 3), 0.25
        network = nearest_subspace(
            3, rows=rows, margin=margin, contamination=contamination, generator=generator()
        )
        below = (values(network, rows) < margin - FLOAT32).sum()
        share = max(contamination, 0.05)
        assert math.floor(share * (n - 1)) <= below <= math.ceil(share * n)

    @pytest.mark.parametrize("image_shape", [None, (4, 4)])
    def test_subspaces_can_be_asked_for_and_put_off(self, image_shape):
        rows = images(1200, (4, 4))
        chosen = {"rows": rows, "image_shape": image_shape, "generator": generator()}
        network = nearest_subspace(16, n_components=3, n_directions=5, **chosen)
        experts = network[-1].networks
        assert [tuple(expert.basis.shape) for expert in experts] == [(3, 5, 16)] * 3
        assert isinstance(network[0], GaussianBlur) == (image_shape is not None)
        assert len(nearest_subspace(16, n_components=0, **chosen)[-1].centers) == len(rows)

    @pytest.mark.parametrize("n_components", [-1, 31])
    def test_more_subspaces_than_rows_are_refused(self, n_components):
        with pytest.raises(
            ValueError, match=rf"from 0 to the number of rows, 30, got {n_components}"
        ):
            nearest_subspace(4, rows=cloud(30, 4), n_components=n_components)

    def test_f_is_the_margin_on_images_too(self):
        rows = images(1000, (6, 6))
        network = nearest_subspace(36, rows=rows, margin=0.1, image_shape=(6, 6))
        assert 40 <= (values(network, rows) < 0.1 - FLOAT32).sum() <= 50

    @pytest.mark.parametrize("contamination", [0.0, 0.1])
    @pytest.mark.parametrize("rows", DEGENERATE.values(), ids=DEGENERATE.keys())
    def test_degenerate_data(self, rows, contamination):
        network = nearest_subspace(rows.shape[1], rows=rows, contamination=contamination)
        for mode in (network.train(), network.eval()):
            assert values(mode, rows).isfinite().all()
        assert lipschitz_bound(network) <= 1 + 1e-6
        far = rows.mean(0, keepdim=True) + 100
        assert values(network, far) < values(network, rows).min()

    @pytest.mark.parametrize("image_shape", [None, (6, 6)])
    def test_seeded(self, image_shape, global_rngs_untouched):
        rows = images(1000, (6, 6))
        first, second = (
            nearest_subspace(36, rows=rows, image_shape=image_shape, generator=generator(4))
            for _ in range(2)
        )
        assert torch.equal(first(rows[:100]), second(rows[:100]))

    def test_the_rows_stay_and_the_network_pickles(self):
        rows = images(1000, (6, 6))
        before = rows.clone()
        network = nearest_subspace(36, rows=rows, image_shape=(6, 6), contamination=0.1).eval()
        with torch.no_grad():
            assert torch.equal(pickle.loads(pickle.dumps(network))(rows), network(rows))
            for weight in network.parameters():
                weight.add_(1)
        assert torch.equal(rows, before)
