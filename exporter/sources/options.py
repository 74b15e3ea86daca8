"""What the user says about a source beside its path, and of which kinds of source each can be said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.errors import CheckpointError

# max_seq_len and follow_links can be said of any kind.
_KINDS_WITH = {
    "adapter": ("huggingface",),
    "rope_theta": ("meta",),
    "rope_scaling_factor": ("meta",),
    "tied": ("llama2c", "meta"),
}


@dataclass(frozen=True)
class SourceOptions:
    """The keyword arguments of open_checkpoint, for what opens a kind of source.

    max_seq_len: Meta's directories need not say how long a context is, and Hugging Face's may be cut to it.
    follow_links: open files that links out of the source's directory lead to. adapter: a LoRA adapter's directory.
    rope_theta, rope_scaling_factor: where Meta's params.json leaves them to the code that runs the model.
    tied: whether one matrix is embedding and classifier, where the source leaves that open.
    """

    max_seq_len: int | None = None
    follow_links: bool = False
    adapter: Path | None = None
    rope_theta: float | None = None
    rope_scaling_factor: float | None = None
    tied: bool | None = None

    def refuse_for(self, kind: str) -> None:
        """Raise CheckpointError for an option that this kind of source does not have."""
        for name, kinds in _KINDS_WITH.items():
            if getattr(self, name) is not None and kind not in kinds:
                option = "untied" if name == "tied" and not self.tied else name.replace("_", "-")
                raise CheckpointError(
                    f"--{option} ({name}= in Python): expected a source of kind {' or '.join(kinds)}, found {kind}"
                )
