from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_array_equal
from persistence import fuzz
from processes import FORKED
from pythresh.thresholds.iqr import IQR
from sklearn.exceptions import NotFittedError
from small import cloud, small
from torch import nn

from pyod_lipocc import LipOCC, SignedDistance
from pyod_lipocc.domains import Ball, Box
from pyod_lipocc.lipschitz import (
    FullSort,
    GroupSort2,
    Mean,
    Minimum,
    NearestSubspace,
    OrthogonalConv2d,
    OrthogonalLinear,
    conv,
    conv_deep,
    dense,
)
from pyod_lipocc.persistence import FORMAT
from pyod_lipocc.persistence._codec import Decoder, Encoder
from pyod_lipocc.persistence._container import _digest
from pyod_lipocc.sampler import newton_raphson
from pyod_lipocc.starts import nearest_subspace
from pyod_lipocc.stiefel import StiefelRMSprop
from pyod_lipocc.training import EarlyStopping, LinearDecay, ProgressBar, WeightAveraging

N_FEATURES = 16
IMAGE = {"image_shape": (4, 4)}
WIDTHS = {"hidden": (8, 8)}


def module():
    torch.manual_seed(0)
    shared = nn.Linear(4, 4)
    frozen = nn.Linear(4, 4, bias=False).requires_grad_(False)
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16, 4), shared, nn.Tanh(), shared, nn.Sigmoid(), frozen),
        *(nn.Identity(), OrthogonalLinear(4, 1)),
    )


DETECTORS = {
    "dense": {},
    "full-sort": {"network": partial(dense, **WIDTHS, activation=FullSort), "standardize": False},
    "conv": {"network": partial(conv, width=6, depth=2), **IMAGE},
    "conv-orthogonal": {
        "network": partial(conv, width=6, depth=2, convolution=OrthogonalConv2d),
        **IMAGE,
    },
    "conv-deep": {"network": partial(conv_deep, stages=((1, 4), (1, 6))), **IMAGE},
    "nearest-points": {"network": NearestSubspace(N_FEATURES, 5, n_nearest=2)},
    "nearest-subspace": {"network": NearestSubspace(N_FEATURES, 3, 2)},
    "combination": {
        "network": Mean(
            NearestSubspace(N_FEATURES, 5), Minimum(nn.Sequential(OrthogonalLinear(N_FEATURES, 1)))
        )
    },
    "module": {"network": module(), "threshold": "boundary"},
    "parameters": {
        "contamination": 0.25,
        "margin": 0.3,
        "domain": Box(-9.0, np.full(N_FEATURES, 9.0)),
        "learning_rate": LinearDecay(1e-2, 1e-3),
        "optimizer": partial(StiefelRMSprop, alpha=0.9),
        "sampler": partial(newton_raphson),
        "callbacks": [EarlyStopping(patience=3), ProgressBar("fit"), WeightAveraging(0.2)],
        "random_state": np.random.default_rng(0),
    },
    "legacy-generator": {"random_state": np.random.RandomState(0), "domain": Ball(50.0)},
    "philox": {"random_state": np.random.Generator(np.random.Philox(0))},
}


def rows():
    return cloud(60, N_FEATURES)


@cache
def fitted_once(name):
    parameters = {"random_state": 0, "network": partial(dense, **WIDTHS)} | DETECTORS[name]
    return LipOCC(max_iter=4, **parameters).fit(rows())


def fitted(name="dense"):
    return copy.deepcopy(fitted_once(name))


def answers(detector):
    X = 2 * cloud(40, N_FEATURES, seed=1)
    return (
        *(detector.decision_scores_, detector.labels_, detector.decision_function(X)),
        *detector.predict(X, return_confidence=True),
        *(detector.predict_proba(X, method=method) for method in ("linear", "unify")),
        *(detector.certified_radius(X), detector.sample(4, random_state=1)),
    )


def state(detector):
    return sorted(vars(detector)), [answer.tobytes() for answer in answers(detector)]


def assert_same(first, second):
    for one, other in zip(answers(first), answers(second), strict=True):
        assert_array_equal(one, other)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "detector.safetensors"


