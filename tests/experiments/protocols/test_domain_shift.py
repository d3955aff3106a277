"""Leave-one-domain-out: every domain is left out once, and not trained on."""

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from tests.experiments.protocols.conftest import DOMAINS
from vlprompt.experiments.protocols import domain_shift
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.report import tables


def test_leaving_one_domain_out(make_runner: MakeRunner, domains: vp.Task, trained: list[tuple[str, vp.Task]]) -> None:
    specs = [LearnerSpec.parse("zero_shot"), LearnerSpec.parse("coop", {"coop": {"n_ctx": 2}})]
    found = list(domain_shift.run(make_runner(epochs=1), domains, [], specs, shots=1, seeds=[1]))
    assert [each.task for each in found[::2]] == [f"digits/left-out/{name}" for name in DOMAINS]
    assert {each.examples for each in found} == {60}
    for _, task in trained:
        left = task.domains.index(task.name.rpartition("/")[2])
        assert all(example.domain != left for example in task.train)
        assert {example.domain for example in task.test} == {left}
    table = tables.pairs_table(found, "markdown", protocol="leave_one_out")
    rows = [line.split(" | ")[0].strip("| ") for line in table.splitlines()[5:]]
    assert rows == ["drawn", "printed", "scanned", "average"]
