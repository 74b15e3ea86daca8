"""v3's head is assembled a second time, and what differs is named."""

from __future__ import annotations

from pathlib import Path

from helpers.checkpoints import save, state_dict
from helpers.models import toy_file

import reader_c
from verify.checks.v3_head import head_findings
from verify.sources import open_source


class Shown:
    """A model whose reader shows another content or other metadata."""

    def __init__(self, model: reader_c.Model, **shown: object) -> None:
        self._model, self._shown = model, shown

    def __getattr__(self, name: str) -> object:
        return self._shown.get(name) or getattr(self._model, name)


def test_a_healthy_head_has_no_findings(tmp_path: Path) -> None:
    source = open_source(save(tmp_path, state_dict()))
    with reader_c.open(toy_file(tmp_path, "v3", tied=True)) as model:
        assert head_findings(model, source, 33) == []
        assert head_findings(model, source, 20) == [
            "head: byte 32 differs from what the source, the storages and the tensors require"
        ]


def test_a_changed_payload_is_found_by_its_digest(tmp_path: Path) -> None:
    source = open_source(save(tmp_path, state_dict()))
    with reader_c.open(toy_file(tmp_path, "v3", tied=True)) as model:
        content = bytearray(model.content)
        content[model.head_size + 5] ^= 1
        findings = head_findings(Shown(model, content=memoryview(bytes(content))), source, 33)  # type: ignore[arg-type]
        assert findings[0].startswith("tok_embeddings.weight: digest: expected ")
        assert ", computed from its bytes, found " in findings[0]
