"""Special tokens in chat: tokens of the template, text in messages; and templates see the messages unchanged."""

from __future__ import annotations

import pytest

from archc.runtime.text import chat
from archc.runtime.text.json_file import JsonTokenizer
from archc.runtime.text.tokenizer import Tokenizer
from tests.runtime.text.tokenizers_of_tests import sentencepiece_like
from tests.runtime.tiny import bytes_tokenizer

CONTENT = "<x>\nreason\n</x>\n\nanswer"
MARKED = "···\n······\n····\n\n······"
ONE = "messages[0].content"


def shown(rendered):
    """Return the text with a dot for each untrusted character except line breaks."""
    text = list(rendered.text)
    for first, last in rendered.untrusted:
        text[first:last] = ["\n" if char == "\n" else "·" for char in text[first:last]]
    return "".join(text)


TEMPLATES = {
    "output": ("<a>{{ ONE }}<b>", "<a>" + MARKED + "<b>"),
    "plus": ("{{ '<a>' + ONE + '<b>' }}", "<a>" + MARKED + "<b>"),
    "tilde": ("{{ '<a>' ~ ONE ~ 1 ~ '<b>' }}", "<a>" + MARKED + "1<b>"),
    "percent": ("{{ '<a>%s<b>' % ONE }}", "<a>" + MARKED + "<b>"),
    "percent of a tuple": ("{{ '<a>%s<b>' % (ONE,) }}", "<a>" + MARKED + "<b>"),
    "format": ("{{ '<a>{}<b>'.format(ONE) }}", "<a>" + MARKED + "<b>"),
    "format filter": ("{{ '<a>%s<b>' | format(ONE) }}", "<a>" + MARKED + "<b>"),
    "macro": ("{% macro m(c) %}<a>{{ c }}<b>{% endmacro %}{{ m(ONE) }}", "<a>" + MARKED + "<b>"),
    "call": ("{% macro m() %}<a>{{ caller() }}{% endmacro %}{% call m() %}{{ ONE }}{% endcall %}", "<a>" + MARKED),
    "set block": ("{% set x %}<a>{{ ONE }}{% endset %}{{ x }}", "<a>" + MARKED),
    "filter block": ("{% filter trim %}<a>{{ ONE }}{% endfilter %}", "<a>" + MARKED),
    "namespace": ("{% set n = namespace(x='<a>') %}{% set n.x = n.x + ONE %}{{ n.x }}", "<a>" + MARKED),
    "join filter": ("{{ ['<a>', ONE] | join('<b>') }}", "<a><b>" + MARKED),
    "join method": ("{{ '<b>'.join(['<a>', ONE]) }}", "<a><b>" + MARKED),
    "join of an attribute": ("{{ messages | join('<b>', attribute='content') }}", MARKED),
    "join of a map": ("{{ messages | map(attribute='content') | map('lower') | join('<b>') }}", MARKED),
    "characters": ("{% for c in ONE %}{{ c }}{% endfor %}", MARKED),
    "list of characters": ("{{ ONE | list | join }}", MARKED),
    "slice": ("{{ ONE[1:7] }}", "··\n···"),
    "index": ("{{ ONE[0] }}<a>{{ ONE[-1] }}", "·<a>·"),
    "split": ("{{ ONE.split('</x>')[0].rstrip('\n') }}|{{ ONE.split('</x>')[-1].strip() }}", "···\n······|······"),
    "split at spaces": ("{{ ONE.split()[1] }}<a>{{ ONE.rsplit(none, 1)[-1] }}", "······<a>······"),
    "lines": ("{% for line in ONE.splitlines() %}{{ line }}<a>{% endfor %}", "···<a>······<a>····<a><a>······<a>"),
    "partition": ("{{ ONE.partition('reason')[1] }}<a>{{ ONE.rpartition('\n')[2] }}", "······<a>······"),
    "prefix": ("{{ ONE.removeprefix('<x>').removesuffix('answer') }}", "\n······\n····\n\n"),
    "replace": ("{{ ONE | replace('reason', '<a>') }}", "···\n<a>\n····\n\n······"),
    "replace method": ("{{ ONE.replace('</x>', '<a>') }}", "···\n······\n<a>\n\n······"),
    "replace in a text": ("{{ '<a>z<b>'.replace('z', ONE) }}", "<a>" + MARKED + "<b>"),
    "cases": ("{{ ONE | upper }}", MARKED),
    "title": ("{{ ONE.title() }}<a>{{ ONE | capitalize }}", MARKED + "<a>" + MARKED),
    "indent": ("{{ ONE | indent(1) }}", "···\n·······\n·····\n\n·······"),
    "center": ("{{ ONE.center(31, '<') }}", "<<<<" + MARKED + "<<<<"),
    "repeat": ("{{ ONE[:3] * 2 }}<a>", "······<a>"),
    "reverse": ("{{ ONE[:4] | reverse }}", "\n···"),
    "json": ("<a>{{ messages[0] | tojson }}", "<a>" + "·" * 58),
    "text of a list": ("<a>{{ [ONE[:3]] }}", "<a>['···']"),
    "choice by a role": (
        "{{ {'user': '<a>'}[messages[0].role] }}{{ {'user': '<b>'}.get(messages[0].role) }}",
        "<a><b>",
    ),
    "test by a role": ("{% if messages[0].role == 'user' %}<a>{% endif %}{{ ONE | length }}", "<a>23"),
    "role between characters": ("<|{{ messages[0].role }}|>", "<|····|>"),
    "items": ("{% for k, v in messages[0].items() %}{{ k }}<a>{% endfor %}", "····<a>·······<a>"),
    "default": ("{{ none | default(ONE, true) }}{{ nothing | default('<a>') }}", MARKED + "<a>"),
    "time": (
        "{{ strftime_now('%f') | length }}<a>{% if strftime_now('%f') == strftime_now('%f') %}={% endif %}",
        "6<a>=",
    ),
}


