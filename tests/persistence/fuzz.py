"""Load mutated files of detectors: each must be refused, or give an equal detector.

Half of the mutations are of bytes. The other half change the description or the list of tensors and
write the hash that belongs to the change, as an attacker would: such a file may give another
detector, which must then score. Whatever else happens is a failure: another exception, a load of
more than `SECONDS`, more than `MEGABYTES` above the start, an import, a compilation, a process or
a file opened other than the one to be read. A crash of the process shows as its exit status.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
import torch
import torch._subclasses.schema_check_mode  # torch imports it where it first raises some errors

from pyod_lipocc import LipOCC
from pyod_lipocc.lipschitz import FullSort, Mean, NearestSubspace, OrthogonalConv2d, conv, dense
from pyod_lipocc.persistence._container import _digest
from pyod_lipocc.training import EarlyStopping, LinearDecay

SECONDS = 5
MEGABYTES = 1000
FORBIDDEN = ("compile", "exec", "import", "os.", "pickle.", "shutil.", "socket.", "subprocess.")
VALUES = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, "", "auto"),
    *(
        "dense",
        "save",
        "load",
        "os.system",
        "torch.Linear",
        "NearestSubspace",
        "LipOCC",
        "__class__",
    ),
    *([], {}, [[]], {"kind": "float", "value": "nan"}, {"kind": "callable", "name": "dense"}),
    *({"kind": "partial", "function": {"kind": "callable", "name": "conv"}},),
    *({"kind": "tensor", "name": "history_.loss"}, {"kind": "layer", "name": "FullSort"}),
)


def detectors():
    """Fit small detectors that together hold every kind of value."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 16))
    module = torch.nn.Sequential(
        *(torch.nn.Unflatten(1, (1, 4, 4)), torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU()),
        *(torch.nn.Flatten(), torch.nn.Linear(16, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)),
    )
    settings = (
        {"network": partial(dense, hidden=(8, 9), activation=FullSort), "standardize": False},
        {
            "network": partial(conv, width=6, depth=2, convolution=OrthogonalConv2d),
            "image_shape": (4, 4),
            "callbacks": [EarlyStopping()],
            "learning_rate": LinearDecay(1e-2, 0.0),
            "random_state": np.random.default_rng(0),
        },
        {"network": module, "random_state": np.random.RandomState(0), "threshold": "boundary"},
        {"network": Mean(NearestSubspace(16, 3, 2), NearestSubspace(16, 4, n_nearest=2))},
    )
    frame = pd.DataFrame(rows, columns=[f"feature {index}" for index in range(16)])
    return [LipOCC(**{"max_iter": 3, "random_state": 0} | chosen).fit(frame) for chosen in settings]


def mutate_bytes(content, rng):
    """Damage a file as disks, networks and editors do."""
    start, stop = np.sort(rng.integers(len(content), size=2))
    stop = min(stop, start + rng.integers(1, 100))
    noise = rng.bytes(stop - start)
    header = 8 + int.from_bytes(content[:8], "little")
    in_header = int(rng.integers(header))
    flipped = bytearray(content)
    for position in rng.integers(header if rng.random() < 0.5 else len(content), size=3):
        flipped[position] ^= 1 << int(rng.integers(8))
    length = int(rng.integers(2**63)) >> int(rng.integers(63))
    return (
        lambda: bytes(flipped),
        lambda: content[:start],
        lambda: content[:in_header],
        lambda: content[:start] + noise + content[stop:],
        lambda: content[:start] + noise + content[start:],
        lambda: content[:start] + content[stop:],
        lambda: content[:stop] + content[start:],
        lambda: content[:start] + bytes(stop - start) + content[stop:],
        lambda: length.to_bytes(8, "little") + content[8:],
        lambda: content[:in_header] + b" " + content[in_header + 1 :],
        lambda: content + noise,
        lambda: rng.bytes(int(rng.integers(1000))),
    )[rng.integers(12)]()