class TestRoundTrip:
    @pytest.mark.parametrize("name", DETECTORS)
    def test_every_answer_has_the_same_bits(self, name, path):
        detector = fitted(name)
        detector.save(path)
        restored = LipOCC.load(path)
        assert_same(restored, detector)
        assert vars(restored).keys() == vars(detector).keys() - {"fit_seconds_"}
        for parameter, value in detector.get_params(deep=False).items():
            kept = getattr(restored, parameter)
            assert repr(kept) in (repr(value), repr(f"not saved: {type(value).__qualname__}"))

    @pytest.mark.parametrize("name", DETECTORS)
    def test_training_continues_as_it_would_have(self, name, path):
        detector = fitted(name)
        detector.save(path)
        restored = LipOCC.load(path)
        given = detector.get_params(deep=False)
        for one in (detector, restored):
            others = {name: given[name] for name in given if name != "network"}
            one.set_params(**copy.deepcopy(others))
            one.partial_fit(rows())
        assert_same(restored, detector)
        assert_array_equal(restored.history_.loss, detector.history_.loss)

    def test_parameters_that_were_not_saved_are_refused_by_fit(self, path):
        fitted("parameters").save(path)
        restored = LipOCC.load(path)
        assert restored.set_threshold("boundary").threshold_ == 0
        for name in (
            "callbacks",
            "learning_rate",
            "network",
            "optimizer",
            "random_state",
            "sampler",
        ):
            with pytest.raises(ValueError, match=rf"(?s)'{name}'.*Got .not saved: "):
                restored.fit(rows())
            restored.set_params(**{name: LipOCC().get_params()[name]})

    def test_a_threshold_object_leaves_the_other_rules(self, path):
        detector = small(contamination=IQR()).fit(cloud())
        detector.save(path)
        restored = LipOCC.load(path)
        assert_array_equal(restored.labels_, detector.labels_)
        assert restored.set_threshold("boundary").threshold_ == 0
        assert restored.set_threshold(0.5).threshold_ == 0.5
        assert restored.set_threshold(contamination=0.2).labels_.sum() == 20

    def test_own_rows_are_left_out_as_before(self, path):
        detector = LipOCC(network=partial(nearest_subspace), max_iter=1, random_state=0)
        detector.fit(cloud()).save(path)
        restored = LipOCC.load(path)
        for one in (detector, restored):
            one.partial_fit(cloud(1200))
        assert_array_equal(restored.decision_scores_, detector.decision_scores_)

    def test_parameters_of_a_subclass_are_refused(self, path):
        class Special(LipOCC):
            def __init__(self, extra=None, **parameters):
                super().__init__(**parameters)
                self.extra = extra

            def get_params(self, deep=True):
                return LipOCC().get_params() | {"extra": self.extra}

        with pytest.raises(ValueError, match=r"extra cannot be saved, got \{1\}"):
            Special(extra={1}, max_iter=1).fit(cloud()).save(path)

    def test_a_signed_distance_is_read_alone(self, path):
        detector = fitted()
        detector.save(path)
        distance = SignedDistance.load(path)
        assert_array_equal(-distance(rows()), detector.decision_function(rows()))
        distance.save(path)
        assert_array_equal(SignedDistance.load(path)(rows()), distance(rows()))
        with pytest.raises(ValueError, match=r"does not hold a LipOCC.*'SignedDistance'"):
            LipOCC.load(path)

    @pytest.mark.parametrize("name", ["dense", "module", "nearest-subspace"])
    def test_a_detector_has_one_file(self, name, path):
        fitted(name).save(path)
        content = path.read_bytes()
        LipOCC.load(path).save(path)
        assert path.read_bytes() == content

    def test_files_are_read_by_a_process_that_has_only_the_detector(self, tmp_path):
        X = 2 * cloud(40, N_FEATURES, seed=1)
        np.save(tmp_path / "X.npy", X)
        for name in DETECTORS:
            detector = fitted(name)
            detector.save(tmp_path / f"{name}.safetensors")
            np.save(tmp_path / f"{name}.npy", detector.decision_function(X))
        script = """
import sys; from pathlib import Path; import numpy as np; from pyod_lipocc import LipOCC
folder = Path(sys.argv[1]); X = np.load(folder / "X.npy")
for path in folder.glob("*.safetensors"):
    assert (LipOCC.load(path).decision_function(X) == np.load(path.with_suffix(".npy"))).all(), path
    print(path)
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, tmp_path],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(done.stdout.splitlines()) == len(DETECTORS)

    def test_names_of_features_are_kept_and_checked(self, path):
        frame = pd.DataFrame(rows(), columns=[f"löwe.{index}" for index in range(N_FEATURES)])
        small().fit(frame).save(path)
        restored = LipOCC.load(path)
        assert list(restored.feature_names_in_) == list(frame.columns)
        assert restored.feature_names_in_.dtype == object
        with pytest.raises(ValueError, match="feature names"):
            restored.predict(frame.rename(columns={"löwe.0": "tiger"}))

    def test_history_stays_read_only(self, path):
        fitted().save(path)
        restored = LipOCC.load(path)
        assert not restored.history_.loss.flags.writeable
        restored.decision_scores_[0] = 0

    def test_a_subclass_is_loaded_as_such(self, path):
        class Special(LipOCC):
            pass

        Special(max_iter=1, random_state=0).fit(rows()).save(path)
        assert type(Special.load(path)) is Special
        with pytest.raises(ValueError, match=r"does not hold a LipOCC.*'Special'"):
            LipOCC.load(path)

    @pytest.mark.usefixtures("global_rngs_untouched")
    def test_global_generators_are_untouched(self, path):
        fitted("conv-orthogonal").save(path)
        LipOCC.load(path)

    def test_shared_weights_stay_shared(self, path):
        fitted("module").save(path)
        network = LipOCC.load(path).network_
        assert network[5].weight is network[7].weight
        trainable = [weight.requires_grad for weight in network[9].parameters()]
        assert trainable == [False]


class TestDevice:
    def test_the_device_belongs_to_the_machine(self, path):
        detector = fitted()
        detector.set_params(device="cuda:7")
        detector.save(path)
        assert LipOCC.load(path).device is None
        restored = LipOCC.load(path, device="cpu")
        assert restored.device == "cpu"
        assert_same(restored.partial_fit(rows()), fitted().partial_fit(rows()))

    def test_an_absent_device_is_refused(self, path):
        fitted().save(path)
        with pytest.raises(ValueError, match="device must be None or a device that torch can use"):
            LipOCC.load(path, device="cuda:999")


class TestFilesOfEarlierVersions:
    """`format-1.lipocc` was written by the commit 4c89eb8, before `calibration_scores_`.

    It holds ``LipOCC(network=partial(dense, hidden=(4,)), max_iter=5, random_state=0,
    contamination=0.2)``, fitted to ``np.random.default_rng(0).normal(size=(40, 2))``.
    """

    def test_answers_as_it_did(self):
        detector = LipOCC.load(Path(__file__).parents[1] / "files" / "format-1.lipocc")
        queries = [[0.0, 0.0], [1.0, 2.0], [9.0, 9.0]]
        scores = [0.22200370736641098, -0.041760124086538924, -0.1100507694801062]
        confidence = [0.9957754170172719, 0.9999999983299964, 0.9999999997816494]
        np.testing.assert_allclose(detector.decision_function(queries), scores, rtol=1e-12)
        np.testing.assert_allclose(detector.predict_confidence(queries), confidence, rtol=1e-9)
        assert detector.labels_.sum() == 8
        assert detector.set_threshold(contamination=0.1).labels_.sum() == 4
        assert detector.calibration_scores_.shape == (0,)
        assert detector.partial_fit(np.zeros((5, 2))).n_iter_ == 6


class TestWriting:
    def test_text_and_paths_are_accepted(self, path):
        detector = fitted()
        detector.save(str(path))
        assert_same(LipOCC.load(str(path)), detector)

    def test_a_link_is_followed(self, path, tmp_path):
        link = tmp_path / "link"
        path.write_text("old")
        link.symlink_to(path)
        fitted().save(link)
        assert link.is_symlink()
        assert_same(LipOCC.load(path), fitted())

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_an_interrupted_save_leaves_what_was_there(self, call, path, monkeypatch):
        detector = fitted()
        path.write_text("as it was")

        def interrupt(*arguments):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, call, interrupt)
        with pytest.raises(KeyboardInterrupt):
            detector.save(path)
        assert path.read_text() == "as it was"
        assert list(path.parent.iterdir()) == [path]

    def test_saving_changes_nothing(self, path):
        detector = fitted()
        before = state(detector)
        detector.save(path)
        assert state(detector) == before

    def test_unfitted_detectors_are_refused(self, path):
        with pytest.raises(NotFittedError):
            small().save(path)
        assert not path.exists()


class OwnModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(N_FEATURES, 1)

    def forward(self, x):
        return self.inner(x)


class OwnLinear(nn.Linear):
    pass


@pytest.mark.parametrize(
    "network",
    [
        OwnModule(),
        nn.Sequential(OwnLinear(N_FEATURES, 1)),
        nn.Sequential(nn.Linear(N_FEATURES, 4), nn.GELU(), nn.Linear(4, 1)),
        partial(dense, activation=nn.GELU),
    ],
    ids=["module", "subclass", "torch", "builder"],
)
def test_layers_that_a_file_cannot_hold_are_refused(network, path):
    detector = small(max_iter=1, network=network).fit(rows())
    path.write_text("as it was")
    with pytest.raises(ValueError, match=r"(?s)network.* cannot be saved, got .*: a file holds"):
        detector.save(path)
    assert path.read_text() == "as it was"


def test_effects_that_no_attribute_shows_are_refused(path):
    detector = fitted()
    detector.network_[0].register_forward_hook(lambda module, args, output: output / 2)
    with pytest.raises(ValueError, match="read back, it is not the same"):
        detector.save(path)
    assert not path.exists()


def repacked(path, change, **envelope):
    """Change a file and give it the hash of the change, as an attacker would."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    said = json.loads(header["__metadata__"]["pyod_lipocc"]) | envelope
    tensors = safetensors.torch.load(content)
    change(said["object"]["values"], tensors)
    said["sha256"] = _digest(said["object"], tensors)
    path.write_bytes(safetensors.torch.save(tensors, {"pyod_lipocc": json.dumps(said)}))


