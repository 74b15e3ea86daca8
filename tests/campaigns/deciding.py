"""Name the Python modules that decide a verdict or a file's bits, and for each the tests nearest to it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]

_DECIDING = (
    *("verify/operations/*.py", "verify/checks/*.py", "verify/checks/directory/*.py", "verify/oracle/expected.py"),
    *("verify/oracle/attention.py", "verify/oracle/logit_margins.py", "verify/tokenizers/*.py"),
    *("verify/vectors/checking.py", "verify/vectors/golden.py"),
    *("verify/sources/*.py", "verify/evidence/*.py", "verify/judge_report.py", "verify/release_file.py"),
    *("verify/run/last_release.py", "verify/run/execution_verdict.py", "verify/run/other_ways.py"),
    *("verify/run/requested.py", "verify/pytest_plugin/session.py"),
    *("exporter/quantize.py", "exporter/encode.py", "exporter/payload.py"),
    *("exporter/formats/*.py", "exporter/sources/*.py", "exporter/disk/target.py"),
    *("exporter/switches.py", "exporter/families/*.py", "exporter/tokenizers/*.py"),
)

# Beside those of a module's own name: what else holds its numbers. They come first, because they notice most.
_ALSO = {
    **dict.fromkeys(
        (str(path.relative_to(ROOT)) for path in (ROOT / "exporter" / "families").glob("*.py")),
        (
            "tests/exporter/families/test_family_tables.py",
            "tests/exporter/families/test_misfits.py",
            "tests/exporter/families/test_published.py",
            "tests/exporter/families/test_mixtures.py",
        ),
    ),
    "exporter/formats/huggingface.py": ("tests/exporter/formats/test_huggingface_bytes.py",),
    "exporter/formats/huggingface_config.py": ("tests/exporter/formats/test_huggingface_words.py",),
    "exporter/formats/huggingface_files.py": ("tests/exporter/formats/test_huggingface_words.py",),
    "exporter/sources/huggingface.py": ("tests/exporter/sources/test_open_huggingface.py",),
    "exporter/sources/huggingface_meanings.py": ("tests/exporter/sources/test_huggingface_fields.py",),
    "exporter/sources/llama2c.py": ("tests/exporter/sources/test_llama2c_arguments.py",),
    **dict.fromkeys(
        (f"exporter/tokenizers/{name}.py" for name in ("added_tokens", "byte_letters", "model")),
        ("tests/exporter/tokenizers/test_vocabulary.py",),
    ),
    "exporter/tokenizers/block_parse.py": ("tests/exporter/tokenizers/test_block.py",),
    "exporter/tokenizers/read.py": ("tests/exporter/tokenizers/test_files.py",),
    "exporter/sources/bin.py": ("tests/exporter/sources/test_ajc1_header.py",),
    "exporter/sources/recognise.py": ("tests/exporter/sources/test_ajc1_header.py",),
    "exporter/sources/source_files.py": ("tests/exporter/sources/test_options.py",),
    "verify/operations/bounds.py": ("tests/verify/operations/test_bound_formulas.py",),
    "verify/operations/switch_bounds.py": (
        "tests/verify/operations/test_bounds_of_switches.py",
        "tests/verify/operations/test_bounds_of_experts.py",
    ),
    "verify/operations/comparison.py": ("tests/verify/checks/test_operations.py",),
    "verify/tokenizers/render_template.py": (
        "tests/verify/tokenizers/test_chat.py",
        "tests/verify/tokenizers/test_chat_by_hand.py",
    ),
    "verify/tokenizers/encoders.py": ("tests/verify/tokenizers/test_libraries.py",),
    "verify/tokenizers/rules.py": (
        "tests/verify/tokenizers/test_fast_json.py",
        "tests/verify/tokenizers/test_block.py",
    ),
    **dict.fromkeys(
        (f"exporter/formats/{name}.py" for name in ("v3_fields", "v3_hyperparameters")),
        (
            "tests/exporter/formats/test_v3_hyperparameters_by_hand.py",
            "tests/exporter/formats/test_v3_parse.py",
            "tests/exporter/formats/test_v3_switches.py",
        ),
    ),
    "verify/operations/expected_points.py": (
        "tests/verify/operations/test_recompute_by_hand.py",
        "tests/verify/operations/test_recompute.py",
    ),
    "verify/checks/directory/switches.py": ("tests/verify/checks/directory/test_config.py",),
    "verify/checks/directory/target.py": ("tests/verify/checks/directory/test_transformers_config.py",),
    "verify/checks/storage.py": ("tests/verify/checks/test_storage_by_hand.py",),
    "verify/run/last_release.py": ("tests/verify/run/test_last_release_by_hand.py",),
    "verify/evidence/collect.py": ("tests/verify/evidence/test_collect_by_hand.py",),
    "verify/evidence/tokenizers.py": ("tests/verify/evidence/test_tokenizers_by_hand.py",),
    "verify/oracle/expected.py": ("tests/verify/operations/test_bound_formulas.py",),
    "verify/evidence/window.py": ("tests/verify/evidence/test_collect_by_hand.py",),
    "verify/sources/huggingface.py": ("tests/verify/sources/test_huggingface_by_hand.py",),
    "verify/sources/huggingface_experts.py": ("tests/verify/sources/test_huggingface_experts_by_hand.py",),
    "verify/sources/meta.py": ("tests/verify/sources/test_meta_by_hand.py",),
    "verify/sources/huggingface_config.py": ("tests/verify/sources/test_huggingface_sizes.py",),
    "verify/sources/llama2c.py": ("tests/verify/sources/test_llama2c_by_hand.py",),
    "verify/tokenizers/source_tokenizer.py": ("tests/verify/tokenizers/test_source_tokenizer_by_hand.py",),
    "verify/sources/links.py": ("tests/verify/sources/test_directory.py",),
    "verify/sources/unchanged_files.py": ("tests/verify/sources/test_directory.py",),
    "verify/sources/finite.py": ("tests/verify/sources/test_checked_numbers.py",),
    "verify/sources/in_memory.py": ("tests/verify/sources/test_source.py",),
    "verify/sources/options.py": ("tests/verify/sources/test_source.py",),
    "verify/sources/refusal.py": ("tests/verify/sources/test_checked_numbers.py",),
}


def deciding() -> list[str]:
    """Return the modules, relative to the root."""
    found = [path for pattern in _DECIDING for path in sorted(ROOT.glob(pattern)) if path.name != "__init__.py"]
    return [str(path.relative_to(ROOT)) for path in found]


def tests_of(module: str) -> list[str]:
    """Return the test files nearest to a module: those of its name, or all of its folder."""
    path = Path(module)
    folder = Path("tests") / path.parent
    patterns = (*_ALSO.get(module, ()), f"{folder}/test_{path.stem}.py", f"{folder}/test_{path.stem}_*.py")
    found = [str(one.relative_to(ROOT)) for pattern in patterns for one in sorted(ROOT.glob(pattern))]
    return list(dict.fromkeys(found)) or [str(folder)]
