"""The checks of every case of every spec in specs/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archc.archspec.source.catalog import shipped
from archc.proof import checks
from archc.proof.built import Built, use_one_thread
from archc.proof.case import Case
from archc.proof.checks import TOLERANCE
from archc.proof.graph_rules import check_graph
from tests.families.collection import REFERENCES, all_cases, cases_of, module_name
from tests.families.golden import check_golden, recorded_cases
from tests.families.many_sequences import largest_difference
from tests.families.optimum import check_optimum
from tests.families.speculation import differing_tokens

Pair = tuple[str, Case]


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    use_one_thread()
    family, case = request.param
    families_case = Built(family, case, tmp_path_factory.mktemp(f"{family}-{case.name}"))
    yield families_case
    families_case.close()


def every(pairs: list[Pair], first: bool = False) -> pytest.MarkDecorator:
    """Return a parametrization of `built` by cases, named FAMILY-CASE; with `first`, those after the first are slow."""

    def marks(pair: Pair) -> tuple[pytest.MarkDecorator, ...]:
        return (pytest.mark.slow,) if first and pair[1] != cases_of(pair[0])[0] else ()

    params = [pytest.param(pair, id=f"{pair[0]}-{pair[1].name}", marks=marks(pair)) for pair in pairs]
    return pytest.mark.parametrize("built", params, indirect=True, scope="session")


# Slots, the plan, and greedy tokens of a ragged batch with a cache are checked for every case. The other checks concern
# passes and runtime, for which the cases of a family are much alike: those after the first are marked slow.
every_case = every(all_cases())
first_case = every(all_cases(), first=True)
first_decoder = every([pair for pair in all_cases() if pair[1].topology != "encoder"], first=True)


@pytest.mark.parametrize("family", shipped())
def test_every_spec_has_cases(family: str) -> None:
    names = [case.name for case in cases_of(family)]
    assert names, f"specs/{family}.yaml has no reference; write tests/reference/{module_name(family)}.py"
    assert len(set(names)) == len(names)
    recorded = [case for name, case in recorded_cases() if name == family]
    assert recorded == names, f"{family}: outputs are not recorded; run python -m tests.families.record {family}"


def test_every_reference_has_a_spec() -> None:
    modules = {path.stem for path in REFERENCES.glob("*.py") if "CASES" in path.read_text("utf-8")}
    assert modules == {module_name(family) for family in shipped()}


@every_case
def test_weight_table_fills_every_slot(built: Built) -> None:
    checks.check_slots(built)


@every_case
def test_parameter_count(built: Built) -> None:
    checks.check_parameters(built)


@every_case
def test_plan(built: Built) -> None:
    assert checks.check_plan(built) < TOLERANCE


@first_case
def test_torch_module(built: Built) -> None:
    assert checks.check_torch(built) < TOLERANCE


@first_case
def test_portable_graph(built: Built) -> None:
    assert checks.check_portable(built) < TOLERANCE


@first_case
def test_layout_of_optimum(built: Built) -> None:
    assert check_optimum(built) < TOLERANCE


@first_decoder
def test_many_sequences(built: Built) -> None:
    assert largest_difference(built) < TOLERANCE


@first_decoder
def test_speculation(built: Built) -> None:
    assert differing_tokens(built) == 0


@first_decoder
def test_cached_decoding(built: Built) -> None:
    assert checks.check_cache(built) < TOLERANCE


@first_case
def test_ragged_batch(built: Built) -> None:
    assert checks.check_ragged(built) < TOLERANCE


@every_case
def test_golden(built: Built) -> None:
    check_golden(built)


@first_case
def test_graph_rules(built: Built) -> None:
    for path in built.portable.glob("*.onnx"):
        check_graph(path)
