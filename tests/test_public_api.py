"""What users may rely on. A change here is a change for them: say so in the changelog."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from small import cloud, small

import pyod_lipocc
from pyod_lipocc import LipOCC

MODULES = {
    "": "LipOCC SignedDistance __version__",
    "adengine": "register",
    "attacks": "nes_l2 pgd_l2",
    "callbacks": "Callback EarlyStopping ProgressBar TensorBoard WeightAveraging",
    "certificates": "Certificate certified_radius",
    "dask": "LipOCC",
    "conformal": "conformal_p_values conformal_threshold minimum_calibration",
    "counterfactuals": "Counterfactuals counterfactual",
    "datasets": """
        ADBENCH_NAMES Dataset LABEL_NAMES ODDS_NAMES OneClassDataset SHAPE_NAMES
        TOY_NAMES load_adbench load_digits_one_class load_file load_mnist load_odds
        load_toy toy_signed_distance
    """,
    "detector": "LipOCC",
    "distributed": "ALONE Ranks",
    "domains": "Ball Box Domain",
    "explanations": "explain",
    "export": "to_onnx",
    "learning": """
        Learned continue_learning learn leaves_rows_out rise scored training_scores
    """,
    "lipschitz": """
        FullSort GaussianBlur GlobalL2NormPool2d GroupSort2 InvertibleDownsampling2d
        L2NormPool2d Maximum Mean Minimum NearestBox NearestSubspace
        OrthogonalConv2d OrthogonalLinear ReshapedConv2d ScaledAvgPool2d conv conv_deep dense
        fold frozen lipschitz_bound norm_preserving parameter_groups polish
    """,
    "losses": "Loss binary_cross_entropy hkr",
    "metrics": """
        best_threshold_accuracy certified_accuracy_score certified_error_rates
        certified_roc_auc_curve certified_roc_auc_score chamfer_distance eikonal_error
        hausdorff_distance sdf_rmse
    """,
    "negatives": """
        Away CutPaste Erase ImageAugmentation LocalNoise Mixture Overlay PatchShuffle
        Proposal Rotate Warp gaussian nearest_distance push_away shuffled_marginals uniform
    """,
    "persistence": "FORMAT digest is_plain load save",
    "plotting": """
        plot_certified_roc_auc plot_contours plot_explanation plot_histograms
        plot_history plot_images
    """,
    "recipe": "NETWORKS OPTIMIZERS Recipe Training automatic build starts_from_rows",
    "report": "render",
    "sampler": "Sampler Score newton_raphson signed",
    "scorer": "Scorer",
    "shapes": "Cuboid Shape Shells Surface Torus unit_shapes",
    "stiefel": """
        StiefelAdam StiefelRMSprop nearest_point orthogonality_error project_tangent
        retract sample_stiefel
    """,
    "signed_distance": "SignedDistance",
    "starts": """
        clusters inscribed_balls k_subspaces nearest_subspace principal_subspace prototypes
    """,
    "synthesis": "sample",
    "thresholds": "ThresholdRule",
    "training": """
        Callback EarlyStopping History LinearDecay ProgressBar Schedule WeightAveraging
        train
    """,
    "trimming": "inliers least",
    "units": "Scaling",
}

PARAMETERS = {
    "contamination": 0.1,
    "novelty": False,
    "network": "auto",
    "margin": "auto",
    "regularization": 100.0,
    "n_newton_steps": "auto",
    "domain": "auto",
    "negatives": "auto",
    "standardize": True,
    "threshold": "contamination",
    "alpha": 0.05,
    "attack_radius": 0.0,
    "image_shape": None,
    "max_iter": "auto",
    "batch_size": "auto",
    "learning_rate": "auto",
    "optimizer": "adam",
    "sampler": "auto",
    "n_warmup_steps": 0,
    "callbacks": None,
    "device": None,
    "process_group": None,
    "random_state": None,
    "verbose": 0,
}

METHODS = {
    *("fit", "partial_fit", "fit_predict", "set_threshold", "save", "load", "to_torch", "to_onnx"),
    *("decision_function", "signed_distance", "certified_radius", "sample", "counterfactual"),
    *("explain", "predict", "predict_proba", "predict_confidence", "predict_with_rejection"),
    *("compute_rejection_stats", "get_params", "set_params", "report", "for_scoring"),
}

FITTED = {
    *("decision_scores_", "threshold_", "labels_", "n_features_in_", "n_iter_", "history_"),
    *("network_", "margin_", "domain_", "scaling_", "lipschitz_constant_"),
    *("calibration_scores_", "contamination_", "distance_", "fit_seconds_"),
}


@pytest.mark.parametrize("name", MODULES)
def test_names_of_a_module(name):
    module = importlib.import_module(f"pyod_lipocc.{name}".rstrip("."))
    assert sorted(module.__all__) == MODULES[name].split()
    assert all(hasattr(module, public) for public in module.__all__)


def test_every_public_module_is_pinned():
    found = {module.name for module in pkgutil.iter_modules(pyod_lipocc.__path__)}
    assert {name for name in found if not name.startswith("_")} == {*MODULES} - {""}


def test_parameters_and_their_defaults():
    parameters = inspect.signature(LipOCC).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == PARAMETERS
    kinds = [parameter.kind for parameter in parameters.values()]
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    assert kinds == [inspect.Parameter.POSITIONAL_OR_KEYWORD, *[keyword_only] * (len(kinds) - 1)]


def test_methods_are_documented():
    for name in METHODS:
        assert inspect.getdoc(getattr(LipOCC, name)), name


def test_fitted_attributes():
    detector = small(max_iter=1).fit(cloud())
    found = {name for name in dir(detector) if name[0] != "_" and name[-1] == "_"}
    assert found == FITTED
    assert all(hasattr(detector, name) for name in FITTED)
