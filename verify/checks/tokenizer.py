"""Check `tokenizer`: what was written of a tokenizer says what the source's says, and encodes as its library does.

In this order: every id, merge, score, flag and rule, by the verifier's own reading of both; every merge, encoded;
texts that are drawn from the file's digest; the text of their ids; conversations by the chat template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import reader_c
from verify.checks.digits import counted
from verify.checks.result import CheckResult, exact, skipped
from verify.errors import CannotJudgeError
from verify.tokenizers.block import BlockError, parse_block
from verify.tokenizers.chat import FIXTURES, rendered_or_refused
from verify.tokenizers.differences import Difference, differences
from verify.tokenizers.drawn_texts import TEXTS, Drawing
from verify.tokenizers.plain_files import PlainFileError, PlainTokens, parse_plain
from verify.tokenizers.plain_rules import plain_differences, plain_expectation, unfit
from verify.tokenizers.qwen3c_encoder import encoded_otherwise
from verify.tokenizers.rules import SPACE, NotHeldError, Rules, SourceRules
from verify.tokenizers.source_tokenizer import SourceTokenizer, end_of, of_block, open_source_tokenizer, text_of
from verify.tokenizers.trial import Encoder, Tried, merge_texts, scored_texts, try_texts

NAME = "tokenizer"
# Digits of the digest, which seed the texts.
_SEED = 13
Form = Literal["v3", "llama2c", "qwen3c"]
# Characters that run.c and qwen3.c cannot take, or that run.c's file has lost.
_WITHOUT = {"llama2c": "\0" + SPACE, "qwen3c": "\0"}


@dataclass(frozen=True)
class WrittenTokenizer:
    """Holds what was written of a tokenizer. path: None for the block of the file that is judged.

    encoder: opens the engine that encodes by it; None if there is none for this form.
    """

    form: Form
    content: bytes
    vocab_size: int
    path: str | None = None
    encoder: Callable[[], Encoder] | None = None


@dataclass(frozen=True)
class TokenizerReport:
    """Says what was judged, and on how much. path: None for the block of the file. source: the source's tokenizer.

    merges: merges that were tried, or pieces that merge by their scores. texts: drawn, and the source's own.
    decoded: texts that came back from their ids. chats: conversations that were rendered.
    """

    form: Form
    path: str | None
    bytes: int
    sha256: str
    source: str
    library: str
    tokens: int = 0
    added: int = 0
    merges: int = 0
    texts: int = 0
    decoded: int = 0
    chats: int = 0


@dataclass(frozen=True)
class TokenizerFindings:
    """Holds the check's result, and both sides for a diagnosis: None where one could not be read.

    expected: in the form of what was written. fields: of Rules that differ, in their order.
    """

    verdict: CheckResult
    report: TokenizerReport
    expected: SourceRules | None = None
    found: Rules | PlainTokens | None = None
    fields: tuple[str, ...] = ()


def check_tokenizer(
    written: WrittenTokenizer, source: Path, depth: str, own_lines: Sequence[str] = (), *, source_block: bytes = b""
) -> TokenizerFindings:
    """Check a written tokenizer against the source's, on texts drawn from its digest. own_lines: of the user's text.

    source: the source's tokenizer, or the v3 file that is the source if source_block is its block.

    The check is skipped if no library reads the source's tokenizer.
    """
    report = unread(written, source)
    try:
        found = _parse(written)
    except (BlockError, PlainFileError) as error:
        where = {"field": error.field} if isinstance(error, BlockError) else {}
        return TokenizerFindings(exact(NAME, 1, str(error), where), report)
    try:
        opened = of_block(source, source_block, written.vocab_size) if source_block else open_source_tokenizer(source)
    except CannotJudgeError as error:
        return TokenizerFindings(skipped(NAME, "exact", str(error)), report, found=found)
    except NotHeldError as error:
        detail = f"{source.name}: expected a tokenizer that the format can hold, found {error}"
        return TokenizerFindings(exact(NAME, 1, detail, {"field": "source"}), report, found=found)
    report = replace(report, library=_name_of(opened), tokens=len(found.pieces))
    return _Judgement(written, opened, found, report).run(depth, int(report.sha256[:_SEED], 16), own_lines)


def _name_of(opened: SourceTokenizer) -> str:
    return "none" if opened.library is None else opened.library.name


def _parse(written: WrittenTokenizer) -> Rules | PlainTokens:
    if written.form == "v3":
        return parse_block(written.content, written.vocab_size)
    return parse_plain(written.content, written.form, written.vocab_size)


def unread(written: WrittenTokenizer, source: Path) -> TokenizerReport:
    """Return the report on a tokenizer that nobody has compared yet."""
    sha256 = hashlib.sha256(written.content).hexdigest()
    return TokenizerReport(written.form, written.path, len(written.content), sha256, source.name, "")


def merged(found: Sequence[TokenizerFindings]) -> CheckResult:
    """Return the one result of the check on several written tokenizers: that of the first that does not pass."""
    order = [one.verdict for one in found]
    if len(order) == 1:
        return order[0]
    worst = next((one for status in ("fail", "skipped") for one in order if one.status == status), order[0])
    named = "; ".join(f"{one.report.path or 'the block'}: {one.verdict.detail}" for one in found)
    return replace(worst, detail=named) if worst.status == "pass" else worst


class _Judgement:
    """Compares one written tokenizer with the source's, step by step."""

    def __init__(
        self, written: WrittenTokenizer, source: SourceTokenizer, found: Rules | PlainTokens, report: TokenizerReport
    ) -> None:
        self._written, self._source, self._found, self._report = written, source, found, report
        self._expected = source.expected
        self._otherwise = ""
        # each as (sentence, place)
        self._findings: list[tuple[str, dict[str, Any]]] = []

    def run(self, depth: str, seed: int, own_lines: Sequence[str]) -> TokenizerFindings:
        differing = self._compare_rules()
        self._findings += [(one.detail, _place(one)) for one in differing]
        texts = TEXTS["quick" if self._findings else depth]
        self._encode(self._drawing(seed), texts, own_lines)
        self._count_otherwise(self._drawing(seed))
        if isinstance(self._found, Rules):
            self._chat(self._found)
        fields = tuple(one.field for one in differing)
        return TokenizerFindings(self._verdict(seed), self._report, self._in_form(), self._found, fields)

    def _drawing(self, seed: int) -> Drawing:
        without = _WITHOUT.get(self._written.form, "")
        return Drawing(self._expected, seed, added=self._finds_added, without=without, spaces=self._removes_spaces)

    @property
    def _removes_spaces(self) -> bool:
        """Return whether the form holds the rule that extra spaces are removed."""
        return self._written.form == "v3"

    @property
    def _finds_added(self) -> bool:
        library = self._source.library
        return library is not None and library.finds_added and self._written.form != "llama2c"

    def _compare_rules(self) -> list[Difference]:
        if isinstance(self._found, Rules):
            self._report = replace(self._report, added=len(self._found.added))
            return differences(self._expected, self._found)
        reasons = unfit(self._expected.rules, self._written.form)
        return [Difference("source", reason) for reason in reasons] + plain_differences(self._in_form(), self._found)

    def _in_form(self) -> SourceRules:
        """Return the source's rules as the written form holds them."""
        if self._written.form == "v3":
            return self._expected
        return plain_expectation(self._expected, self._written.form, self._written.vocab_size)

    def _encode(self, drawing: Drawing, count: int, own_lines: Sequence[str]) -> None:
        """Encode every merge and the texts by both, and decode what the library gives back."""
        library = self._source.library
        if self._written.encoder is None or library is None:
            return
        try:
            encoder = self._written.encoder()
        except reader_c.ReaderError as error:
            self._findings.append((str(error), {"field": "opening"}))
            return
        rules = self._expected.rules
        whole = self._written.form == "v3"
        pairs = map(drawing.fitting, merge_texts(rules) if rules.merges else scored_texts(rules))
        merges = self._tried(try_texts(pairs, encoder, library, what="merge", special=False))
        lines = [line for line in own_lines if line.strip()][: count // 2]
        drawn = drawing.texts(count, lines)
        texts = self._tried(try_texts(drawn, encoder, library, what="text", special=whole, decoding=True))
        self._report = replace(self._report, merges=merges.count, texts=texts.count, decoded=texts.decoded)

    def _count_otherwise(self, drawing: Drawing) -> None:
        """Count the texts that qwen3.c encodes otherwise by a file that is right: the format cannot say more."""
        library, found = self._source.library, self._found
        if self._findings or library is None or not isinstance(found, PlainTokens) or found.form != "qwen3c":
            return
        wrong, count = encoded_otherwise(drawing.texts(TEXTS["quick"]), found, library)
        self._otherwise = (
            f"qwen3.c, which cuts no text into words and normalizes none, encodes {wrong} of {count} drawn texts "
            f"otherwise than {library.name}"
        )

    def _tried(self, tried: Tried) -> Tried:
        if tried.mismatch is not None:
            place = {"field": tried.mismatch.what, "text": tried.mismatch.text[:80]}
            self._findings.append((tried.mismatch.sentence(), place))
        return tried

    def _chat(self, found: Rules) -> None:
        """Render each conversation by the source's template and by the file's."""
        template = self._expected.rules.template
        if not template or not found.template:
            return
        right = {"bos": self._source.begin_text, "eos": self._source.end_text}
        own = {"bos": text_of(found, found.bos), "eos": text_of(found, end_of(found))}
        for number, (messages, answer) in enumerate(FIXTURES):
            expected = rendered_or_refused(template, messages, **right, answer=answer)
            text = rendered_or_refused(found.template, messages, **own, answer=answer)
            self._report = replace(self._report, chats=number + 1)
            if text != expected:
                right_text, own_text = _excerpt(expected, text), _excerpt(text, expected)
                sentence = f"conversation {number}: expected {right_text}, found {own_text}"
                self._findings.append((sentence, {"field": "chat", "conversation": number}))
                return

    def _verdict(self, seed: int) -> CheckResult:
        if self._findings:
            detail = "; ".join(sentence for sentence, _ in self._findings)
            return exact(NAME, len(self._findings), detail, self._findings[0][1])
        report = self._report
        kind = "merges" if self._expected.rules.merges else "pieces"
        said = [f"{report.tokens} ids are the source's"]
        if report.texts:
            said.append(f"{report.merges} {kind} and {report.texts} texts encode as {report.library} encodes them")
            said.append(f"{report.decoded} texts come back from their ids")
        elif self._source.library is None:
            said.append("the source is a v3 file, whose tokenizer no library reads")
        else:
            said.append(self._otherwise)
        if report.chats:
            said.append(f"{counted(report.chats, 'conversation')} rendered alike")
        if self._expected.rules.single_spaces and not self._removes_spaces:
            said.append("texts with extra spaces, which the source's library removes, were not compared")
        return exact(NAME, 0, "; ".join(said), {"seed": seed})


def _place(difference: Difference) -> dict[str, Any]:
    name = "rank" if difference.field == "merges" else "character" if difference.field == "template" else "id"
    return {"field": difference.field, **({} if difference.at is None else {name: difference.at})}


def _excerpt(text: str, other: str, size: int = 60) -> str:
    """Return what stands where two texts begin to differ."""
    at = next((n for n, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    start = max(0, at - 10)
    return repr(text[start : start + size])