def places(node):
    """List every (container, key) of a piece of JSON."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, value in items:
        found.append((node, key))
        if isinstance(value, dict | list):
            found += places(value)
    return found


def mutate_description(content, rng):
    """Change what a file says, and give it the hash of the change."""
    header = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + header])
    said = json.loads(entries.pop("__metadata__")["pyod_lipocc"])
    tensors = safetensors.torch.load(content)
    if rng.random() < 0.3:
        name = str(rng.choice([*tensors]))
        change = rng.integers(4)
        if change == 0:
            del tensors[name]
        elif change == 1:
            tensors[name] = tensors[name].reshape(-1)[: rng.integers(3)].clone()
        elif change == 2:
            tensors[name] = tensors[name].to(rng.choice([torch.int8, torch.float32, torch.bool]))
        else:
            tensors[name] = torch.full_like(tensors[name], rng.choice([0, 1, 100]))
    for _ in range(rng.integers(1, 3)):
        everywhere = places(said["object"])
        container, key = everywhere[rng.integers(len(everywhere))]
        other, other_key = everywhere[rng.integers(len(everywhere))]
        change = rng.integers(4)
        if change == 0:
            del container[key]
        elif change == 1 and isinstance(container, dict):
            container[VALUES[rng.integers(14, 22)]] = container.pop(key)
        elif change == 2:
            container[key] = json.loads(json.dumps(other[other_key]))
        else:
            container[key] = json.loads(json.dumps(VALUES[rng.integers(len(VALUES))]))
    said["sha256"] = _digest(said["object"], tensors)
    return safetensors.torch.save(tensors, {"pyod_lipocc": json.dumps(said)})


class Watch:
    """Counts what a load must not do; audit hooks cannot be removed, so it is switched."""

    def __init__(self):
        self.allowed = None
        self.seen = []
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if self.allowed is None:
            return
        if event == "open":
            if str(arguments[0]) != self.allowed:
                self.seen.append(f"open {arguments[0]}")
        elif event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments}"[:80])


def outcome(path, original, forged, watch, rows):
    """Load a file; return what came of it, starting with "FAILED" where that must not be."""
    watch.allowed, watch.seen = str(path), []
    started = time.perf_counter()
    try:
        detector = LipOCC.load(path)
    except ValueError:
        detector = None
    except BaseException as error:
        return f"FAILED: {error!r}"
    finally:
        watch.allowed = None
    if time.perf_counter() - started > SECONDS:
        return f"FAILED: took {time.perf_counter() - started:.0f} s"
    if watch.seen:
        return f"FAILED: {watch.seen[:3]}"
    if detector is None:
        return "refused"
    if not forged:
        detector.save(path)
        return "equal" if path.read_bytes() == original else "FAILED: another detector"
    try:
        detector.decision_function(rows)
    except Exception as error:
        return f"loaded, refuses to score: {type(error).__name__}"
    return "loaded, scores"


def megabytes():
    """Return the most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that failed")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rng = np.random.default_rng(arguments.seed)
    counts = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.safetensors"
        originals = []
        for detector in detectors():
            detector.save(path)
            LipOCC.load(path)
            originals.append(path.read_bytes())
        rows = pd.DataFrame(np.ones((2, 16)), columns=detector.feature_names_in_)
        detector.decision_function(rows)
        watch, before = Watch(), megabytes()
        for number in range(arguments.files):
            original = originals[rng.integers(len(originals))]
            forged = bool(number % 2)
            mutant = (mutate_description if forged else mutate_bytes)(original, rng)
            path.write_bytes(mutant)
            result = outcome(path, original, forged, watch, rows)
            counts["forged" if forged else "damaged", result] += 1
            if result.startswith("FAILED") and arguments.keep:
                (arguments.keep / f"{number}.safetensors").write_bytes(mutant)
    grown = megabytes() - before
    for (kind, result), count in sorted(counts.items()):
        print(f"{kind:8}{count:7}  {result}")
    print(f"memory grew by {grown:.0f} MB")
    failed = sum(count for (_, result), count in counts.items() if result.startswith("FAILED"))
    sys.exit(1 if failed or grown > MEGABYTES else 0)


if __name__ == "__main__":
    main()
