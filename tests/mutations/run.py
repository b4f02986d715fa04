"""Break a proof or a promise on purpose, one at a time: each change must fail a test.

``make mutations`` copies the package for each mutation, applies it, and runs the tests that are to
notice. It ends with an error if the tests pass, or if the code to change is no longer there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutation(NamedTuple):
    """A change of the source and the tests that must notice it."""

    breaks: str
    file: str
    before: str
    after: str
    tests: str


MUTATIONS = [
    Mutation(
        "boxes are convex",
        "lipschitz/_boxes.py",
        "half_width.clamp_min(0)",
        "half_width",
        "lipschitz/test_boxes.py",
    ),
    Mutation(
        "networks trim the images of the next training",
        "learning.py",
        "least(-f.numpy(), recipe.contamination)",
        "least(f.numpy(), recipe.contamination)",
        "test_learning.py",
    ),
    Mutation(
        "a network that starts from rows and another train by their own rules",
        "learning.py",
        "return list(network.networks)",
        "return [network]",
        "test_learning.py",
    ),
    Mutation(
        "the mean over ranks",
        "distributed.py",
        "flat.div_(self.size)",
        "flat",
        "test_distributed.py",
    ),
    Mutation(
        "the negatives of each rank's own",
        "distributed.py",
        "(self.first(int(rng.integers(2**63))), self.rank)",
        "(self.first(int(rng.integers(2**63))), 0)",
        "test_distributed.py",
    ),
    Mutation(
        "the checksum of the weights of the ranks",
        "training.py",
        "            if iteration % _STEPS_BETWEEN_CHECKS == 0:",
        "            if False:",
        "test_distributed.py",
    ),
    Mutation(
        "the threshold over the rows of all ranks",
        "learning.py",
        "    scores = ranks.concatenate(scores)",
        "    scores = ranks.first(scores)",
        "test_distributed.py",
    ),
    Mutation(
        "the rounding term of certified radii",
        "certificates.py",
        "2 * self.error(X)",
        "0 * self.error(X)",
        "test_certificates.py",
    ),
    Mutation(
        "the constant in certified radii",
        "certificates.py",
        "slack / lipschitz_constant, -np.inf",
        "1.001 * slack / lipschitz_constant, -np.inf",
        "test_certificates.py",
    ),
    Mutation(
        "the rounding of sums of products",
        "lipschitz/proofs/_layers.py",
        "    n_terms = layer.weight.shape[1] + 2\n",
        "    n_terms = 0\n",
        "test_certificates.py",
    ),
    Mutation(
        "the rounding of pooled norms",
        "lipschitz/proofs/_layers.py",
        "    L2NormPool2d: Proof(_contraction, _rounding_of_norms),",
        "    L2NormPool2d: Proof(_contraction, _no_rounding),",
        "contracts/test_layers.py",
    ),
    Mutation(
        "the constant of subspaces",
        "lipschitz/proofs/_layers.py",
        "    return subspace_norm(layer.basis, layer.shrinkage())",
        "    return 0.98 * subspace_norm(layer.basis, layer.shrinkage())",
        "contracts/test_layers.py",
    ),
    Mutation(
        "the offsets of points beyond those of a tree",
        "lipschitz/_search.py",
        "last + offset.min() - error",
        "last + offset.max() - error",
        "lipschitz/test_subspace.py",
    ),
    Mutation(
        "the error of distances in single precision",
        "lipschitz/_search.py",
        "error = e / torch.maximum(",
        "error = 1e-3 * e / torch.maximum(",
        "lipschitz/test_subspace.py",
    ),
    Mutation(
        "how far a turn leaves the manifold",
        "stiefel/_manifold.py",
        "(departure := bound**2 / 4)",
        "(departure := bound**2 / 40)",
        "stiefel/test_steps.py",
    ),
    Mutation(
        "rounding upwards",
        "lipschitz/_arithmetic.py",
        "return nearest if nearest >= value else math.nextafter(nearest, math.inf)",
        "return nearest",
        "test_certificates.py",
    ),
    Mutation(
        "exactly the known classes are bounded",
        "lipschitz/dispatch.py",
        "type(module) in known and",
        "isinstance(module, known) and",
        "contracts/test_known_layers.py",
    ),
    Mutation(
        "instances with another method are not bounded",
        "lipschitz/dispatch.py",
        "not (replaced or hooked)",
        "not hooked",
        "contracts/test_known_layers.py",
    ),
    Mutation(
        "layers with hooks are not bounded",
        "lipschitz/dispatch.py",
        "not (replaced or hooked)",
        "not replaced",
        "contracts/test_known_layers.py",
    ),
    Mutation(
        "no order of the rows changes a bit of the scaling",
        "_moments.py",
        "multiples = (rest + shift) - shift",
        "multiples = rest",
        "test_moments.py",
    ),
    Mutation(
        "no block changes a bit of a training score",
        "dask/_training_scores.py",
        "table.aligned()",
        "table",
        "dask/test_detector.py",
    ),
    Mutation(
        "the digits of a selection are counted under what is known",
        "dask/_selection.py",
        "digits[beginnings == beginning]",
        "digits[beginnings >= beginning]",
        "dask/test_selection.py",
    ),
    Mutation(
        "training scores are raised by held-out rows",
        "learning.py",
        "return max(float(unseen) - lowered, 0.0)",
        "return 0.0",
        "detector/test_training.py",
    ),
    Mutation(
        "components of one row each hardly follow it less where there are more rows",
        "learning.py",
        "share = 1 - max(1 - components / len(rows), 0) / len(folds)",
        "share = 1 - 1 / len(folds)",
        "detector/test_novelty.py",
    ),
    Mutation(
        "explanations and counterfactuals of a row do not depend on the rows beside it",
        "counterfactuals.py",
        "torch.rand((1, 1), generator",
        "torch.rand(share.shape, generator",
        "test_counterfactuals.py",
    ),
    Mutation(
        "workers keep the pages of temporary arrays",
        "dask/_allocator.py",
        "mallopt(_TRIM_THRESHOLD, _LEFT_ON_THE_HEAP)",
        "pass",
        "dask/test_allocator.py",
    ),
    Mutation(
        "covariances are decomposed in double precision",
        "starts/_clusters.py",
        "centred.double()",
        "centred",
        "starts/test_clusters.py",
    ),
    Mutation(
        "training rows are left out of their own score",
        "learning.py",
        "    if len(own):\n",
        "    if False:\n",
        "detector/test_novelty.py",
    ),
    Mutation(
        "labels follow a new threshold",
        "detector.py",
        '{"threshold_": threshold, "labels_": labels, "contamination_": share}',
        '{"threshold_": threshold, "labels_": self.labels_, "contamination_": share}',
        "detector/test_thresholds.py",
    ),
    Mutation(
        "the rank of the conformal threshold",
        "conformal.py",
        "math.ceil(",
        "math.floor(",
        "test_conformal.py",
    ),
    Mutation(
        "ties count in PyOD's confidence",
        "_confidence.py",
        """steps, left=0)""",
        """steps, left=0) - np.isin(scores, self.values)""",
        "detector/test_pyod_contract.py",
    ),
    Mutation(
        "both classes are attacked in the certified ROC AUC",
        "metrics.py",
        "shifts = 2.0 * _shifts",
        "shifts = 1.0 * _shifts",
        "test_metrics.py",
    ),
    Mutation(
        "inference mode is left",
        "_isolation.py",
        "stack.enter_context(torch.inference_mode(False))",
        "pass",
        "test_isolation.py",
    ),
    Mutation(
        "autocast is off",
        "_isolation.py",
        "stack.enter_context(torch.autocast(kind, enabled=False))",
        "pass",
        "test_isolation.py",
    ),
    Mutation(
        "new tensors are on the CPU",
        "_isolation.py",
        'stack.enter_context(torch.device("cpu"))',
        "pass",
        "test_isolation.py",
    ),
    Mutation(
        "the precision is that of a fresh process",
        "_isolation.py",
        "stack.enter_context(_PRECISION)",
        "pass",
        "test_isolation.py",
    ),
    Mutation(
        "numpy does not raise",
        "_isolation.py",
        'np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")',
        "np.errstate()",
        "test_isolation.py",
    ),
    Mutation(
        "a parent in training mode changes no score",
        "signed_distance.py",
        "not any(module.training for module in self.network.modules())",
        "True",
        "test_isolation.py",
    ),
    Mutation(
        "a replaced file keeps its mode",
        "_atomic.py",
        "    os.chmod(path, stat.S_IMODE(model.st_mode))\n",
        "",
        "test_atomic.py",
    ),
    Mutation(
        "a private file is private from the start",
        "_atomic.py",
        "None if replaced is None else lambda name, flags: os.open(name, flags, 0o600)",
        "None",
        "test_atomic.py",
    ),
    Mutation(
        "links are followed",
        "_atomic.py",
        "Path(os.path.realpath(os.fsdecode(path)))",
        "Path(os.fsdecode(path))",
        "test_atomic.py",
    ),
    Mutation(
        "altered files are refused",
        "persistence/_container.py",
        'if found != content.get("sha256"):',
        "if False:",
        "persistence/test_persistence.py",
    ),
    Mutation(
        "a certificate does not outlive its weights",
        "signed_distance.py",
        "or proven[0] != state:",
        "or False:",
        "test_signed_distance.py",
    ),
    Mutation(
        "a file scores in the same bits",
        "signed_distance.py",
        "other._probe().tobytes() == self._probe().tobytes()",
        "True",
        "persistence/test_persistence.py",
    ),
    Mutation(
        "a file does not fill the memory",
        "persistence/_codec.py",
        "    if reach > largest:\n",
        "    if False:\n",
        "persistence/test_persistence.py",
    ),
    Mutation(
        "altered data sets are refused",
        "datasets/_fetch.py",
        "if found != expected:",
        "if False:",
        "datasets/test_fetch.py",
    ),
    Mutation(
        "an altered data set never gets into the cache",
        "datasets/_fetch.py",
        "        _verified(Path(output).read_bytes(), Path(filename), expected)\n",
        "",
        "datasets/test_fetch.py",
    ),
    Mutation(
        "no data file can run code",
        "datasets/_formats.py",
        "allow_pickle=False",
        "allow_pickle=True",
        "datasets/test_files.py",
    ),
    Mutation(
        "a scorer stays in evaluation mode",
        "scorer.py",
        "return super().train(False)",
        "return super().train(mode)",
        "test_scorer.py",
    ),
    Mutation(
        "Algorithm 1 ends at the level",
        "sampler.py",
        "target = level * margin",
        "target = -level * margin",
        "test_sampler.py",
    ),
    Mutation(
        "Algorithm 1 stays in the domain",
        "sampler.py",
        "z = domain.project(z + step.nan_to_num_(0.0, 0.0, 0.0))",
        "z = z + step.nan_to_num_(0.0, 0.0, 0.0)",
        "test_sampler.py",
    ),
    Mutation(
        "counterfactuals lie at the level or beyond",
        "counterfactuals.py",
        "return torch.lerp(x, ends, far)",
        "return torch.lerp(x, ends, near)",
        "test_counterfactuals.py",
    ),
    Mutation(
        "contributions sum to the signed distance",
        "explanations.py",
        "    for _ in range(2):\n",
        "    for _ in range(0):\n",
        "test_explanations.py",
    ),
    Mutation(
        "attacks stay in their balls",
        "attacks.py",
        "torch.where(norm > radius, x + offset * (radius / norm), z)",
        "z",
        "test_attacks.py",
    ),
    Mutation(
        "edits of images fill with the background",
        "negatives/_deformations.py",
        "self._deform(images - ground, generator) + ground",
        "self._deform(images, generator)",
        "negatives/test_images.py",
    ),
    Mutation(
        "pixels have one location and one scale",
        "learning.py",
        "images = recipe.image_shape is not None",
        "images = False",
        "negatives/test_images.py",
    ),
    Mutation(
        "outliers that lie together do not vouch for each other",
        "trimming.py",
        "round(share / 2 * len(references))",
        "0",
        "test_trimming.py",
    ),
    Mutation(
        "the hinge begins at the margin",
        "losses.py",
        "torch.relu(margin - signed)",
        "torch.relu(-signed)",
        "test_losses.py",
    ),
    Mutation(
        "trained weights are retracted",
        "learning.py",
        "polish(network.double().eval())",
        "network.double().eval()",
        "detector/test_training.py",
    ),
    Mutation(
        "names are text on the page of a report",
        "report/__init__.py",
        "autoescape=True",
        "autoescape=False",
        "report/test_report.py",
    ),
    Mutation(
        "radii on the page of a report are rounded downwards",
        "report/_certificates.py",
        "number(r, 3, ROUND_FLOOR)",
        "number(r, 3, ROUND_CEILING)",
        "report/test_report.py",
    ),
    Mutation(
        "a report knows the training rows by the scores of the fit",
        "report/_given.py",
        "alike = own, own + lowered",
        "alike = own, own",
        "report/test_report.py",
    ),
    Mutation(
        "blocks of a collection start where chunks do",
        "dask/_blocks.py",
        "size = chunk_size(self.shape[1])",
        "size = 1",
        "dask/test_detector.py",
    ),
    Mutation(
        "a report takes no new rows for training rows",
        "report/_given.py",
        "np.minimum(*differences) <= tolerance",
        "np.minimum(*differences) <= np.inf",
        "report/test_report.py",
    ),
]


def survives(mutation: Mutation) -> str:
    """Return why a mutation counts as not noticed; empty if a test fails."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("pyod_lipocc", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", copy)
        source = copy / "pyod_lipocc" / mutation.file
        text = source.read_text()
        if text.count(mutation.before) != 1:
            return f"{mutation.file} holds {mutation.before!r} {text.count(mutation.before)} times"
        source.write_text(text.replace(mutation.before, mutation.after))
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", f"tests/{mutation.tests}"],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
    if run.returncode == 1:
        return ""
    return run.stdout[-500:] + run.stderr[-500:]


def main() -> int:
    """Apply every mutation whose description holds the words of the command line."""
    chosen = [m for m in MUTATIONS if all(word in m.breaks for word in sys.argv[1:])]
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutation, reason in zip(chosen, pool.map(survives, chosen), strict=True):
            print(f"{'SURVIVES' if reason else 'caught':9} {mutation.breaks}", flush=True)
            if reason:
                survivors += 1
                print(reason)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations caught")
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main())
