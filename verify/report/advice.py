"""Advise on a check that did not pass: one sentence, the same in every rendering."""

from __future__ import annotations

from verify.checks.result import CheckResult
from verify.report.findings import Findings

# a page that an installed package has, too
_GUIDE = "`export-and-verify docs debugging-a-mismatch`"

# check -> what to do if it is the first that failed
_STEPS = {
    "config": "{config} ({guide}).",
    "file": "Copy the file again and compare its sha256 with the sender's; where they are equal, "
    "`export-and-verify inspect FILE` shows what its writer got wrong.",
    "tokenizer": "Write the tokenizer again from the one beside the source; where every id is right and a text is "
    f"not, the reader encodes wrongly ({_GUIDE}).",
    "tensors": "Fix how the exporter writes {tensor}, export again and verify again; "
    f"{_GUIDE} helps to tell damage from a mistake with names or order.",
    "operations": "Check the engine's code and inputs at {operation}, and nothing after it: every operation is "
    f"judged by its own inputs ({_GUIDE}).",
    "execution": "{again} how the engine connects its operations: each of them is right by itself " + f"({_GUIDE}).",
    "engine": "Fix the engine, not the file: every check before this one passed without it "
    "(`export-and-verify docs your-engine` says what logits alone can show).",
    "storage": "Check how the exporter derives scales and rounds, and how the engine rounds activations "
    f"({_GUIDE}); if both are right, report this model as a false alarm.",
    "quantization": "Use smaller groups, or a wider storage for the tensors that cost most (v3: --storage "
    "PATTERN=bf16); raise the policy's limit only if you accept this cost.",
    "coverage": "Verify again on more: --depth full, a larger --length, more --windows or your own --text; lower the "
    "policy's demand only if you accept that the rest was not run.",
    "baseline": "Undo what changed since the baseline (format, group size, storage). If you want the change, release "
    "without the baseline and compare later releases with that one.",
}

_SHAPES = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "expert_hidden_dim")
# the beginning of a header's field -> where an exporter finds its value
_FIELDS = {
    "tied": ": set it where the source ties the classifier to the embedding (tie_word_embeddings), and only there",
    "rope_scaling_original": ": take original_max_position_embeddings, not max_position_embeddings",
    "rope_scaling": ": take it from the source's rope_scaling, all fields of one type together",
    "windowed_layers": ": take each layer's own type (layer_types), since a window may concern some layers only",
    "window": ": take the source's sliding_window, and 0 where it does not use one",
    "activation": ": take the source's hidden_act",
    "norm_eps": ": take the source's rms_norm_eps",
    "rope_theta": ": take the source's rope_theta",
}

# For int8 activations, which have one right answer.
_COMPUTED_AGAIN = (
    "Check how the engine rounds activations to int8 and in which order it adds the groups: a recomputation gives "
    f"other bits ({_GUIDE})."
)


def next_step(check: CheckResult, findings: Findings) -> str:
    """Say what to do about a check that failed or was skipped. findings: the whole verdict, which may change it."""
    first = next((other for other in findings.checks if other.status == "fail"), check)
    if check.status == "skipped":
        return _about_skipped(check, first)
    # each check assumes that those before it have passed
    if first.name != check.name:
        return f"Fix {first.name} first: it may be the cause of what {check.name} found."
    if check.name == "execution" and check.bound == "exact":
        return _COMPUTED_AGAIN
    layer = check.where.get("layer")
    return _STEPS[check.name].format(
        tensor=check.where.get("tensor", "the tensors named"),
        operation=f"{'' if layer is None else f'layer {layer}, '}{check.where.get('operation', 'the one named')}",
        config=_about_config(check, findings),
        guide=_GUIDE,
        again="Check" if findings.evidence.get("depth") == "full" else "Verify again with --depth full and check",
    )


def _about_config(check: CheckResult, findings: Findings) -> str:
    """Say what to do about the first field that differs, by its kind."""
    field, first = str(check.where.get("field", "")), check.detail.split("; ")[0]
    if first.endswith(" implies"):
        return "Export again in a format that can hold this model: v3 has a field for each value"
    if first.endswith(" requested"):
        return "Export again with the settings that you requested, or verify without them"
    if field == "max_seq_len":
        return "Export again with the length that you want, or verify with --max-seq-len and the file's own"
    if field in _SHAPES:
        return f"Verify against the checkpoint that the file was made from; if this is it, fix how {field} is written"
    where = "config.json's field" if findings.file.get("format") == "hf" else "the header's field"
    more = next((text for start, text in _FIELDS.items() if field.startswith(start)), "")
    return f"Fix the value that the exporter writes into {where} {field or 'named'}{more}"


def _about_skipped(check: CheckResult, failed: CheckResult) -> str:
    """Say what to do about a check that could not run: because another failed, or because nothing could be judged."""
    if failed.name != check.name:
        return f"Fix {failed.name} first and verify again: {check.name} could not run."
    if check.name == "baseline":
        return "Verify both files on the same windows, at least two of one origin (--windows), and compare again."
    return (
        f"Remove what prevented {check.name} from running and verify again, or add it to the policy's may_be_skipped "
        "if you do not need it."
    )
