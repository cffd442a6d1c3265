"""The rules that chat data must keep: what each one means, and what to do where it is broken.

The rules on roles and on the number of rows are those of the training component's package
azureml-acft-contrib-hf-nlp 0.0.91 (read 2026-11), which applies them on the GPU node. The others are those of
the JSON lines format, and of text.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from phi_finetune.errors import InvalidData

__all__ = ["RULES", "BrokenRule", "Fault", "Rule", "Severity"]

Severity: TypeAlias = Literal["stops", "changes", "look"]
"""What a broken rule comes to: the service's run fails, or does so with some models; the result silently becomes
another one, as rows or turns are left out, or a measure is too good; or it may be meant so, and is worth a look."""


@attrs.frozen
class Rule:
    """One rule, as an error tells of it.

    Attributes:
        why: What is wrong where it is broken.
        remedy: What to do then.
        severity: What it comes to.
    """

    why: str
    remedy: str
    severity: Severity = "stops"


_SAVE_AS_UTF8 = "save the file as UTF-8 text, one JSON object a line"
_ONE_OBJECT_A_LINE = 'write one JSON object a line: {"messages": [{"role": "user", "content": "..."}, ...]}'
_ONE_TURN_EACH = "begin with the user's turn (after a system message, if there is one), then alternate"
_PERSONAL = "take it out, or make sure that it may be trained on"

RULES: dict[str, Rule] = {
    # The file
    "missing-file": Rule("there is no such file", "check the path, and the folder that this program runs in"),
    "not-a-file": Rule("it is a folder", "name the file of JSON lines in it"),
    "no-permission": Rule("this user may not read it", "change the file's permissions, or copy it"),
    "unreadable": Rule("the system could not read it", "check the disk, or copy the file and read the copy"),
    "compressed": Rule("it is not text but a compressed or binary file", "unpack or convert it first"),
    # The repository on the Hugging Face hub, or a folder laid out like one
    "no-data-files": Rule("it has no data files", "check the name: repo= is a data set with files in it"),
    "no-such-split": Rule("it has no such split", 'say which: splits={"train": "..."}'),
    "unclear-split": Rule("more than one of its splits may be meant", 'say which: splits={"train": "..."}'),
    "mixed-formats": Rule("a split has files of two formats", 'name one kind: splits={"train": "*.parquet"}'),
    "missing-shards": Rule(
        "a part of the split is missing", "take another revision=, or ask its owner for the missing files"
    ),
    # The parquet file
    "not-parquet": Rule("it is not a parquet file", "check what it is; JSON lines have from_jsonl"),
    "truncated-parquet": Rule(
        "the parquet file breaks off", "copy or download the file again: it is not whole"
    ),
    "broken-parquet": Rule("a part of the parquet file cannot be decoded", "copy or download the file again"),
    "broken-arrow": Rule(
        "it is no file of Arrow's, or a part of it cannot be decoded", "check what it is, or write it again"
    ),
    "no-such-column": Rule("it has no such column", "name one that it has, or rename the column"),
    "shards-differ": Rule(
        "its columns are not those of the first file of the split", "give files of one split, written alike"
    ),
    # The line
    "not-utf-8": Rule("the line is not UTF-8 text", _SAVE_AS_UTF8),
    "not-json": Rule("the line is not JSON", _ONE_OBJECT_A_LINE),
    "truncated-line": Rule("the last line breaks off", "copy or download the file again: it is not whole"),
    "not-finite": Rule(
        "the line holds NaN or Infinity, which JSON does not have", "replace them, or drop the field"
    ),
    "duplicate-key": Rule("an object names the same key twice", "keep one of the two", "changes"),
    "too-nested": Rule("the line is nested too deeply to be read", _ONE_OBJECT_A_LINE),
    "not-an-object": Rule("the row is not an object", _ONE_OBJECT_A_LINE),
    # Finding the files
    "no-match": Rule("no file matches it", "check the pattern, and the folder that this program runs in"),
    "empty-folder": Rule("the folder holds no data file", "name the files, or the folder that holds them"),
    "duplicate-file": Rule("the same file is named twice", "name each file once: its rows would count twice"),
    # A compressed file
    "zstandard": Rule(
        "it is compressed with zstandard, which Python reads from 3.14 on",
        "unpack it first, or run this with Python 3.14",
    ),
    "truncated-archive": Rule("the compressed file breaks off", "copy or download it again: it is not whole"),
    "broken-archive": Rule("the compressed file is damaged", "copy or download it again"),
    "expands-too-far": Rule(
        "it expands to more than 250 times its size, as no text of conversations does",
        "look into the file; unpack it yourself if it is what you expect",
    ),
    # A JSON array, and a table
    "empty-file": Rule("the file is empty", "copy or download it again, or leave it out"),
    "not-an-array": Rule(
        "the file is not a JSON array of rows", "write [row, row, ...]; read one object a line as JSON lines"
    ),
    "truncated-array": Rule("the array breaks off", "copy or download the file again: it is not whole"),
    "array-comma": Rule("a comma between two rows is missing, or there is one too many", "mend the file"),
    "after-the-array": Rule(
        "something follows the array of rows", "leave nothing in the file but the one array"
    ),
    "row-too-long": Rule(
        "the row is longer than 16 MiB", "look for a quote or bracket that is never closed, or drop the row"
    ),
    "not-json-row": Rule("the row is not JSON", "mend the row, or write the file with a JSON library"),
    "no-header": Rule("the first line names no columns", "write the columns' names into the first line"),
    "duplicate-column": Rule("two columns have the same name", "rename one of the two"),
    "cell-count": Rule(
        "the row has more or fewer cells than the header", "put cells that hold separators between quotes"
    ),
    "broken-quotes": Rule(
        "its quotes or line ends are not those of a table of text",
        "double the quotes inside of cells, or write the file with a CSV library",
    ),
    "unclosed-quote": Rule("a quote is opened and never closed", "close it, or double it inside of a cell"),
    "cell-not-json": Rule(
        "the cell holds a list that is not written as JSON",
        "write lists with json.dumps, not as Python shows them",
    ),
    # The form
    "unknown-form": Rule("the rows are of no known form", "name the form, the columns, or an own function"),
    "several-forms": Rule("the rows are of more than one form", "name the form that is meant"),
    "preference-data": Rule(
        "the rows say which of two answers is preferred, or whether one is wanted",
        "ask for the form preference, which takes the chosen answers",
    ),
    "missing-key": Rule(
        "the row lacks what its form needs", "fill it in, drop the row, or name another form"
    ),
    "history-not-pairs": Rule(
        "the history is not a list of pairs", "give earlier turns as [question, answer] pairs"
    ),
    "content-part-not-text": Rule(
        "a part of the content is no text", "drop the part or the row: only text can be trained on here"
    ),
    "prompt-differs": Rule(
        "the prompt is not what the user says first in the messages, which alone are used",
        "make the two equal, or leave the prompt out",
    ),
    "weight-zero": Rule(
        "the message has the weight 0, but training does not read weights and would learn it too",
        "drop the row, or have the weights dropped and the message learnt",
    ),
    "unknown-weight": Rule("the weight is neither 0 nor 1", "write 0 or 1, or leave it out"),
    "tools": Rule(
        "it offers or calls tools, which training does not read", "drop the row, or have the tools dropped"
    ),
    "refusal": Rule(
        "the assistant refuses in a field of its own", "write the refusal as content, or drop the row"
    ),
    "form-raised": Rule("the function that gives its form raised an error", "mend the function, or the row"),
    "form-gave-no-object": Rule(
        "the function that gives its form gave no mapping",
        'return {"messages": [{"role": "user", "content": "..."}, ...]}',
    ),
    # The row
    "no-messages": Rule("the row has no messages", _ONE_OBJECT_A_LINE),
    "messages-not-a-list": Rule("messages is not a list", _ONE_OBJECT_A_LINE),
    "empty-messages": Rule("the list of messages is empty", "drop the row", "changes"),
    "message-not-an-object": Rule("the message is not an object", "give each message a role and a content"),
    "missing-role": Rule("the message has no role", "give it the role system, user or assistant"),
    "unknown-role": Rule(
        "the role is none of system, user and assistant",
        "map it to one of the three, or drop the row",
        "changes",
    ),
    "missing-content": Rule("the message has no content", "give it one, or drop the row"),
    "content-not-text": Rule("the content is not a string", "join its parts to one text, or drop the row"),
    "blank-content": Rule(
        "the content is empty or only white space", "fill it in, or drop the row", "changes"
    ),
    "lone-surrogate": Rule(
        "the content holds half of a surrogate pair, which is no character",
        "decode the text again, or drop the row",
    ),
    # The order of the turns
    "system-not-first": Rule("a system message stands after other turns", "move it to the start, or drop it"),
    "second-system": Rule("there is more than one system message", "join them to one at the start"),
    "user-not-first": Rule("the first turn is not the user's", _ONE_TURN_EACH, "changes"),
    "roles-not-alternating": Rule("two turns of the same role follow each other", _ONE_TURN_EACH, "changes"),
    "no-user-turn": Rule("there is nothing but a system message", "drop the row", "changes"),
    "no-assistant-turn": Rule(
        "the assistant never speaks, so there is nothing to train on", "drop the row", "changes"
    ),
    "last-not-assistant": Rule(
        "the last turn is not the assistant's",
        "drop that turn, or use these rows as the test split",
        "changes",
    ),
    # The data set
    "records-broke-off": Rule(
        "the iterable of records raised an error before its end",
        "make the data set anew from a fresh iterable",
    ),
    "not-a-conversation": Rule(
        "the function that map() was given made no Conversation of it", "return a Conversation for each row"
    ),
    "too-few-rows": Rule(
        "training needs at least 10 conversations of two messages or more", "add conversations"
    ),
    "empty-split": Rule("it holds no conversation", "add some, or leave the split out"),
    "empty-draw": Rule("no conversation fell into it", "take another fraction, another seed, or more data"),
    # What keeps the rules of a row, and is told by validate()
    "byte-order-mark": Rule("it begins with a byte order mark", "save it as UTF-8 without one", "look"),
    "huge-row": Rule(
        "its texts come to more than a million characters", "look whether rows ran together", "look"
    ),
    "one-message": Rule(
        "it is one message, and the training component drops such rows",
        "add an answer, or keep it for an endpoint alone",
        "look",
    ),
    "system-unsupported": Rule(
        "the model knows no system message, so the component puts its text before the user's first",
        "write the instruction into the user's turn, or take a model that knows the role",
        "changes",
    ),
    "duplicate-row": Rule(
        "a row before it in this split says the same", "data.deduplicate() drops it", "look"
    ),
    "leaked-row": Rule(
        "a row of another split to train or measure on says the same, so what is measured on it is too good",
        "data.deduplicate() leaves it in one split",
        "changes",
    ),
    "nearly-leaked-row": Rule(
        "a row of another split differs only in upper and lower case, or white space",
        "data.deduplicate(normalised=True) leaves it in one split",
        "changes",
    ),
    "other-answer": Rule(
        "a row before it in this split has the same turns and another last answer", "keep the better", "look"
    ),
    "too-long": Rule(
        "it has more tokens than max_seq_length, and its end is cut off",
        "raise max_seq_length, or shorten the conversation",
        "changes",
    ),
    "secret": Rule("a text looks like a key or a password", "take it out, and have the key renewed", "look"),
    "e-mail": Rule("a text holds what looks like an e-mail address", _PERSONAL, "look"),
    "phone-number": Rule("a text holds what looks like a telephone number", _PERSONAL, "look"),
    "card-number": Rule("a text holds what looks like a payment card's number", _PERSONAL, "look"),
    "bank-account": Rule("a text holds what looks like a bank account (IBAN)", _PERSONAL, "look"),
}


@attrs.frozen
class Fault:
    """A broken rule, and where in the row.

    Attributes:
        rule: A key of :data:`RULES`.
        path: Where in the row, such as ``"messages[2].role"``; None for the row as a whole.
    """

    rule: str
    path: str | None = None

    @property
    def severity(self) -> Severity:
        """The rule's."""
        return RULES[self.rule].severity

    def error(self, file: str | None = None, row: int | None = None) -> InvalidData:
        """Give the error to raise, for row ``row`` of ``file``. It holds nothing of the row's text."""
        rule = RULES[self.rule]
        place = file or "The conversation"
        if row is not None:
            place = f"Row {row} of {place}"
        if self.path is not None:
            place = f"{place}, {self.path},"
        return InvalidData(
            f"{place} is refused ({self.rule})",
            resource=file,
            why=rule.why,
            next_call=rule.remedy,
            file=file,
            row=row,
            path=self.path,
            rule=self.rule,
        )


class BrokenRule(Exception):
    """Raised inside this package where the file and the row are not known yet."""

    def __init__(self, rule: str, path: str | None = None) -> None:
        super().__init__(rule)
        self.fault = Fault(rule, path)
