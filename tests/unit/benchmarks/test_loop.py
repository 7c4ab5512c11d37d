"""What the loop says of each claim, from files as `evaluate` and `refine` write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import ablations, loop


def measure(verifier: str, name: str, k: int, value: float) -> dict[str, object]:
    return {"verifier": verifier, "subset": "", "measure": name, "k": k, "value": value}


RISING = [{"turn": at, "accuracy": one} for at, one in enumerate((0.5, 0.7, 0.8))]


def write(work: Path, maj: float = 0.9, chosen: float = 0.8, turns: tuple[float, ...] = ()) -> None:
    rows = [
        measure("verifier", "f1", 1, 0.85), measure("verifier", "f1", 8, maj),
        measure("verifier", "f1_spread", 1, 0.02), measure("not-run", "f1", 1, 0.5),
        measure("direct", "f1", 1, 0.6), measure("untrained", "f1", 1, 0.1),
        measure("untrained-direct", "f1", 1, 0.2),
    ]  # fmt: skip
    choices = [
        measure("verifier", name, k, value)
        for k in (1, 8)
        for name, value in (("argmax_min", chosen), ("vote_min", 0.7), ("majority", 0.7),
                            ("pass_at_n", 0.9))
    ]  # fmt: skip
    standing = [{"turn": at, "accuracy": one} for at, one in enumerate(turns or (0.5, 0.6, 0.7))]
    for part, content in zip(
        loop.PARTS, ({"measures": rows}, {"measures": choices}, standing, RISING), strict=True
    ):
        (work / part).parent.mkdir(parents=True, exist_ok=True)
        (work / part).write_text(json.dumps(content))


def said(work: Path) -> dict[str, bool]:
    return {claim.what: claim.holds for claim in loop.claims(work)}


def test_every_claim_is_shown_where_its_figures_show_it(tmp_path: Path) -> None:
    write(tmp_path)
    assert all(said(tmp_path).values())
    assert len(said(tmp_path)) == 8


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        ({"maj": 0.85}, "Maj@8 above Pass@1"),
        ({"chosen": 0.7}, "best of 8 by lowest step above majority of 8"),
        ({"turns": (0.5, 0.6, 0.6)}, "refinement raises accuracy over two turns"),
    ],
)
def test_a_tie_or_a_fall_is_a_no(change: dict[str, float], claim: str, tmp_path: Path) -> None:
    write(tmp_path, **change)  # type: ignore[arg-type]
    assert [what for what, holds in said(tmp_path).items() if not holds] == [claim]


def test_without_the_files_there_is_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loop.main(["--work", str(tmp_path), "--only-table"]) == 2
    assert "no table yet" in capsys.readouterr().out
    write(tmp_path)
    assert loop.main(["--work", str(tmp_path), "--only-table"]) == 0
    assert json.loads((tmp_path / "loop.json").read_text())["claims"][0]["holds"] is True


def test_the_ablations_draw_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "loop")
    work = tmp_path / "ablations"
    for name in ("hard", "both"):
        rows = [measure("verifier", name, k, 0.8) for name in ("f1", "f1_spread") for k in (1, 4)]
        (work / name).mkdir(parents=True)
        (work / name / "measures.json").write_text(json.dumps({"measures": rows}))
    arguments = ["--work", str(work), "--loop", str(tmp_path / "loop"), "--only-tables"]
    assert ablations.main(arguments) == 0
    assert {file.name for file in work.glob("*.png")} == {
        "labels.png", "components.png", "figure3_best_of_n.png", "figure4_refinement.png",
    }  # fmt: skip
