"""Files of conversations: what is one, and the line that is told of what is none."""

import json

import pytest
from chats import line, settings, write_chats
from small_runs import ONE_LINE, only, problem_lines

from gptexp.data import conversations, read
from gptexp.data.conversations import Message, read_conversations, rendered, shown
from gptexp.data.load import read_corpus
from gptexp.data.read import corpus_digest
from gptexp.errors import DataError

USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}


def refused(text):
    with pytest.raises(DataError) as caught:
        read_conversations(text, "chats.jsonl")
    lines = problem_lines(caught.value)
    assert all(ONE_LINE.fullmatch(each) for each in lines), lines
    return lines


def test_a_conversation_is_an_object_with_messages_or_a_list_of_them():
    given = [
        json.dumps({"id": 7, "messages": [USER, ASSISTANT]}),
        "",
        json.dumps([USER, ASSISTANT]),
    ]
    assert read_conversations("\n".join(given), "") == ["\x01\x05a\x02b\x03"] * 2


def test_turns_stand_between_marks_and_a_heading_before_them():
    text = line("one", "two", "three\r\nfour", "five", system="brief")
    found = only(read_conversations(text, ""))
    assert found == "\x01brief\x05one\x02two\x03\x05three\nfour\x02five\x03"
    assert shown(found) == "briefuser: one\nassistant: two\nuser: three\nfour\nassistant: five\n"


def test_a_conversation_that_waits_for_an_answer_ends_with_its_mark():
    asked = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    assert rendered(asked) == "\x01\x05a\x02b\x03\x05c\x02"


def test_an_empty_heading_is_none():
    assert read_conversations(line("a", "b", system=" "), "") == ["\x01\x05a\x02b\x03"]


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ("{", "not JSON"),
        ("[1, 2", "not JSON"),
        ("7", "7 is no list of messages"),
        ('"text"', "is no list of messages"),
        ("null", "null is no list"),
        ("{}", "has nothing, and no messages"),
        ('{"conversations": []}', "has conversations, and no messages"),
        ('{"messages": "hi"}', "is no list of messages"),
        ('{"messages": []}', "there are no messages"),
        ("[]", "there are no messages"),
        ("[[]]", "message 1, [], is no object"),
        (json.dumps([{"content": "a"}, ASSISTANT]), "message 1 has no role"),
        (json.dumps([{"role": "user"}, ASSISTANT]), "message 1 has no content"),
        (json.dumps([{"role": "human", "content": "a"}]), 'has the role "human"'),
        (json.dumps([{"role": ["user"], "content": "a"}]), 'has the role ["user"]'),
        (json.dumps([{"role": None, "content": "a"}]), "has the role null"),
        (json.dumps([{"role": "user", "content": None}]), "the content null, which is no text"),
        (json.dumps([{"role": "user", "content": ["a"]}]), "which is no text"),
        (json.dumps([{"role": "user", "content": 7}]), "the content 7"),
        (json.dumps([USER, {"role": "assistant", "content": " \n"}]), "of the assistant, is empty"),
        (json.dumps([{"role": "user", "content": ""}, ASSISTANT]), "of the user, is empty"),
        (json.dumps([ASSISTANT, USER]), "of the assistant where the user has the turn"),
        (json.dumps([USER, USER, ASSISTANT]), "message 2 is of the user where the assistant"),
        (json.dumps([USER, ASSISTANT, SYSTEM]), "message 3 is of the system where the user"),
        (json.dumps([USER]), "ends after 1 message without an answer"),
        (json.dumps([SYSTEM]), "ends after 1 message without an answer"),
        (json.dumps([USER, ASSISTANT, USER]), "ends after 3 messages without an answer"),
        ('[{"role": "user", "content": "a", "content": "b"}]', 'the key "content" twice'),
        ('{"messages": [], "messages": []}', 'the key "messages" twice'),
        (r'[{"role": "user", "content": "a\ud800"}]', "holds U+D800, half a character"),
        (r'[{"role": "user", "content": "a\u0000"}]', "holds U+0000, a control character"),
        (r'[{"role": "user", "content": "a\u0002b"}]', "holds U+0002, a control character"),
        (r'[{"role": "user", "content": "a\u0001"}]', "holds U+0001, a control character"),
        ("[" * 100_000, "lists in lists, too deep"),
        ('[{"role": "user", "content": ' + "9" * 5000 + "}]", "not read: Exceeds the limit"),
        (json.dumps([{"role": "x" * 10_000, "content": "a"}]), "characters)"),
    ],
)
def test_a_line_that_is_no_conversation_is_told_with_its_number(bad, what):
    told = only(refused("\n".join([line("a", "b"), bad, line("a", "b")])))
    assert told.startswith("chats.jsonl, line 2: ")
    assert what in told
    assert len(told) < 400


def test_lines_are_told_up_to_ten_at_once():
    assert [told.partition(":")[0] for told in refused("{\n7\n\n[]")] == [
        "chats.jsonl, line 1",
        "chats.jsonl, line 2",
        "chats.jsonl, line 4",
    ]
    assert len(refused("{\n" * 1000)) == 10


def test_a_line_beyond_all_measure_is_not_parsed(monkeypatch):
    monkeypatch.setattr(conversations, "MOST_CHARACTERS", 60)
    assert "61 characters, and a conversation has at most 60" in only(refused("[" + "9" * 60))


def test_a_file_beyond_all_measure_is_not_read(monkeypatch, tmp_path):
    path = write_chats(tmp_path / "chats.jsonl", [line("a", "b")])
    monkeypatch.setattr(read, "MOST_CHAT", 20)
    for ask in (corpus_digest, read_corpus):
        with pytest.raises(DataError, match=r"bytes of conversations, and at most 20 are read"):
            ask(settings(path))


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_bytes(line("a", "b").encode() + b"\n\xff\n")
    with pytest.raises(DataError, match=r"not UTF-8: byte 0xff at offset \d+, line 2"):
        read_corpus(settings(path))
