"""Benchmarks of image towers."""

from benchmarks.speed import vpt, waiting


def test_a_vpt_step_agrees_with_the_baseline() -> None:
    step, linear = vpt.run(quick=True)
    assert not step.missed
    assert step.figures["scores_apart"] < 1e-5
    assert step.figures["gradient_apart"] < 1e-4
    assert linear.figures["times_faster"] > 1


def test_passes_over_images_are_equal_with_and_without_a_cache() -> None:
    found = list(waiting.run(quick=True))
    assert not any(record.missed for record in found)
    assert [record.setting["images"] for record in found] == ["plain", "plain", "random crops", "random crops"]
    assert all(0 < record.figures["kept_waiting_share"] < 1 for record in found[1::2])