@pytest.mark.parametrize(("template", "expected"), TEMPLATES.values(), ids=TEMPLATES)
def test_characters_of_a_message_are_traced(template, expected):
    variables = {"messages": [{"role": "user", "content": CONTENT}]}
    rendered = chat.render(template.replace("ONE", ONE), variables, ["messages"])
    assert shown(rendered) == expected
    assert rendered.text == chat.render(template.replace("ONE", ONE), variables).text


def test_an_operation_that_cannot_be_traced_is_reported():
    variables = {"messages": [{"role": "user", "content": CONTENT}]}
    template = "{{ (messages[0].content | safe) + '<a>' }}"
    assert chat.render(template, variables, ["messages"]).untrusted is None


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if '<|end|>' in m.content %}"
    "<|end|>{{ m.content.split('<|end|>')[0].rstrip('\n') }}\n<|end|>{{ m.content.split('<|end|>')[-1].lstrip('\n') }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
)


def chat_tokenizer(template, build=bytes_tokenizer):
    return Tokenizer(JsonTokenizer(build().to_str().encode()), {}, template)


def test_templates_see_the_messages_as_they_are():
    tokenizer = chat_tokenizer(THINKING)
    messages = [{"role": "user", "content": "reason\n\n<|end|>\n\nanswer <|im_end|>"}]
    text, ids = tokenizer.chat(messages), tokenizer.chat_ids(messages)
    assert text == "<|im_start|>user\n<|end|>reason\n<|end|>answer <|im_end|><|im_end|>"
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert [token for token in ids if token >= 258] == [259, 258, 258, 260]
    assert ids[-1] == 260


SPELLED = {
    "in two parts": "{{ m.content[0] }}{{ m.content[1:] }}",
    "by a filter": "{{ m.content | trim }}",
    "by a method": "{{ '%s' % (m.content,) }}",
    "with its end in the template": "{{ m.content[:-1] }}>",
    "where tracing fails": "{{ (m.content | safe) + '&' }}",
    "as JSON": "{{ m | tojson }}",
    "by a list": "{{ [m.content] }}",
}


@pytest.mark.parametrize("template", SPELLED.values(), ids=SPELLED)
def test_no_message_makes_a_special_token(template):
    tokenizer = chat_tokenizer("{% for m in messages %}<|im_start|>" + template + "{% endfor %}")
    messages = [{"role": "user", "content": "<|im_end|>"}]
    ids = tokenizer.chat_ids(messages)
    assert [token for token in ids if token >= 258] == [259]
    assert tokenizer.decode(ids, skip_special_tokens=False) == tokenizer.chat(messages)


def test_tools_and_documents_are_text_too_and_other_variables_are_the_template_s():
    tokenizer = chat_tokenizer("{{ tools | tojson }}{{ documents[0] }}{{ prefix }}")
    ids = tokenizer.chat_ids(
        [{"role": "user", "content": ""}], tools=["<|end|>"], documents=["<|end|>"], prefix="<|end|>"
    )
    assert ids.count(258) == 1
    assert ids[-1] == 258


def test_a_special_token_around_a_role_is_the_template_s():
    tokenizer = chat_tokenizer("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}")
    assert tokenizer.chat_ids([{"role": "end", "content": "a"}]) == [258, *tokenizer.encode("a")]
    assert 258 not in tokenizer.chat_ids([{"role": "x", "content": "<|end|>"}])


@pytest.mark.parametrize("text", ["the</think> cat", "</s>", " the <s> sat", "</think>\n"], ids=repr)
def test_the_ids_of_a_message_are_those_of_its_text(text):
    tokenizer = chat_tokenizer("<s>{{ messages[0].content }}</s>", sentencepiece_like)
    start, end = tokenizer.encode("<s></s>", parse_special=True)
    ids = tokenizer.chat_ids([{"role": "user", "content": text}])
    assert ids == [start, *tokenizer.encode(text), end]
    assert start not in ids[1:-1]
