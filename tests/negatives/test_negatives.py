from __future__ import annotations

import pickle
from functools import partial
from itertools import pairwise

import pytest
import scipy.stats
import torch
from conftest import ROUNDING, SIGNIFICANCE
from hypothesis import given, settings
from hypothesis import strategies as st

from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.negatives import (
    Away,
    CutPaste,
    Erase,
    ImageAugmentation,
    LocalNoise,
    Mixture,
    Overlay,
    PatchShuffle,
    Rotate,
    Warp,
    gaussian,
    nearest_distance,
    push_away,
    shuffled_marginals,
    uniform,
)

SHAPES = [(6, 6), (4, 9), (3, 4, 4), (2, 3, 5)]
PROPOSALS = {
    "uniform": uniform,
    "gaussian": gaussian,
    "shuffled marginals": shuffled_marginals,
    "local noise": LocalNoise(0.01, 10.0),
    "augmentation": ImageAugmentation((3, 4), noise=0.5),
    "augmentation of one image": ImageAugmentation((1, 3, 4), between_images=False),
    "patch shuffle": PatchShuffle((3, 4), grid=3),
    "cut and paste": CutPaste((3, 2, 2)),
    "warp": Warp((3, 4)),
    "rotate": Rotate((3, 2, 2)),
    "erase": Erase((3, 4)),
    "overlay": Overlay((3, 4), noise=0.05),
    "mixture": Mixture((uniform, gaussian, LocalNoise(0.1, 1.0)), (1, 2, 3)),
    "away": Away(gaussian, 0.5),
}
DOMAINS = {
    "ball": (Ball(2.0, torch.ones(12).double()), Ball(2.0 + 1e-6, torch.ones(12).double())),
    "box": (Box(0.0, 2.0).expand(12), Box(0.0, 2.0).expand(12)),
}
WIDE = Box(-1e6, 1e6)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(shape, n=50, seed=7):
    """Images whose pixels all differ."""
    size = torch.tensor(shape).prod()
    return torch.randperm(n * size, generator=seeded(seed)).reshape(n, size).double()


def draw(proposal, x, seed=0):
    return proposal(x, WIDE.expand(x.shape[1]).to(x.dtype), seeded(seed))


@pytest.mark.parametrize("proposal", PROPOSALS.values(), ids=PROPOSALS)
class TestEveryProposal:
    @settings(max_examples=15)
    @given(
        domains=st.sampled_from([*DOMAINS.values()]),
        n=st.integers(1, 65),
        dtype=st.sampled_from([torch.float32, torch.float64]),
        seed=st.integers(0, 99),
    )
    def test_gives_a_point_of_the_domain_for_each_row(self, proposal, domains, n, dtype, seed):
        domain, grown = (each.to(dtype) for each in domains)
        x = domain.sample(n, seeded(1))
        before = x.clone()
        z = proposal(x, domain, seeded(seed))
        assert z.shape == x.shape
        assert z.dtype == dtype
        assert grown.contains(z).all()
        assert torch.equal(x, before)

    def test_is_a_function_of_the_generator(self, proposal, global_rngs_untouched):
        domain = DOMAINS["box"][0]
        x = domain.sample(33, seeded(1))
        first, again, other = (proposal(x, domain, seeded(seed)) for seed in (5, 5, 6))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_travels_and_compares(self, proposal):
        twin = pickle.loads(pickle.dumps(proposal))
        assert twin == proposal
        assert hash(twin) == hash(proposal)

    def test_does_not_copy_the_data(self, proposal):
        domain = DOMAINS["box"][0]
        x = domain.sample(64, seeded(1))
        assert not (proposal(x, domain, seeded())[:, None] == x).all(-1).any()


@pytest.mark.parametrize("domain", [Ball(2.0, [1.0, 0.0]), Box([0.0, 1.0], [1.0, 5.0])], ids=repr)
def test_uniform_is_a_sample_of_the_domain(domain):
    x = torch.full((37, 2), float("nan"))
    assert torch.equal(uniform(x, domain, seeded(3)), domain.sample(37, seeded(3)))


