from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archc.archspec.checking.expressions import Expression, parse
from archc.archspec.checking.functions import FUNCTIONS, ExpressionError

NAMES = {
    "n": 4,
    "x": 2.5,
    "yes": True,
    "word": "local",
    "xs": [3, 1, 2],
    "kinds": ["a", "b"],
    "empty": None,
    "m": {"k": 7},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n // 3 + 1", 2),
        ("-n % 3", 2),
        ("n / 8", 0.5),
        ("2 ** n - -2 ** 2", 20),
        ("x ** 2", 6.25),
        ("10000 ** (n / -8)", 0.01),
        ("n if yes else none", 4),
        ("none if yes else n", None),
        ("word == 'local' and n > 3", True),
        ("1 < n <= 4 != 5", True),
        ("'a' in kinds", True),
        ("word not in ['a', 'b']", True),
        ("'k' in m and 'z' not in m", True),
        ("xs[n - 4]", 3),
        ("m['k']", 7),
        ("max(xs) + min(1, n)", 4),
        ("round(2.567, 2)", 2.57),
        ("ceil(x) * floor(x)", 6),
        ("int(sqrt(n))", 2),
        ("log2(n)", 2.0),
        ("exp2(n)", 16.0),
        ("exp(n - 4)", 1.0),
        ("len(xs)", 3),
        ("first(xs) - first(n)", -1),
        ("index(kinds, 'b')", 1),
        ("'cal' in word", True),
        ("'cal' not in word", False),
        ("lower('Ab')", "ab"),
        ("lower(empty)", ""),
        ("make_divisible(100, 8)", 104),  # a tie goes up
        ("make_divisible(99.9, 8)", 96),
        ("make_divisible(11, 8)", 16),  # 8 is more than a tenth less
        ("make_divisible(1, 8)", 8),
        ("make_divisible(x * 640, 256)", 1536),
        ("empty or 5", 5),
        ("not empty", True),
        ("true == 1", False),
        ("abs(-n)", 4),
        ("2 if n == 4.0 else 3", 2),
    ],
)
def test_values(text: str, value: object) -> None:
    actual = parse(text).evaluate(NAMES)
    assert actual == value
    assert type(actual) is type(value)


def test_names_are_known_before_evaluation() -> None:
    expression = parse("max(a, b[c]) if true else none")
    assert expression.names == {"a", "b", "c"}
    assert parse("a").is_name
    assert not parse("none").is_name


@pytest.mark.parametrize(
    "text",
    [
        "n.real",
        "().__class__",
        "__import__('os')",
        "open('x')",
        "lambda: 1",
        "[i for i in xs]",
        "xs[1:2]",
        "f'{n}'",
        "n := 3",
        "max",
        "1 if",
        pytest.param("", id="empty"),
        "a b",
        "n; n",
        "n is 3",
        "1j",
        "b'a'",
        "...",
        "~n",
        "n @ n",
        "n << 9",
        "n & 1",
        "max(*xs)",
        "max(key=n)",
        "min()",
        "sqrt(1, 2)",
        "{1: 2}",
        "{1}",
        "await n",
        "yield",
        pytest.param("(" * 300 + "n" + ")" * 300, id="nested parentheses"),
        pytest.param("-" * 900 + "n", id="many signs"),
        pytest.param("not " * 200 + "n", id="many nots"),
        pytest.param("n" * 2000, id="long name"),
        pytest.param("\0", id="NUL"),
        pytest.param("9" * 500, id="long number"),
        "1e999",
    ],
)
def test_invalid_expressions(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n / 0", "division by zero"),
        ("n % 0", "division by zero"),
        ("n // 0.0", "division by zero"),
        ("word * 3", "expected a number, got 'local'"),
        ("'a' * 99999", "expected a number"),
        ("xs * 9", "expected a number"),
        ("yes + 1", "expected a number, got true"),
        ("empty + 1", "expected a number, got null"),
        ("word < 3", "expected a number"),
        ("1 if word else 2", "expected a condition, got the text 'local'"),
        ("xs[3]", "index 3 is out of range for a list of 3"),
        ("xs[0 - 1]", "index -1 is out of range for a list of 3"),
        ("xs[yes]", "expected an integer as index of a list, got true"),
        ("5[0]", "expected a list, a mapping or text before '[', got 5"),
        ("word[5]", "index 5 is out of range for text of 5"),
        ("m['z']", "key 'z' not found in"),
        ("3 in word", "expected a list or a mapping after 'in', got 'local'"),
        ("'a' in n", "expected a list or a mapping after 'in', got"),
        ("lower(n)", "expected text, got"),
        ("sqrt(0 - 1)", "cannot be computed"),
        ("exp2(5000)", "cannot be computed"),
        ("exp(5000)", "cannot be computed"),
        ("log(0)", "cannot be computed"),
        ("9**9**9", "larger than 2**63"),
        ("2**64", "larger than 2**63"),
        ("2.0**5000", "larger than 2**63"),
        ("(0 - 8)**0.5", "-8 ** 0.5 is not a real number"),
        ("0**(0 - 1)", "0 ** -1 is not a real number"),
        ("'a'**2", "expected a number"),
        ("int(1e300)", "larger than 2**63"),
        ("9223372036854775807 * n", "larger than 2**63"),
        ("1e308 * 10", "not a finite number"),
        ("round(n, 0 - 99999999)", "digits"),
        ("round(n, 0.5)", "digits"),
        ("first([])", "an empty list has no first item"),
        ("index(kinds, n)", "is not in"),
        ("index(n, n)", "expected a list, got"),
        ("len(5)", "expected a list, a mapping or text, got 5"),
        ("make_divisible(n, 0)", "expected a positive integer as divisor, got 0"),
        ("make_divisible(n, 2.5)", "expected a positive integer as divisor, got 2.5"),
        ("make_divisible(word, 8)", "expected a number, got 'local'"),
        ("max([])", "at least one number"),
        ("absent + 1", "has no value"),
    ],
)
def test_expressions_without_a_value(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse(text).evaluate(NAMES)
    assert message in str(raised.value)


_ATOMS = st.sampled_from([*NAMES, "0", "1", "7", "2.5", "'a'", "none", "true", "9223372036854775807", "1e308"])

_TEXTS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format,
            inner,
            st.sampled_from(["+", "-", "*", "/", "//", "%", "<", "==", "in", "and", "or", "**", ".", "@"]),
            inner,
        ),
        st.builds("{}({}, {})".format, st.sampled_from([*FUNCTIONS, "eval"]), inner, inner),
        st.builds("{}({})".format, st.sampled_from([*FUNCTIONS, "type"]), inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("-{}".format, inner),
    ),
    max_leaves=12,
)


@given(_TEXTS | st.text(max_size=40))
def test_any_text_has_a_value_or_an_error(text: str) -> None:
    started = time.monotonic()
    try:
        expression = parse(text)
        assert isinstance(expression, Expression)
        expression.evaluate(NAMES)
    except ExpressionError as error:
        message = str(error)
        assert message
    assert time.monotonic() - started < 1
