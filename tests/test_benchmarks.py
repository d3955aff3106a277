"""The benchmarks run, agree with the plain way, and say when they miss a target; their figures are not judged here."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmarks.speed import __main__ as command
from benchmarks.speed import (
    cloze_head,
    cocoop,
    compare,
    compiled,
    coop_eval,
    deep_text,
    l2p,
    measure,
    memory,
    roofline,
    soft_verbalizer,
    summary,
    text_side,
    tpt,
    tpt_memory,
    vpt,
    waiting,
)
from benchmarks.speed.measure import Record
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from benchmarks.speed.plain import PlainTexts, difference
from vlprompt import learners
from vlprompt.backbones.products import fast_products
from vlprompt.learners import L2P, CoCoOp, CoOp, CoOpConfig

ROOT = Path(__file__).resolve().parent.parent


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_file_that_is_no_helper_is_a_benchmark() -> None:
    folder = ROOT / "benchmarks" / "speed"
    measuring = [path.stem for path in folder.glob("*.py") if "\ndef run(quick: bool" in path.read_text()]
    assert command.known() == sorted(measuring)


def test_the_quick_text_side_agrees_with_the_plain_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(text_side.run, ["--quick", "--results", str(tmp_path / "r.jsonl")]) == 0
    lines = read(tmp_path / "r.jsonl")
    assert len(lines) == len(text_side.QUICK)
    assert len(capsys.readouterr().out.splitlines()) == len(text_side.QUICK)
    for line in lines:
        assert line["figures"]["features_apart"] < 1e-5
        assert line["figures"]["gradient_apart"] < 1e-5
        assert line["figures"]["ours_gflop_per_s"] > 0


def test_the_quick_vpt_step_agrees_with_the_plain_way(tmp_path: Path) -> None:
    assert measure.main(vpt.run, ["--quick", "--results", str(tmp_path / "r.jsonl")]) == 0
    step, linear = read(tmp_path / "r.jsonl")
    assert step["figures"]["scores_apart"] < 1e-5
    assert step["figures"]["gradient_apart"] < 1e-4
    assert linear["figures"]["times_faster"] > 1


def test_the_quick_passes_over_images_are_equal_kept_or_not(tmp_path: Path) -> None:
    assert measure.main(waiting.run, ["--quick", "--results", str(tmp_path / "r.jsonl")]) == 0
    found = read(tmp_path / "r.jsonl")
    assert [line["setting"]["images"] for line in found] == ["plain", "plain", "random crops", "random crops"]
    assert all(0 < line["figures"]["kept_waiting_share"] < 1 for line in found[1::2])


def test_the_quick_cloze_agrees_with_the_models_own_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloze_head, "BATCH", 2)
    (record,) = cloze_head.run(quick=True)
    assert not record.missed
    assert record.setting["tokens"] == 128
    assert record.figures["scores_apart"] < 1e-5
    assert record.figures["plain_logits_mb"] == pytest.approx(2 * 128 * 50265 * 4 / 1e6)
    assert record.figures["ours_logits_mb"] == pytest.approx(2 * 2 * 4 / 1e6)
    whole = cloze_head.whole
    monkeypatch.setattr(cloze_head, "whole", lambda *given: whole(*given) * 1.001)
    (record,) = cloze_head.run(quick=True)
    assert "scores_apart" in record.missed[0]


def test_the_quick_soft_verbalizer_learns_the_same_from_states_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = soft_verbalizer.run(quick=True)
    assert not record.missed
    assert record.figures["times_faster"] > 1
    made = soft_verbalizer.learner
    starts = iter([0.0, 0.1])

    def other(lm: Any, task: Any) -> Any:
        learner = made(lm, task)
        learner.vectors.data += next(starts)
        return learner

    monkeypatch.setattr(soft_verbalizer, "learner", other)
    (record,) = soft_verbalizer.run(quick=True)
    assert any("vectors_apart" in line for line in record.missed)


def test_a_side_that_disagrees_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = text_side.Plain.run

    def wrong(self: text_side.Plain, above: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        text, gradient = run(self, above)
        return text, gradient * 1.001

    monkeypatch.setattr(text_side.Plain, "run", wrong)
    assert measure.main(text_side.run, ["--quick", "--results", str(tmp_path / "r.jsonl")]) == 1
    assert all("gradient_apart" in line["missed"][0] for line in read(tmp_path / "r.jsonl"))


def test_missed_targets_are_named() -> None:
    figures = {"times_faster": 11.0, "share_of_matmul": 0.6, "features_apart": 1e-7, "gradient_apart": float("nan")}
    least, most = {"times_faster": 12, "share_of_matmul": 0.55}, {"features_apart": 1e-4, "gradient_apart": 1e-4}
    assert measure.misses(figures, least=least, most=most) == [
        "times_faster is 11, wanted 12 or more",
        "gradient_apart is nan, wanted 0.0001 or less",
    ]


def test_the_plain_side_in_chunks_is_the_plain_side(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = model(quick=True)
    learner = CoOp(clip, names(7), CoOpConfig(n_ctx=2))
    above = torch.randn(7, clip.embed_dim, generator=torch.Generator().manual_seed(0))
    text, gradient = text_side.Plain(clip, learner).run(above)
    monkeypatch.setattr(text_side, "PLAIN_CHUNK", 3)
    parts, summed = text_side.Plain(clip, learner).run(above)
    assert difference(parts, text) < 1e-5
    assert difference(summed, gradient) < 1e-5


def test_the_plain_texts_are_the_librarys() -> None:
    clip = model(quick=True)
    texts = PlainTexts(clip, ["cat", "oak tree"], 2, "of a")
    x = clip.embed_tokens(clip.tokenizer(["x"]))[0, 1]
    wanted = clip.model.encode_text(clip.tokenizer(["x x of a cat.", "x x of a oak tree."]))
    context = torch.stack([x, x])
    assert difference(texts.encode(context), wanted) < 1e-6
    assert difference(texts.encode(context, {1: context}), wanted) > 1e-3


@pytest.mark.parametrize(("benchmark", "lines"), [(cocoop, 2), (deep_text, 2), (coop_eval, 1), (l2p, 2)])
def test_the_quick_methods_agree_with_the_plain_way(benchmark: Any, lines: int) -> None:
    records = list(benchmark.run(quick=True))
    assert len(records) == lines
    for record in records:
        assert not record.missed
        assert all(value < 1e-4 for name, value in record.figures.items() if name.endswith("apart"))
        assert all(value > 0 for name, value in record.figures.items() if not name.endswith("apart"))


def test_methods_that_disagree_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = PlainTexts.encode
    monkeypatch.setattr(PlainTexts, "encode", lambda *args, **others: encode(*args, **others).roll(1, 0))
    prompt = L2P.prompt
    monkeypatch.setattr(L2P, "prompt", lambda self, ids: prompt(self, (ids + 1) % len(self.pool)))
    for benchmark in (cocoop, deep_text, coop_eval, l2p):
        assert all("apart" in record.missed[-1] for record in benchmark.run(quick=True))


def test_what_autograd_keeps_counts_once_and_without_weights() -> None:
    weights = torch.ones(1000, requires_grad=True)
    result, kept = measure.kept_bytes(lambda: weights.exp().view(10, 100)[:, :50].square().sum())
    assert kept == 4000  # exp keeps its result, square keeps half of the same
    result.backward()
    assert difference(weights.grad[:50], torch.full((50,), 2 * torch.e**2)) < 1e-6
    assert measure.kept_bytes(lambda: weights.square().sum())[1] == 4000
    assert measure.kept_bytes(lambda: weights.square().sum(), apart=[weights])[1] == 0
    with torch.no_grad():
        assert measure.kept_bytes(lambda: weights.square().sum())[1] == 0


def test_the_loop_over_images_is_the_authors_one_graph() -> None:
    clip = model(quick=True)
    plain = cocoop.Plain(CoCoOp(clip, names(5)))
    batch = cocoop.examples(clip, cocoop.Setting(5, 3, rounds=1))
    step = plain.step(batch)

    def loss() -> torch.Tensor:
        return sum(plain.loss(x, y) for x, y in zip(batch.features, batch.labels, strict=True)) / 3

    plain.zero_grad()
    whole, kept = measure.kept_bytes(loss, [*plain.parameters(), *plain.buffers()])
    whole.backward()
    assert step.kept == pytest.approx(kept, rel=1e-3)
    assert step.loss == pytest.approx(float(whole.detach()), rel=1e-6)
    for name, gradient in step.gradients.items():
        assert difference(gradient, plain.get_parameter(name).grad) < 1e-5
    assert step.gradients.keys() == {"context", *(f"meta_net.{part}" for part in plain.meta_net.state_dict())}


def test_text_encoded_for_every_batch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CoOp, "once", lambda self, name, make: make())
    (record,) = coop_eval.run(quick=True)
    assert record.missed == ["text_encodings is 3, wanted 1 or less"]


def test_a_step_that_keeps_too_much_fails() -> None:
    record = cocoop.measured(model(quick=True), cocoop.Setting(5, 2, rounds=1, faster=1e6, memory=1e-6))
    assert [line.split()[0] for line in record.missed] == ["times_faster", "share_of_memory"]


@pytest.mark.parametrize("benchmark", [memory, tpt_memory])
def test_too_much_memory_fails(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MOST_GB", 0.0)
    (record,) = benchmark.run(quick=True)
    assert "peak_gb" in record.missed[0]


def test_the_quick_tpt_agrees_with_the_plain_way(tmp_path: Path) -> None:
    assert measure.main(tpt.run, ["--quick", "--results", str(tmp_path / "r.jsonl")]) == 0
    (line,) = read(tmp_path / "r.jsonl")
    figures = line["figures"]
    assert figures["features_apart"] < 1e-5
    assert figures["gradient_apart"] < 1e-5
    assert figures["ours_whole_s"] == pytest.approx(figures["ours_text_s"] + figures["image_tower_s"])
    assert figures["plain_whole_s"] > figures["plain_text_s"] + figures["image_tower_s"]


def test_the_plain_tpt_takes_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = model(quick=True)
    plain = text_side.Plain(clip, CoOp(clip, names(5), CoOpConfig(n_ctx=2)))
    encode, seen = plain.texts.encode, []
    monkeypatch.setattr(
        plain.texts, "encode", lambda context, **more: seen.append(context.detach()) or encode(context, **more)
    )
    _, gradient = tpt.plain_image(plain, torch.ones(5, clip.embed_dim))
    assert len(seen) == 2
    assert torch.equal(seen[1], seen[0] - 0.005 * gradient.sign())


def test_the_command_runs_a_benchmark_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    options = ["memory", "--quick", "--results", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = read(path)
    assert line["figures"]["peak_gb"] > line["figures"]["loaded_gb"] * 0.99
    written = path.read_text()
    assert platform.node() not in written or not platform.node()
    assert str(Path.home()) not in written
    assert str(ROOT) not in written


def test_a_quick_run_keeps_nothing_unless_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "r.jsonl")
    record = Record("it", {"classes": 1}, {"seconds": 0.5})
    assert measure.main(lambda quick: [record], ["--quick"]) == 0
    assert not (tmp_path / "r.jsonl").exists()
    measure.main(lambda quick: [record], [])
    measure.main(lambda quick: [record], [])
    assert [line["figures"] for line in read(tmp_path / "r.jsonl")] == [{"seconds": 0.5}] * 2


def test_the_command_names_the_benchmarks_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["speling"])
    assert "text_side" in capsys.readouterr().err


def test_sides_are_timed_in_turn() -> None:
    calls: list[str] = []
    found = measure.in_turn([(lambda: calls.append("a"), 2), (lambda: calls.append("b") or len(calls), 1)], 2)
    assert calls == ["a", "a", "b"] * 2
    assert [value for _, value in found] == [None, 6]


def test_names_are_real_and_different() -> None:
    assert names(1000)[:2] == ["apple", "aquarium fish"]
    assert len({*names(1000)}) == 1000
    with pytest.raises(ValueError, match="asked for"):
        names(10**6)


def test_the_processor_is_named(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A Good One @ 3 GHz\n")
    assert measure.cpu_model(info) == "A Good One @ 3 GHz"
    assert measure.cpu_model(tmp_path / "none")


def test_every_learner_of_images_is_set_against_the_rate() -> None:
    found = list(roofline.run(quick=True))
    every = [(name, learners.learner_class(name)) for name in learners.names()]
    assert {record.setting["learner"] for record in found} == {
        n for n, kind in every if kind.reads in roofline.OF_IMAGES
    }
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


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # what the compiler looks at on its way
def test_a_compiled_step_is_the_same_step_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_below_the_rate_is_said_where_there_is_enough_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.ones(64, 64)

    def judged(rate: float) -> Record:
        return roofline.measured("it", "step", lambda: matrix @ matrix, 1, rate, roofline.QUICK, target=0.6)

    assert judged(1e12).missed == []  # nothing to do, so nothing is asked
    assert not compare.ratios({"figures": judged(1e12).figures})
    monkeypatch.setattr(roofline, "TOO_LITTLE", 0.0)
    assert "share_of_matmul" in judged(1e12).missed[0]
    assert judged(1e-12).missed == []
    assert list(compare.ratios({"figures": judged(1e-12).figures})) == ["share_of_matmul"]


def line(benchmark: str = "it", *, cpu: str = "one", date: str = "2026-01-01", **figures: float) -> dict[str, Any]:
    machine = {"cpu": cpu, "threads": 2, "torch": date}
    setting = {"classes": 1, "rounds": len(figures)}
    return {
        "benchmark": benchmark,
        "date": date,
        "machine": machine,
        "setting": setting,
        "figures": figures,
        "missed": [],
    }


def test_a_ratio_that_fell_is_said_beside_the_last_of_its_kind() -> None:
    known = [
        line(times_faster=90.0),
        line(times_faster=20.0),
        line("other", times_faster=90.0),
        line(cpu="two", times_faster=90.0),
    ]
    assert compare.fallen(line(times_faster=17.1, ours_s=9.0), known) == []
    assert compare.fallen(line(times_faster=16.9), known) == ["times_faster is 16.9, was 20 on 2026-01-01"]
    assert compare.fallen(line(share_of_matmul=0.1, text_times_faster=0.1), known) == [], "new figures"
    assert compare.fallen({**line(times_faster=1.0), "setting": {"classes": 2}}, known) == []
    assert compare.fallen(line(ours_s=2.0), [line(ours_s=1.0)]) == [], "seconds are no ratio"


def test_a_ratio_that_fell_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(value: float) -> int:
        return measure.main(lambda quick: [Record("it", {"classes": 1}, {"times_faster": value})], [])

    monkeypatch.setattr(measure, "RESULTS", tmp_path / "r.jsonl")
    assert [run(2.0), run(1.8), run(1.5), run(1.5)] == [0, 0, 1, 0]
    assert "SLOWER: times_faster is 1.5, was 1.8" in capsys.readouterr().out


def test_committed_results_are_those_of_git() -> None:
    kept = compare.committed(measure.RESULTS)
    assert kept
    assert compare.lines(measure.RESULTS)[: len(kept)] == kept
    assert compare.committed(Path("/nowhere/r.jsonl")) == []


def test_a_run_is_summed_up_beside_the_last_one() -> None:
    rate = {"share_of_matmul": 0.5, "gflop": 100.0, "least_s": 0.5, "ours_s": 1.0, "matmul_gflop_per_s": 200.0}
    roof = {**line("roofline", **rate), "setting": {"learner": "coop", "part": "step", "batch": 32}}
    side = {**line(ours_s=0.05, plain_s=2.0, times_faster=16.0), "missed": ["times_faster is 16, wanted 18 or more"]}
    text = summary.tables([roof, side, line("memory", peak_gb=2.5)], [line(times_faster=20.0)])
    rows = {row.split()[0]: " ".join(row.split()) for row in text.splitlines() if row.strip()}
    assert rows["coop,"] == "coop, step of 32 100 0.5 s 1 s 0.5 –"
    assert rows["it:"].startswith(
        "it: classes 1, rounds 3 50 ms 2 s 16 20 MISSED times_faster is 16, wanted 18 or more"
    )
    assert rows["it:"].endswith("SLOWER times_faster is 16, was 20 on 2026-01-01")
    assert "peak_gb 2.5" in rows["memory:"]


def test_both_sides_multiply_alike() -> None:
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    if setting is None:
        pytest.skip("torch has no such setting")
    seen, before = [], setting.fp32_precision

    def run(quick: bool) -> list[Record]:
        with fast_products():
            seen.append(setting.fp32_precision)
        return []

    measure.main(run, ["--quick"])
    measure.main(run, ["--quick"], as_fit_does=True)
    assert seen[0] == "ieee"
    assert seen[1] != "ieee"
    assert setting.fp32_precision == before
