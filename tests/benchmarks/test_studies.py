from __future__ import annotations

from benchmarks.studies import signed_distance
from benchmarks.studies.toy import __main__ as toy


def test_signed_distances_have_a_row_each_and_pictures(tmp_path):
    selected = ["--networks", "dense", "--shapes", "shell", "torus"]
    signed_distance.main(["--quick", *selected, "--output", str(tmp_path)])
    page = (tmp_path / "signed-distance.md").read_text(encoding="utf-8")
    assert "--networks dense --shapes shell torus" in page
    rows = [line.split(" | ")[:3] for line in page.splitlines() if "| dense |" in line]
    assert rows == [["| 2", "shell", "dense"], ["| 3", "shell", "dense"], ["| 3", "torus", "dense"]]
    assert (tmp_path / "signed-distance-plane.png").stat().st_size > 0


def test_toy_experiment_draws_what_was_run_and_runs_nothing_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(toy, "RESOLUTION", 50)
    selected = ["--sets", "two-moons", "disc", "--models", "lipocc", "ocsvm", "conventional"]
    command = [*selected, "--hidden", "8", "--max-iter", "20", "--output", str(tmp_path)]
    toy.main(command)
    files = sorted(tmp_path.glob("cache/*.npz"))
    assert len(files) == 6
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert page.count("hidden [8]") == 4
    assert all((tmp_path / f"{name}.png").exists() for name in ("contours", "shapes", "histograms"))
    made = [file.stat().st_mtime_ns for file in files]
    toy.main(command)
    assert [file.stat().st_mtime_ns for file in files] == made
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page
