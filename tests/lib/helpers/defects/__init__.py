"""Every mistake of exporters, files and engines that is known, as data: how it is seeded, and who must catch it."""

from helpers.defects.engine import ENGINE_DEFECTS as LLAMA_ENGINE_DEFECTS
from helpers.defects.experts import EXPERT_ENGINE_DEFECTS, EXPERT_WRITER_DEFECTS
from helpers.defects.files import FILE_DEFECTS
from helpers.defects.kinds import Defect
from helpers.defects.switch_engines import SWITCH_ENGINE_DEFECTS
from helpers.defects.switches import SWITCH_WRITER_DEFECTS
from helpers.defects.writer import WRITER_DEFECTS as LLAMA_WRITER_DEFECTS

WRITER_DEFECTS: tuple[Defect, ...] = (*LLAMA_WRITER_DEFECTS, *SWITCH_WRITER_DEFECTS)
ENGINE_DEFECTS: tuple[Defect, ...] = (*LLAMA_ENGINE_DEFECTS, *SWITCH_ENGINE_DEFECTS)
LLAMA_DEFECTS: tuple[Defect, ...] = (*LLAMA_WRITER_DEFECTS, *FILE_DEFECTS, *LLAMA_ENGINE_DEFECTS)
SWITCH_DEFECTS: tuple[Defect, ...] = (*SWITCH_WRITER_DEFECTS, *SWITCH_ENGINE_DEFECTS)
# each takes many seconds: make defects judges them, and tests/verify/run/test_expert_defects.py some on every change
EXPERT_DEFECTS: tuple[Defect, ...] = (*EXPERT_WRITER_DEFECTS, *EXPERT_ENGINE_DEFECTS)
DEFECTS = (*LLAMA_DEFECTS, *SWITCH_DEFECTS, *EXPERT_DEFECTS)
BY_NAME = {defect.name: defect for defect in DEFECTS}

__all__ = [
    "BY_NAME",
    "DEFECTS",
    "ENGINE_DEFECTS",
    "EXPERT_DEFECTS",
    "FILE_DEFECTS",
    "LLAMA_DEFECTS",
    "SWITCH_DEFECTS",
    "WRITER_DEFECTS",
    "Defect",
]