def test_gaussian_has_the_moments_of_the_features_and_no_correlation():
    x = torch.randn(20_000, 2, generator=seeded(1), dtype=torch.float64)
    x = torch.stack((x[:, 0], 3 * x[:, 0] + 0.1 * x[:, 1] + 5), 1)
    z = (draw(gaussian, x) - x.mean(0)) / x.std(0)
    for feature in z.T:
        assert scipy.stats.kstest(feature.numpy(), "norm").pvalue > SIGNIFICANCE
    assert scipy.stats.pearsonr(*z.T.numpy()).pvalue > SIGNIFICANCE


class TestShuffledMarginals:
    @given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
    def test_marginals_are_preserved_exactly(self, n, d, seed):
        x = torch.randn(n, d, generator=seeded(seed))
        z = draw(shuffled_marginals, x, seed)
        assert torch.equal(z.sort(dim=0).values, x.sort(dim=0).values)

    def test_features_become_independent(self):
        x = torch.arange(4000.0).double()[:, None].expand(-1, 2)
        z = draw(shuffled_marginals, x)
        assert scipy.stats.spearmanr(*z.T.numpy()).pvalue > SIGNIFICANCE
        assert scipy.stats.spearmanr(z[:, 0].numpy(), x[:, 0].numpy()).pvalue > SIGNIFICANCE


class TestLocalNoise:
    @pytest.mark.parametrize("width", [1, 2, 30])
    @pytest.mark.parametrize(("low", "high"), [(0.01, 100.0), (1.0, 2.0)])
    def test_radii_are_log_uniform(self, width, low, high):
        x = torch.randn(3000, width, generator=seeded(1), dtype=torch.float64)
        radius = (draw(LocalNoise(low, high), x) - x).norm(dim=1)
        law = scipy.stats.loguniform(low, high)
        assert scipy.stats.kstest(radius.numpy(), law.cdf).pvalue > SIGNIFICANCE

    def test_directions_are_uniform(self):
        x = torch.zeros(3000, 2, dtype=torch.float64)
        z = draw(LocalNoise(1.0, 9.0), x)
        angle = torch.atan2(z[:, 1], z[:, 0]) / torch.pi
        law = scipy.stats.uniform(-1, 2)
        assert scipy.stats.kstest(angle.numpy(), law.cdf).pvalue > SIGNIFICANCE

    def test_one_radius(self):
        z = draw(LocalNoise(3.0, 3.0), torch.zeros(50, 4).double())
        torch.testing.assert_close(z.norm(dim=1), torch.full((50,), 3.0).double())


class TestImageAugmentation:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_unmixed_it_moves_the_pixels_of_a_channel_only(self, shape):
        x = images(shape)
        z = draw(ImageAugmentation(shape, mixing=(1.0, 1.0)), x)
        before, after = (each.reshape(len(x), -1, shape[-2] * shape[-1]) for each in (x, z))
        assert torch.equal(after.sort(dim=-1).values, before.sort(dim=-1).values)
        assert (z != x).any(dim=1).all()

    @pytest.mark.parametrize(
        ("shape", "count"), [((4, 4), 7), ((3, 2, 2), 7), ((2, 3), 3), ((1, 5), 1), ((2, 5, 1), 1)]
    )
    def test_every_symmetry_but_the_identity_is_as_frequent(self, shape, count):
        x = images(shape, 1).expand(700, -1)
        z = draw(ImageAugmentation(shape, mixing=(1.0, 1.0)), x)
        kinds, counts = z.unique(dim=0, return_counts=True)
        assert len(kinds) == count
        assert count == 1 or scipy.stats.chisquare(counts.numpy()).pvalue > SIGNIFICANCE
        whole = x[0].reshape(shape)
        turned = [whole.rot90(turns, (-2, -1)) for turns in range(4)]
        orbit = {
            tuple(view.flatten().tolist())
            for view in [*turned, *(view.flip(-1) for view in turned)]
            if view.shape == whole.shape
        }
        assert set(map(tuple, kinds.tolist())) == orbit - {tuple(x[0].tolist())}

    def test_mixes_with_a_uniform_weight_and_another_image(self):
        # every image is constant: turns leave it, and the mixture shows its weight
        x = 2.0 ** torch.arange(400, dtype=torch.float64).fmod(2)[:, None].expand(-1, 4)
        mixed = partial(ImageAugmentation, (2, 2))
        z = draw(mixed(), x)
        own = x == 2
        differ = (z != x).all(dim=1)
        weight = torch.where(own, z - 1, 2 - z)[differ, 0]
        law = scipy.stats.uniform(0.25, 0.5)
        assert 150 < len(weight) < 250
        assert scipy.stats.kstest(weight.numpy(), law.cdf).pvalue > SIGNIFICANCE
        torch.testing.assert_close(draw(mixed(between_images=False), x), x)

    def test_noise_is_gaussian(self):
        x = torch.zeros(300, 16, dtype=torch.float64)
        z = draw(ImageAugmentation((4, 4), noise=0.3), x)
        law = scipy.stats.norm(scale=0.3)
        assert scipy.stats.kstest(z.flatten().numpy(), law.cdf).pvalue > SIGNIFICANCE