class TestRefusals:
    @pytest.fixture
    def file(self, path):
        fitted("module").save(path)
        return path

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.9, 0.9999])
    def test_a_cut_file(self, share, file):
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=rf"{file}.* cut"):
            LipOCC.load(file)

    def test_a_longer_file(self, file):
        file.write_bytes(file.read_bytes() + b"\0")
        with pytest.raises(ValueError, match=rf"{file} is cut or altered"):
            LipOCC.load(file)

    @pytest.mark.parametrize("position", [-1, -500, -1500])
    def test_an_altered_number(self, position, file):
        content = bytearray(file.read_bytes())
        content[position] ^= 1
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{file} is altered: expected the hash .* found"):
            LipOCC.load(file)

    def test_an_altered_description(self, file):
        content = file.read_bytes()
        file.write_bytes(content.replace(b'max_iter\\": 4', b'max_iter\\": 5'))
        assert file.read_bytes() != content
        with pytest.raises(ValueError, match=rf"{file} is altered: expected the hash"):
            LipOCC.load(file)

    @pytest.mark.parametrize(
        "content",
        [
            *(b"", b"text", bytes(100), b"PK\x03\x04" + bytes(200), b"\x80\x04K\x01." * 40),
            (2**62).to_bytes(8, "little") + bytes(100),
            (4).to_bytes(8, "little") + b"null",
            (100).to_bytes(8, "little") + b"[" * 100,
            safetensors.torch.save({"weight": torch.zeros(3)}),
            safetensors.torch.save({"weight": torch.zeros(3)}, {"pyod_lipocc": "[]"}),
        ],
        ids=["empty", "text", "zeros", "zip", "pickle", "long", "null", "deep", "other", "list"],
    )
    def test_a_foreign_file(self, content, path):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{path} is not a file of pyod_lipocc"):
            LipOCC.load(path)

    def test_a_pickle_does_not_run(self, path, tmp_path):
        path.write_bytes(b"cos\nmkdir\n(S'" + str(tmp_path / "ran").encode() + b"'\ntR.")
        with pytest.raises(ValueError, match="is not a file of pyod_lipocc"):
            LipOCC.load(path)
        assert not (tmp_path / "ran").exists()

    def test_a_newer_format(self, file):
        repacked(file, lambda said, tensors: None, format=FORMAT + 1, package="9.9")
        with pytest.raises(ValueError, match=r"has format 3, written by pyod_lipocc 9\.9.*reads"):
            LipOCC.load(file)

    def test_an_absent_file(self, path):
        with pytest.raises(FileNotFoundError):
            LipOCC.load(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda said, tensors: said["fitted"].pop("threshold_"),
            lambda said, tensors: said["fitted"].update(
                threshold_={"kind": "float", "value": "nan"}
            ),
            lambda said, tensors: said["parameters"].update(batch_size="many"),
            lambda said, tensors: tensors["scaling.scale"].zero_(),
            lambda said, tensors: tensors.update(labels_=torch.zeros(3)),
            lambda said, tensors: said["distance"].update(network=1),
            lambda said, tensors: said["fitted"].update(n_features_in_=10**15),
            lambda said, tensors: said["distance"].pop("scaling"),
            lambda said, tensors: said["parameters"].update(unheard_of=1),
            lambda said, tensors: said["parameters"].update(margin={"kind": "eval", "value": "1"}),
            lambda said, tensors: said["parameters"].update(
                network={"kind": "callable", "name": "os.system"}
            ),
            lambda said, tensors: said["fitted"].update(_mu={"kind": "record", "name": "save"}),
            lambda said, tensors: said["distance"]["network"].update(name="LipOCC"),
            lambda said, tensors: said["distance"]["network"].update(attributes={"forward": 1}),
            lambda said, tensors: said["distance"]["network"]["layers"].pop("0"),
            lambda said, tensors: tensors.pop("scaling.scale"),
            lambda said, tensors: tensors.update({"scaling.scale": torch.ones(3)}),
            lambda said, tensors: tensors.update({"network.1.weight": torch.zeros(4, 1, 3, 3)}),
        ],
    )
    def test_a_forged_file_that_is_no_detector(self, change, file):
        repacked(file, change)
        with pytest.raises(ValueError, match=rf"{file} does not hold a LipOCC"):
            LipOCC.load(file)


