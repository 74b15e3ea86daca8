"""Greedy text: healthy engines have no defect, mistakes have one, and equal logits are a tie."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from helpers import toy_engine
from helpers.command_line import refused, run
from helpers.models import arrays, config

import exporter
import reader_c
import verify
from verify.checks.certificates import GreedyText
from verify.demo import CHECKPOINT
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.report.document import schema
from verify.run.memory import AT_EASE
from verify.run.progress import no_progress
from verify.sources import open_source
from verify.vectors.choices import GreedyJudge
from verify.vectors.engine_outputs import Output, Prompt, expect_shown, parting, read_output, read_prompt
from verify.vectors.prompts import certify_prompts, read_prompts

MODEL = config(dim=64, hidden_dim=96, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=96, max_seq_len=64)
PROMPT = [5, 17, 40]
LENGTH = 40


class Files:
    """A source and files of it. The tied one has every token twice: token + 48 has the logit of token."""

    def __init__(self, directory: Path) -> None:
        self.source, self.file, self.quantized = (directory / name for name in ("s.bin", "m.bin", "q8.bin"))
        self.prompt, self.none = directory / "prompt.npy", directory / "none"
        self._export(arrays(MODEL), {self.source: "v3", self.file: "v0", self.quantized: "v2"})
        twice = arrays(MODEL)
        for name in {"output.weight", "tok_embeddings.weight"} & set(twice):
            twice[name][48:] = twice[name][:48]
        self.twice_source, self.twice = directory / "ts.bin", directory / "t.bin"
        self._export(twice, {self.twice_source: "v3", self.twice: "v0"})
        np.save(self.prompt, np.array(PROMPT))

    @staticmethod
    def _export(weights: dict[str, np.ndarray], files: dict[Path, str]) -> None:
        checkpoint = exporter.Checkpoint.from_arrays(MODEL, weights)
        for path, name in files.items():
            exporter.export(checkpoint, path, format=name, group_size=32)

    def saved(self, name: str, array: object) -> Path:
        path = self.prompt.with_name(f"{name}.npy")
        np.save(path, np.array(array))
        return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"))


def greedy(path: Path, engine: str, *, last: bool = False, **how: str) -> list[int]:
    """What an engine chooses after the prompt, the reader for "reader". last: the last one of equal logits."""
    tokens = [*PROMPT]
    with reader_c.open(path) as model:
        while len(tokens) < LENGTH:
            ids = np.array(tokens)
            logits = (
                model.forward(ids, **how)  # type: ignore[arg-type]
                if engine == "reader"
                else getattr(toy_engine, engine)(path).logits(ids)
            )[-1]
            tokens.append(int(len(logits) - 1 - logits[::-1].argmax()) if last else int(logits.argmax()))
    return tokens


def test_healthy_engines_have_no_defect_and_choose_what_is_certain(files: Files) -> None:
    with reader_c.open(files.file) as model:
        judge = GreedyJudge(model, open_source(files.source))
        for engine, how in (("reader", {"arithmetic": "mirror"}), ("reader", {}), ("Healthy", {})):
            found = judge.judge(Output.of_tokens("a", greedy(files.file, engine, **how), len(PROMPT) - 1))
            assert found.passed
            assert (found.ties, found.logit) == ((), None)
            assert found.certificates.positions == LENGTH - len(PROMPT)
            assert found.certificates.certified == found.certificates.positions


@pytest.mark.parametrize("engine", ["Relu", "KvHeadsModulo", "HalfSplit", "FinalNormMissing", "LastLayerMissing"])
def test_a_mistake_is_a_defect_at_the_first_position_where_its_text_shows_it(files: Files, engine: str) -> None:
    right, wrong = greedy(files.file, "reader"), greedy(files.file, engine)
    outputs = [Output.of_tokens(name, ids, len(PROMPT) - 1) for name, ids in (("right", right), ("wrong", wrong))]
    position = parting(*outputs)
    assert position == next(at for at, (a, b) in enumerate(zip(right[1:], wrong[1:], strict=True)) if a != b)
    with reader_c.open(files.file) as model:
        found = GreedyJudge(model, open_source(files.source)).judge(outputs[1])
    assert not found.passed
    assert found.defect is not None
    assert (found.defect.position, found.defect.expected) == (position, right[position + 1])
    assert found.defect.chosen == wrong[position + 1]
    assert found.defect.sigmas >= 10


@pytest.mark.parametrize("engine", ["LogitsScaled", "HalfPrecisionCache", "Noisy"])
def test_a_mistake_that_changes_no_token_shows_in_logits(files: Files, engine: str) -> None:
    ids = np.array(greedy(files.file, "reader"))
    logits = getattr(toy_engine, engine)(files.file).logits(ids)
    fed = Prompt(tuple(ids.tolist()), None)
    wrong = read_output(files.saved(engine, logits), fed, files.none, 96)
    right = read_output(files.saved("right", toy_engine.Healthy(files.file).logits(ids)), fed, files.none, 96)
    with reader_c.open(files.file) as model:
        judge = GreedyJudge(model, open_source(files.source))
        assert judge.judge(right).passed
        found = judge.judge(wrong)
    assert not found.passed
    assert found.logit is not None
    assert found.logit.sigmas > 10


def test_equal_logits_are_a_tie_for_both(files: Files) -> None:
    outputs = [
        Output.of_tokens("a", greedy(files.twice, "reader", last=last), len(PROMPT) - 1) for last in (False, True)
    ]
    assert parting(*outputs) == len(PROMPT) - 1
    with reader_c.open(files.twice) as model:
        judge = GreedyJudge(model, open_source(files.twice_source))
        for output in outputs:
            found = judge.judge(output)
            assert found.passed
            assert found.certificates.certified == 0
            assert found.certificates.smallest.sigmas == 0
        assert [tie.sigmas for tie in judge.judge(outputs[1]).ties] == [0.0] * (LENGTH - len(PROMPT))


def test_int8_activations_leave_no_room(files: Files) -> None:
    ids = greedy(files.quantized, "reader", activations="q8", arithmetic="mirror")
    other = [*ids[:20], (ids[20] + 1) % 96, *ids[21:]]
    with reader_c.open(files.quantized) as model:
        judge = GreedyJudge(model, open_source(files.source), int8=True)
        right = judge.judge(Output.of_tokens("a", ids, len(PROMPT) - 1))
        wrong = judge.judge(Output.of_tokens("a", other, len(PROMPT) - 1))
        exact = model.forward(ids, activations="q8", arithmetic="mirror")
        output = Output("a", np.array(ids), exact.argmax(axis=1), 0, exact)
        assert judge.judge(output).passed
        exact[7, 9] = np.nextafter(exact[7, 9], np.float32(9))
        one_bit = judge.judge(output)
    assert right.passed
    assert right.certificates.certified == right.certificates.positions
    assert wrong.defect is not None
    assert (wrong.defect.position, wrong.defect.sigmas) == (19, np.inf)
    assert one_bit.logit is not None
    assert (one_bit.passed, one_bit.logit.where["position"], one_bit.logit.where["index"]) == (False, 7, 9)


def test_what_cannot_be_judged_is_refused(files: Files) -> None:
    with reader_c.open(files.file) as model:
        with pytest.raises(CannotJudgeError, match="expected Q8_0 weights for int8 activations, found none"):
            GreedyJudge(model, open_source(files.source), int8=True)
        with pytest.raises(CannotJudgeError, match=r"tensors: expected the model of .*ts\.bin, found: "):
            GreedyJudge(model, open_source(files.twice_source))


# ---- what engines gave ----


def test_a_prompt_is_a_text_or_ids(files: Files) -> None:
    assert read_prompt(None, files.prompt, files.none, 96) == Prompt(tuple(PROMPT), None)
    for ids, message in (
        ([[1]], r"expected token ids, integers \[length\], found int64 \[1, 1\]"),
        ([0.5], r"expected token ids, integers \[length\], found float64 \[1\]"),
        ([96], "token: expected ids from 0 to 95, found 96"),
        (np.zeros(0, int), "token: expected ids from 0 to 95, found none"),
    ):
        with pytest.raises(CannotJudgeError, match=message):
            read_prompt(None, files.saved("wrong", ids), files.none, 96)
    with pytest.raises(CannotJudgeError, match="--prompt: expected a text, or --ids FILE with its token ids, found"):
        read_prompt(None, None, files.none, 96)


def test_an_output_begins_with_its_prompt_and_goes_on(files: Files) -> None:
    prompt = Prompt(tuple(PROMPT), None)
    text = files.none.with_name("a.txt")
    text.write_text("a text")
    binary = files.none.with_name("binary")
    binary.write_bytes(b"\xff\xfe")
    for given, message in (
        (files.saved("o", [5, 18, 40, 3]), "expected ids that begin with the prompt's, found another at 1"),
        (files.saved("p", PROMPT), "expected more than the prompt's 3 tokens, found 3"),
        (files.saved("q", np.zeros((3, 95), "f4")), r"expected logits of shape \(3, 96\), .*, found \(3, 95\)"),
        (files.saved("r", [[1]]), r"expected integers \[length\] or float32 logits, found int64 \[1, 1\]"),
        (text, "expected token ids or logits beside --ids, found a text: give --prompt TEXT"),
        (binary, "expected UTF-8 text or a .npy file, found byte 0 to be neither"),
        (files.none, "none: no such file or directory"),
    ):
        with pytest.raises(CannotJudgeError, match=message):
            read_output(given, prompt, files.none, 96)
    found = read_output(files.saved("s", [*PROMPT, 3, 4]), prompt, files.none, 96)
    assert (found.fed.tolist(), found.chosen.tolist(), found.first) == ([5, 17, 40, 3], [17, 40, 3, 4], 2)


# ---- the command ----


def certify(files: Files, *arguments: object) -> tuple[int, str]:
    found = run("certify", files.source, files.file, *arguments, "--ids", files.prompt)
    assert found.stderr == ""
    return found.returncode, found.stdout


def test_the_command_certifies_greedy_text(files: Files) -> None:
    code, said = certify(files, "--steps", 20)
    assert code == 0
    assert re.fullmatch(
        r"greedy text is certain for all 20 tokens; smallest margin [0-9.e+]+ standard deviations\n", said
    )
    assert run("certify", files.twice_source, files.twice, "--ids", files.prompt).stdout.startswith(
        "greedy text is certain for 0 tokens; then, at position 2, "
    )
    exact = run("certify", files.source, files.quantized, "--ids", files.prompt, "--activations", "q8")
    assert exact.stdout == "greedy text with int8 activations is certain for all 61 tokens; to the bit\n"


def test_the_command_names_a_defect_or_a_tie(files: Files) -> None:
    right, wrong = (files.saved(name, greedy(files.file, name)) for name in ("Healthy", "Relu"))
    assert certify(files, right, right) == (
        0,
        f"{right}: no defect: 37 tokens, of which every correct engine chooses 37\n" * 2
        + f"{right} and {right} chose the same tokens\n",
    )
    code, said = certify(files, right, wrong)
    assert code == 1
    assert re.fullmatch(
        rf"{right}: no defect: 37 tokens, of which every correct engine chooses 37\n"
        rf"{wrong}: a defect: margin [0-9.e+]+ standard deviations at position ([0-9]+): expected ([0-9]+), as every "
        r"correct engine chooses, found ([0-9]+)\n"
        rf"{right} and {wrong} part at position \1: \2 and \3: a defect of {wrong}\n",
        said,
    )
    assert certify(files, right, wrong, "--quiet") == (1, "")
    one, other = (files.saved(f"{last}", greedy(files.twice, "reader", last=last)) for last in (False, True))
    tie = run("certify", files.twice_source, files.twice, one, other, "--ids", files.prompt)
    assert tie.returncode == 0
    first, second, third = tie.stdout.splitlines()
    assert "no defect: 37 tokens, of which every correct engine chooses 0" in first
    assert second.endswith("; a tie within rounding at position 2, 3, 4, 5, 6, 7, 8, 9 and 29 more")
    assert third.startswith(f"{one} and {other} part at position 2: ")
    assert third.endswith(": a tie within rounding, 0 standard deviations")
    refused(run("certify", files.source, files.file, "--ids", files.prompt, "--steps", 0), "--steps: expected 1 or")


def test_the_command_prints_json(files: Files) -> None:
    code, said = certify(files, "--steps", 20, "--json")
    found = json.loads(said)
    text = found.pop("greedy_text")
    assert (code, found) == (
        0,
        {"file": str(files.file), "activations": "fp32", "passed": True, "outputs": [], "parting": None},
    )
    # the report's own form
    assert jsonschema.validate(text, {**schema(), **schema()["$defs"]["greedy_text"]}) is None
    assert (text["prompt"], text["tokens"], text["certain"], text["tie"]) == (None, 20, 20, None)
    right, wrong = greedy(files.file, "Healthy"), greedy(files.file, "Relu")
    at = next(at for at, (a, b) in enumerate(zip(right[1:], wrong[1:], strict=True)) if a != b)
    paths = [files.saved(name, ids) for name, ids in (("right", right), ("wrong", wrong))]
    code, said = certify(files, *paths, "--json", "--quiet")
    found = json.loads(said)
    assert (code, found["passed"], found["greedy_text"]) == (1, False, None)
    assert found["parting"] == {
        "position": at,
        "chosen": [right[at + 1], wrong[at + 1]],
        "defect_of": [str(paths[1])],
    }
    first, second = found["outputs"]
    defect = second.pop("defect")
    assert defect.pop("sigmas") >= 10
    assert defect == {"position": at, "expected": right[at + 1], "chosen": wrong[at + 1]}
    assert first == {
        "name": str(paths[0]),
        "passed": True,
        "tokens": 37,
        "certified": 37,
        "ties": [],
        "defect": None,
        "worst_logit": None,
    }
    one, other = (files.saved(f"{last}", greedy(files.twice, "reader", last=last)) for last in (False, True))
    tie = run("certify", files.twice_source, files.twice, one, other, "--ids", files.prompt, "--json")
    found = json.loads(tie.stdout)
    assert found["parting"]["defect_of"] == []
    assert found["outputs"][1]["ties"][0]["sigmas"] == 0


# ---- the prompts of a verdict ----


def test_each_prompt_is_certified_with_each_kind_of_activations(files: Files) -> None:
    prompts, seen = (Prompt((5, 17), "a"), Prompt((40,), "b")), []

    def certified(source: Path, file: Path, steps: int) -> tuple[GreedyText, ...]:
        with reader_c.open(file) as model:
            return certify_prompts(model, open_source(source), prompts, steps, AT_EASE, lambda *now: seen.append(now))

    found = certified(files.source, files.quantized, 6)
    assert [(text.prompt, text.activations) for text in found] == [
        ("a", "fp32"),
        ("b", "fp32"),
        ("a", "q8"),
        ("b", "q8"),
    ]
    assert all((text.tokens, text.certain, text.tie) == (6, 6, None) for text in found)
    assert {stage for stage, _done, _all in seen} == {"greedy text"}
    assert seen[-1][1] == seen[-1][2]
    tied, other = certified(files.twice_source, files.twice, 9)
    assert tied.tie is not None
    assert other.tie is not None
    assert (tied.tokens, tied.certain, tied.tie.position, tied.tie.sigmas) == (9, 0, 1, 0.0)
    assert other.tie.position == 0
    # max_seq_len ends the text
    assert {text.tokens for text in certified(files.source, files.file, 99)} == {62, 63}


def test_a_reader_that_chooses_wrongly_gives_no_verdict(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Output.of_tokens("the C reader", greedy(files.file, "Relu"), len(PROMPT) - 1)
    monkeypatch.setattr(GreedyJudge, "greedy", lambda *_: wrong)
    with (
        reader_c.open(files.file) as model,
        pytest.raises(
            CannotJudgeError, match=r"m\.bin: prompt: expected a correct engine's choices, found the C reader: a"
        ),
    ):
        certify_prompts(model, open_source(files.source), [Prompt(tuple(PROMPT), "a")], 9, AT_EASE, no_progress)


def test_prompts_are_refused_before_anything_is_computed(files: Files, tmp_path: Path) -> None:
    source = open_source(CHECKPOINT)
    assert read_prompts(source, Evidence(), 9) == ()
    (prompt,) = read_prompts(source, Evidence(prompts=("In the beginning",)), 10)
    assert prompt.text == "In the beginning"
    for evidence, message in (
        (Evidence(prompts=("In",), steps=0), "^steps: expected 1 or more, found 0$"),
        (Evidence(prompts=("In", "")), "^prompt: expected a text, found an empty one$"),
        (Evidence(prompts=("In the beginning God",)), "^prompt: expected fewer tokens than max_seq_len = 3, found"),
        (Evidence(prompts=("In",), tokenizer=files.none), "none"),
    ):
        with pytest.raises(CannotJudgeError, match=message):
            read_prompts(source, evidence, 3)
    with reader_c.open(files.file) as model, pytest.raises(CannotJudgeError, match=r"max_seq_len = 64, found 64$"):
        GreedyJudge(model, open_source(files.source)).greedy(range(64), 1)
    directory = tmp_path / "hf"
    directory.mkdir()
    with pytest.raises(CannotJudgeError, match=r"^prompt: expected a \.bin file to judge, found a dir"):
        verify.verify(CHECKPOINT, directory, evidence=Evidence(prompts=("In",)))


@pytest.mark.slow
def test_a_report_says_how_long_greedy_text_is_certain(tmp_path: Path) -> None:
    file, report = tmp_path / "model.bin", tmp_path / "report"
    exporter.export(exporter.open_checkpoint(CHECKPOINT), file, format="v3")
    quick = ("--depth", "quick", "--windows", "1", "--length", "8", "--prompt", "In the beginning", "--steps", "5")
    said = run("verify", CHECKPOINT, file, *quick, "--report", report)
    assert said.returncode == 0
    (text,) = verify.read_report(report / "report.json").greedy_texts
    assert (text.prompt, text.activations, text.tokens, text.certain) == ("In the beginning", "fp32", 5, 5)
    assert text.sentence() in said.stdout
    assert text.sentence().replace("greedy text", "**Greedy text**") in (report / "summary.md").read_text()
    assert text.sentence().replace("greedy", "Greedy") in html.unescape((report / "report.html").read_text())
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    said = run("verify", CHECKPOINT, file, *quick)
    assert said.returncode == 1
    assert "note: greedy text from the prompts was not certified, because " in said.stdout


TEXT = "In the beginning God, and the chief priests and the Levites, and the Levites"


def test_texts_are_judged_by_the_source_s_tokenizer(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(CHECKPOINT), file, format="v1")
    right, wrong, other = (tmp_path / name for name in ("right.txt", "wrong.txt", "other.txt"))
    right.write_text(f"{TEXT}\n")
    wrong.write_text(f"{TEXT} went up")
    other.write_text("At the end")
    asked = ("certify", CHECKPOINT, file, right, wrong, "--prompt", "In the beginning God")
    said = run(*asked)
    assert said.returncode == 1
    first, second, third = said.stdout.splitlines()
    assert first == f"{right}: no defect: 26 tokens, of which every correct engine chooses 26"
    assert re.fullmatch(
        rf"{wrong}: a defect: margin [0-9.e+]+ standard deviations at position [0-9]+: expected 465 ',', as every "
        r"correct engine chooses, found [0-9]+ '[a-z]+'",
        second,
    )
    assert third == f"{right} and {wrong} chose the same tokens"
    refused(run(*asked[:3], other, *asked[5:]), "expected a text that begins with the prompt 'In the beginning God'")


def test_a_text_that_fits_the_expected_token_is_not_judged() -> None:
    """A text that an engine wrote by one token may be split into two."""
    tokenizer = CHECKPOINT.with_name("tokenizer.model")
    ids = read_prompt(TEXT, None, tokenizer, 512).ids
    output = Output.of_tokens("a.txt", ids, 0, from_text=True)
    # the token that is there fits, and others do not
    with pytest.raises(CannotJudgeError) as caught:
        expect_shown(output, 9, ids[10], tokenizer)
    assert str(caught.value) == (
        f"a.txt: position 9: expected a text that shows the chosen token, found one that fits {ids[10]} and "
        f"{ids[10]}: give the engine's token ids as .npy"
    )
    expect_shown(output, 9, ids[10] + 1, tokenizer)
    expect_shown(dataclasses.replace(output, from_text=False), 9, ids[10], tokenizer)