class TestPatchShuffle:
    @pytest.mark.parametrize("shape", [*SHAPES, (7, 8), (2, 5, 5)], ids=str)
    @pytest.mark.parametrize("grid", [2, 3])
    def test_every_patch_moves_whole_and_the_rest_stays(self, shape, grid):
        x = images(shape, 10)
        z = draw(PatchShuffle(shape, grid=grid), x)
        height, width = (side // grid for side in shape[-2:])

        def patches(batch):
            whole = batch.reshape(len(batch), -1, *shape[-2:])[..., : grid * height, : grid * width]
            tiles = whole.unfold(2, height, height).unfold(3, width, width)
            return tiles.permute(0, 2, 3, 1, 4, 5).reshape(len(batch), grid**2, -1)

        before, after = patches(x), patches(z)
        same = (after[:, :, None] == before[:, None]).all(-1)
        assert torch.equal(same.sum(1), torch.ones(10, grid**2, dtype=torch.long))
        assert not same.diagonal(dim1=1, dim2=2).any()
        beyond = torch.ones(shape[-2:], dtype=torch.bool)
        beyond[: grid * height, : grid * width] = False
        kept = [each.reshape(10, -1, *shape[-2:])[..., beyond] for each in (x, z)]
        assert torch.equal(*kept)

    def test_all_cycles_are_as_frequent(self):
        x = images((2, 2), 1).expand(1200, -1)
        _, counts = draw(PatchShuffle((2, 2)), x).unique(dim=0, return_counts=True)
        assert len(counts) == 6
        assert scipy.stats.chisquare(counts.numpy()).pvalue > SIGNIFICANCE


class TestCutPaste:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("share", [(0.25, 0.75), (0.9, 0.999), (1e-9, 1e-9)], ids=str)
    def test_pastes_one_rectangle_of_one_other_image(self, shape, share):
        x = images(shape)
        z = draw(CutPaste(shape, share=share), x)
        size = x.shape[1]
        where = torch.empty(x.numel(), dtype=torch.long)
        where[x.flatten().long()] = torch.arange(x.numel())
        origin = where[z.long()]
        for row, (picture, pixels) in enumerate(zip(z, origin, strict=True)):
            changed = (picture != x[row]).reshape(-1, *shape[-2:])
            assert (changed == changed[0]).all()
            sides = [changed[0].any(dim=axis).nonzero().flatten() for axis in (1, 0)]
            assert int(changed[0].sum()) == len(sides[0]) * len(sides[1])
            for side, places in zip(shape[-2:], sides, strict=True):
                assert 1 <= len(places) <= side - 1
                assert share[0] * side - 1 < len(places) <= max(1, share[1] * side)
                assert all(after == before + 1 for before, after in pairwise(places.tolist()))
            donors = (pixels // size)[changed.flatten()].unique()
            assert len(donors) == 1
            assert int(donors) != row
            shift = pixels[changed.flatten()] % size - changed.flatten().nonzero().flatten()
            assert len(shift.unique()) == 1

    def test_alone_an_image_gives_to_itself(self):
        x = images((6, 6), 1)
        assert torch.isin(draw(CutPaste((6, 6)), x), x).all()


class TestMixture:
    @staticmethod
    def constant(value, x, domain, generator):
        return torch.full_like(x, value)

    def parts(self, count):
        return tuple(partial(self.constant, float(k)) for k in range(count))

    @given(
        st.integers(1, 70),
        st.lists(st.floats(0, 5), min_size=1, max_size=5).filter(lambda w: sum(w) > 0.1),
        st.integers(0, 99),
    )
    def test_counts_are_the_weights_rounded(self, n, weights, seed):
        z = draw(Mixture(self.parts(len(weights)), weights), torch.zeros(n, 2), seed)
        counts = torch.bincount(z[:, 0].long(), minlength=len(weights))
        expected = n * torch.tensor(weights).double() / sum(weights)
        assert torch.equal(z[:, 0], z[:, 1])
        assert ((counts - expected).abs() < 1 + 1e-6).all()
        assert (counts[expected == 0] == 0).all()

    @pytest.mark.parametrize("n", [1, 10])
    def test_each_row_has_the_weights_as_probabilities(self, n):
        mixture = Mixture(self.parts(3), (1, 2, 5))
        generator = seeded(2)
        draws = torch.stack(
            [mixture(torch.zeros(n, 1), WIDE.expand(1), generator)[0, 0] for _ in range(2000)]
        )
        counts = torch.bincount(draws.long(), minlength=3).numpy()
        assert scipy.stats.chisquare(counts, [250, 500, 1250]).pvalue > SIGNIFICANCE

    def test_without_weights_all_are_equal(self):
        z = draw(Mixture(self.parts(4)), torch.zeros(64, 1))
        assert torch.bincount(z[:, 0].long()).tolist() == [16] * 4

    def test_a_point_stays_with_its_row(self):
        x = 1000 * torch.arange(30.0).double()[:, None].expand(-1, 2)
        z = draw(Mixture((LocalNoise(1.0, 2.0), LocalNoise(3.0, 4.0))), x)
        distance = (z - x).norm(dim=1)
        assert int((distance <= 2).sum()) == int((distance >= 3).sum()) == 15


class TestAway:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_nearest_distance_is_that_of_all_pairs_far_from_the_origin(self, dtype):
        z, x = (1000 + torch.randn(n, 5, generator=seeded(n), dtype=dtype) for n in (70, 40))
        pairs = (z[:, None].double() - x.double()).norm(dim=-1).amin(1)
        torch.testing.assert_close(
            nearest_distance(z, x).double(), pairs, rtol=ROUNDING[dtype], atol=0
        )

    def test_points_on_and_near_a_datum_are_pushed_to_the_distance(self):
        x = 10 * torch.eye(6).double()
        z = torch.cat((x, x + 0.1, x + 1))
        pushed = push_away(z, x, 1.0, WIDE.expand(6), seeded())
        torch.testing.assert_close(nearest_distance(pushed[:12], x), torch.ones(12).double())
        assert torch.equal(pushed[12:], z[12:])
        offset = (pushed - z)[6:12]
        torch.testing.assert_close(offset, offset[:, :1].expand_as(offset))

    @pytest.mark.parametrize("n_rounds", [0, 1, 4])
    @pytest.mark.parametrize("proposal", [uniform, shuffled_marginals], ids=["uniform", "shuffle"])
    def test_keeps_the_distance_from_sparse_data(self, proposal, n_rounds):
        domain = Box(-100.0, 100.0).expand(5)
        x = domain.sample(40, seeded(1)) / 2
        distance = 0.45 * float(torch.pdist(x).min())
        z = Away(proposal, distance, n_rounds)(x, domain, seeded())
        assert (nearest_distance(z, x) >= distance * (1 - 1e-9)).all()

    def test_redraws_only_what_is_near(self):
        domain = Box(0.0, 1.0).expand(2)
        x = torch.full((200, 2), 0.5).double()
        first = uniform(x, domain, seeded())
        z = Away(uniform, 0.3, 1)(x, domain, seeded())
        far = nearest_distance(first, x) >= 0.3
        assert 100 < int(far.sum()) < 190
        assert torch.equal(z[far], first[far])
        assert (z[~far] != first[~far]).any(dim=1).all()

    def test_rounds_draw_from_the_proposal_outside_the_data(self):
        domain = Box(0.0, 1.0).expand(1)
        x = torch.full((1000, 1), 0.0).double()
        z = Away(uniform, 0.5, 20)(x, domain, seeded())
        law = scipy.stats.uniform(0.5, 0.5)
        assert scipy.stats.kstest(z.flatten().numpy(), law.cdf).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LocalNoise(0.0, 1.0), r"low must be a finite number > 0, got 0\.0"),
        (lambda: LocalNoise("a", 1.0), "low must be a finite number > 0, got 'a'"),
        (lambda: LocalNoise(2.0, 1.0), r"high must be a finite number >= low=2\.0, got 1\.0"),
        (lambda: LocalNoise(2.0, float("inf")), "high must be .*, got inf"),
        (lambda: LocalNoise(True, 2.0), "low must be .*, got True"),
        (lambda: ImageAugmentation((4,)), r"image_shape must be \(height, width\).*, got \(4,\)"),
        (lambda: ImageAugmentation(16), "image_shape must be .*, got 16"),
        (lambda: ImageAugmentation((4, 0)), r"image_shape must be .* positive ints, got \(4, 0\)"),
        (lambda: ImageAugmentation((3, 1, 1)), "image_shape must have more than one pixel"),
        (lambda: ImageAugmentation((4, 4), noise=-0.1), "noise must be .* >= 0, got -0.1"),
        (lambda: ImageAugmentation((4, 4), mixing=(0.7, 0.2)), r"mixing must .*, got \(0.7, 0.2\)"),
        (lambda: ImageAugmentation((4, 4), mixing=0.5), "mixing must be two numbers.*, got 0.5"),
        (lambda: CutPaste((4, 4), share=(0.0, 0.5)), r"share must .* 0 < .*, got \(0.0, 0.5\)"),
        (lambda: CutPaste((4, 4), share=(0.5, 1.0)), r"share must .* < 1, got \(0.5, 1.0\)"),
        (lambda: PatchShuffle((4, 3), grid=4), "grid must be an int from 2 to 3, got 4"),
        (lambda: PatchShuffle((4, 4), grid=1), "grid must be an int from 2 to 4, got 1"),
        (lambda: Mixture(()), r"proposals must be one or more callables, got \(\)"),
        (lambda: Mixture((uniform, 3)), "proposals must be one or more callables"),
        (lambda: Mixture((uniform,), (1, 2)), r"weights must be one for each .* 1 .*got \(1, 2\)"),
        (lambda: Mixture((uniform, gaussian), (1, -1)), "weights must be .* >= 0, got -1"),
        (lambda: Mixture((uniform, gaussian), (0, 0)), r"weights must .* sum > 0, got \(0, 0\)"),
        (lambda: Away("x", 1.0), "proposal must be callable, got 'x'"),
        (lambda: Away(uniform, 0.0), r"distance must be a finite number > 0, got 0\.0"),
        (lambda: Away(uniform, 1.0, -1), "n_rounds must be an int >= 0, got -1"),
        (lambda: Away(uniform, 1.0, 1.5), "n_rounds must be an int >= 0, got 1.5"),
    ],
)
def test_parameters_out_of_range_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_images_of_another_size_are_named():
    with pytest.raises(ValueError, match=r"image_shape must hold .* 12, got \(3, 3\)"):
        draw(CutPaste((3, 3)), torch.zeros(2, 12))
