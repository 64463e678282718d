from __future__ import annotations

from tests.families.architectures import OUT, listed, page


def test_the_page_is_up_to_date() -> None:
    assert OUT.read_text("utf-8") == page(), "run python -m tests.families.architectures --write"


def test_no_architecture_is_listed_twice() -> None:
    names = [model_type for model_type, _, _ in listed()]
    assert names == sorted(set(names))
