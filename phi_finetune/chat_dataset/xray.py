"""A conversation as training sees it: which tokens it learns, which it only reads, and which it never gets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from phi_finetune.catalog import chat_templates
from phi_finetune.catalog.chat_templates import ChatTemplate
from phi_finetune.chat_dataset.conversation import Conversation, Role
from phi_finetune.chat_dataset.pieces import Piece, exact_pieces, rough_pieces
from phi_finetune.chat_dataset.tokens import SPECIAL_TOKEN, TEXT_ERROR, TokenCount, Tokenizer
from phi_finetune.chat_dataset.written import Part, written_parts
from phi_finetune.chat_dataset.xray_views import as_html, as_text
from phi_finetune.errors import InvalidParameter

__all__ = ["Span", "SpanKind", "Trained", "Xray", "xray"]

SpanKind: TypeAlias = Literal["trained", "masked", "truncated"]
Trained: TypeAlias = Literal["assistant", "all"]


@attrs.frozen
class Span:
    """A stretch of the prompt whose tokens all fare alike.

    Attributes:
        text: The text.
        kind: ``"trained"``: the model learns to say it. ``"masked"``: it only reads it. ``"truncated"``: it lies
            past ``max_seq_length`` and is dropped.
        role: Whose content it is, or whose end-of-turn token; None for the rest of the template's own text.
        tokens: How many tokens begin in it.
    """

    text: str = attrs.field(repr=False)
    kind: SpanKind
    role: Role | None
    tokens: TokenCount


@attrs.frozen
class Xray:
    """A conversation written out as one model reads it; made by :func:`xray`.

    Its ``str`` shows the text with a mark before each line: ``+`` trained, nothing for masked, ``x`` truncated.
    In a notebook it shows itself in colours.

    Attributes:
        model: The model.
        spans: The prompt, in order; their texts joined are the whole of it.
        max_seq_length: Where it is cut, in tokens.
        warnings: What is amiss, or worth a look, in sentences.
    """

    model: str
    spans: tuple[Span, ...] = attrs.field(repr=False)
    max_seq_length: int
    warnings: tuple[str, ...]

    @property
    def text(self) -> str:
        """The prompt, whole."""
        return "".join(span.text for span in self.spans)

    @property
    def tokens(self) -> TokenCount:
        """All tokens, those past the cut too."""
        return _total(self.spans)

    @property
    def trained(self) -> TokenCount:
        """The tokens that the model learns to say."""
        return self._of("trained")

    @property
    def masked(self) -> TokenCount:
        """The tokens that it only reads."""
        return self._of("masked")

    @property
    def truncated(self) -> TokenCount:
        """The tokens past the cut."""
        return self._of("truncated")

    def to_terminal(self, *, color: bool = True) -> str:
        """Give a text for people.

        Args:
            color: Whether to colour it for a terminal: trained green and bold, masked faint, truncated red and
                struck through. Without, each line has a mark before it, as :func:`str` gives.
        """
        return as_text(self, color=color)

    def to_html(self) -> str:
        """Give a piece of HTML that needs nothing else, readable on light and dark ground."""
        return as_html(self)

    def __str__(self) -> str:
        return self.to_terminal(color=False)

    def _repr_html_(self) -> str:
        return self.to_html()

    def _of(self, kind: SpanKind) -> TokenCount:
        return _total([span for span in self.spans if span.kind == kind])


def xray(
    conversation: Conversation,
    model: str | ChatTemplate,
    *,
    tokenizer: Tokenizer | None = None,
    max_seq_length: int | None = None,
    trained: Trained = "assistant",
) -> Xray:
    """Show what training makes of a conversation.

    What becomes of a system turn that the model does not have is in pain.md G1, of rows that are too long in F5.

    Args:
        conversation: The conversation.
        model: The model's name, such as ``"Phi-4"``, or a chat template.
        tokenizer: The model's tokenizer; without one, tokens are estimated word by word, and the result says so.
        max_seq_length: Where training cuts, in tokens; None and -1 are the model's context length, which also
            is the most it can be.
        trained: What is learned: what the assistant says, with the token that ends its turn, or all of the text.

    Raises:
        InvalidParameter: The model is not known, ``max_seq_length`` is no length, or the template or the
            tokenizer cannot be used.
        MissingDependency: jinja2, or tokenizers where it is needed, is not installed.
    """
    template = model if isinstance(model, ChatTemplate) else chat_templates.get(model)
    limit = _limit(max_seq_length, template)
    parts = written_parts(conversation, template)
    if tokenizer is None:
        pieces, exact = rough_pieces(parts, template.vocabulary), False
    else:
        pieces, exact = exact_pieces(parts, tokenizer), True
    learned = [trained == "all" or part.learned for part in parts]
    spans = _spans(parts, learned, pieces, limit, exact=exact)
    warnings = [
        *_warnings_of_template(conversation, template, parts),
        *_warnings_of_training(parts, learned, pieces, limit, exact=exact),
    ]
    if not exact:
        warnings.append(
            f"No tokenizer was given: tokens are estimated word by word, to about {TEXT_ERROR:.0%}, and the cut is "
            "no more exact than that."
        )
    if template.assumed:
        warnings.append(f"Assumed of {template.model}: {template.assumed}.")
    return Xray(template.model, tuple(spans), limit, tuple(warnings))


def _limit(given: int | None, template: ChatTemplate) -> int:
    if given is None or given == -1:
        return template.context_length
    if given < 1:
        raise InvalidParameter(
            f"A max_seq_length of {given}",
            name="max_seq_length",
            value=given,
            allowed=f"1 to {template.context_length}, or -1 for the model's own",
        )
    return min(given, template.context_length)


def _spans(
    parts: Sequence[Part], learned: Sequence[bool], pieces: Sequence[Piece], limit: int, *, exact: bool
) -> list[Span]:
    cut = _cut(pieces, limit)
    starts = [piece.start for piece in pieces]
    spans: list[Span] = []
    begin = 0
    for part, is_learned in zip(parts, learned, strict=True):
        end = begin + len(part.text)
        edge = end if cut is None else min(max(cut, begin), end)
        for first, last, kept in ((begin, edge, True), (edge, end, False)):
            if first == last:
                continue
            kind: SpanKind = "truncated" if not kept else "trained" if is_learned else "masked"
            weight = sum(
                piece.tokens for piece in pieces[bisect_left(starts, first) : bisect_left(starts, last)]
            )
            text = part.text[first - begin : last - begin]
            spans.append(Span(text, kind, part.role, _count(weight, exact=exact)))
        begin = end
    return spans


def _cut(pieces: Sequence[Piece], limit: int) -> int | None:
    """Where the first token past the limit begins, in characters; None if there is none."""
    total = 0.0
    for piece in pieces:
        total += piece.tokens
        if total > limit:
            return piece.start
    return None


def _count(tokens: float, *, exact: bool) -> TokenCount:
    error = 0 if exact or not tokens else max(1, round(tokens * TEXT_ERROR))
    return TokenCount(round(tokens), exact, error)


def _total(spans: Sequence[Span]) -> TokenCount:
    exact = all(span.tokens.exact for span in spans)
    return _count(sum(span.tokens.value for span in spans), exact=exact)


def _warnings_of_template(
    conversation: Conversation, template: ChatTemplate, parts: Sequence[Part]
) -> list[str]:
    warnings = []
    roles = {part.role for part in parts}
    if conversation.messages[0].role == "system" and "system" not in roles:
        warnings.append(
            f"{template.model} has no system turn: its template leaves this one out without a word. Where the "
            "model's configuration says so, Azure's training component puts the text before the first user turn "
            "instead, with a blank line between; an endpoint may not."
        )
    if any(part.learned and not part.ends for part in parts):
        warnings.append(
            f"The template does not write {template.end_of_turn} right after what the assistant says, so that the "
            "token is not trained: the model may not learn to stop."
        )
    own = "".join(part.text for part in parts if part.role is None)
    special = dict.fromkeys([template.end_of_turn, template.end_of_text, *SPECIAL_TOKEN.findall(own)])
    held = [token for token in special if any(token in turn.content for turn in conversation.messages)]
    if held:
        warnings.append(
            f"What is said holds {', '.join(held)}, which the tokenizer reads as the token of that name and not as "
            "text: for the model the turn may end there."
        )
    return warnings


def _warnings_of_training(
    parts: Sequence[Part], learned: Sequence[bool], pieces: Sequence[Piece], limit: int, *, exact: bool
) -> list[str]:
    if not any(learned):
        return ["Nothing is trained: the assistant never speaks."]
    cut = _cut(pieces, limit)
    if cut is None:
        return []
    wanted = lost = 0.0
    begin = 0
    starts = [piece.start for piece in pieces]
    for part, is_learned in zip(parts, learned, strict=True):
        first, past = (bisect_left(starts, at) for at in (begin, begin + len(part.text)))
        begin += len(part.text)
        if is_learned:
            wanted += sum(piece.tokens for piece in pieces[first:past])
            lost += sum(piece.tokens for piece in pieces[first:past] if piece.start >= cut)
    if lost == 0:
        return []
    if lost == wanted:
        return [
            f"Nothing is trained: all that the assistant says lies past max_seq_length = {limit:,}. A job whose "
            "rows are all like this fails with 'No assistant tokens found after preprocessing'."
        ]
    about = "" if exact else "about "
    return [
        f"The answer is cut: {about}{round(lost):,} of {about}{round(wanted):,} trained tokens lie past "
        f"max_seq_length = {limit:,}, the token that ends the last turn among them."
    ]
