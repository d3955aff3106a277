"""Every learner relative to the rate of matrix products, and compiled steps."""

import pytest
import torch

from benchmarks.speed import compiled, roofline
from benchmarks.speed.common import records
from benchmarks.speed.common.records import Record
from vlprompt import methods


def test_every_learner_of_images_is_measured() -> None:
    found = list(roofline.run(quick=True))
    kinds = [(name, methods.learner_class(name)) for name in methods.names()]
    assert {record.setting["learner"] for record in found} == {n for n, kind in kinds if not kind.needs.input.of_texts}
    assert not any(record.missed for record in found)
    for record in found:
        figures = record.figures
        assert figures["share_of_little"] == pytest.approx(figures["least_s"] / figures["ours_s"])
        assert figures["least_s"] == pytest.approx(figures["gflop"] / figures["matmul_gflop_per_s"])
    gflop = {(r.setting["learner"], r.setting["part"]): r.figures["gflop"] for r in found}
    batch, width, classes = roofline.QUICK.features, 48, roofline.QUICK.classes
    assert gflop["linear", "evaluation"] == pytest.approx(2e-9 * batch * width * classes)
    assert gflop["linear", "step"] == pytest.approx(2 * gflop["linear", "evaluation"])  # features need no gradient
    assert gflop["full", "step"] > 2.5 * gflop["full", "evaluation"] > gflop["vpt", "evaluation"]
    assert gflop["coop", "evaluation"] > 1e-3, "text is part of an evaluation"


def test_a_low_share_misses_the_target_where_there_are_enough_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.ones(64, 64)

    def measured(rate: float) -> Record:
        return roofline.measured("it", "step", lambda: matrix @ matrix, 1, rate, roofline.QUICK, target=0.6)

    assert measured(1e12).missed == []  # too few operations for a target
    assert not records.ratios({"figures": measured(1e12).figures})
    monkeypatch.setattr(roofline, "TOO_LITTLE", 0.0)
    assert "share_of_matmul" in measured(1e12).missed[0]
    assert measured(1e-12).missed == []
    assert list(records.ratios({"figures": measured(1e-12).figures})) == ["share_of_matmul"]


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler reads it
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
def test_a_compiled_step_agrees_or_misses_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(compiled.run(quick=True))
    assert [record.setting["learner"] for record in found] == list(compiled.LEARNERS)
    assert not any(record.missed for record in found)
    for record in found:
        figures = record.figures
        assert figures["gained"] == pytest.approx(figures["ours_s"] / figures["compiled_s"])
        assert (figures["pays_after_steps"] > 0) == (figures["gained"] > 1)
    monkeypatch.setattr(torch, "compile", lambda loss, backend: lambda batch: loss(batch) * 1.01)
    missed = next(compiled.run(quick=True)).missed
    assert [line.partition(" ")[0] for line in missed] == ["loss_apart", "gradient_apart"]