def test_other_attributes_of_a_forged_file_have_no_effect(path):
    fitted("module").save(path)
    before = LipOCC.load(path)
    repacked(path, lambda said, tensors: said["fitted"].update(decision_function=1, __class__=1))
    assert_same(LipOCC.load(path), before)


@pytest.mark.parametrize(
    ("name", "layer", "attributes"),
    [
        ("module", "1", {"padding": {"kind": "tuple", "items": [9000, 9000]}}),
        ("conv-orthogonal", "1", {"kernel_size": 30_001}),
    ],
)
def test_a_forged_convolution_does_not_fill_the_memory(name, layer, attributes, path):
    fitted(name).save(path)
    repacked(
        path,
        lambda said, tensors: said["distance"]["network"]["layers"][layer]["attributes"].update(
            attributes
        ),
    )
    with pytest.raises(ValueError, match="convolutions that reach at most"):
        LipOCC.load(path)


def test_mutated_files_end_in_an_error_or_an_equal_detector():
    process = FORKED.Process(target=fuzz.main, args=(["--files", "150", "--seed", "1"],))
    process.start()
    process.join()
    assert process.exitcode == 0  # the process has printed what failed


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.lists(values).map(tuple),
    max_leaves=10,
)
arrays = npst.arrays(
    npst.boolean_dtypes()
    | npst.integer_dtypes()
    | npst.unsigned_integer_dtypes()
    | npst.floating_dtypes(sizes=(16, 32, 64))
    | npst.complex_number_dtypes(sizes=(64, 128)),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def there_and_back(value):
    encoder = Encoder()
    text = json.dumps(encoder.encode(value, "value"), allow_nan=False)
    return Decoder(encoder.tensors).decode(json.loads(text))


class TestCodec:
    @given(plain)
    def test_plain_data(self, value):
        assert repr(there_and_back(value)) == repr(value)

    @given(arrays, st.permutations(range(3)))
    def test_arrays_and_their_scalars(self, array, order):
        turned = array.transpose([axis for axis in order if axis < array.ndim])
        result = there_and_back(turned)
        assert result.dtype == turned.dtype.newbyteorder("=")
        assert_array_equal(result, turned)
        if turned.size and turned.dtype.kind != "c":
            scalar = turned.ravel()[0]
            assert_array_equal(there_and_back(scalar), scalar)

    @pytest.mark.parametrize("dtype", [str, object])
    @given(st.lists(st.text(max_size=3), min_size=6, max_size=6))
    def test_text_arrays(self, dtype, texts):
        array = np.array(texts, dtype=dtype).reshape(2, 3)
        result = there_and_back(array)
        assert_array_equal(result, array)
        assert result.dtype.kind == array.dtype.kind

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.bool])
    def test_tensors_keep_precision_and_strides(self, dtype, order):
        tensor = torch.arange(24).reshape(2, 3, 4).to(dtype).permute(order)
        result = there_and_back(tensor)
        assert result.stride() == tensor.stride()
        assert torch.equal(result, tensor)

    def test_tensors_of_colliding_names(self):
        encoder = Encoder()
        nodes = [encoder.encode(torch.tensor(value), "same") for value in (0.0, 1.0)]
        assert [float(one) for one in Decoder(encoder.tensors).decode(nodes)] == [0.0, 1.0]

    @pytest.mark.parametrize(
        "value", [GroupSort2(dim=1), FullSort(), nn.Flatten(0, 2), nn.Unflatten(1, (2, 3))], ids=str
    )
    def test_layers_print_the_same(self, value):
        assert repr(there_and_back(value)) == repr(value)

    @pytest.mark.parametrize(
        "value",
        [
            *({"a": 2}, {1, 2}, b"bytes", 1j, np.longdouble(1), np.array([None]), object(), int),
            *(np.array(["2020"], dtype="M8[Y]"), np.zeros(1, dtype=[("a", int)]), print, Path()),
            *(torch.eye(2).to_sparse(), pd.Series([1]), np.ma.ones(2)),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_other_values_are_refused_by_name(self, value):
        with pytest.raises(ValueError, match=r"^here\.0 cannot be saved"):
            Encoder().encode([value], "here")
