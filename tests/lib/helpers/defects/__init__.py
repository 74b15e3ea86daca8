"""Every mistake of exporters, files and engines that is known, as data: how it is seeded, and who must catch it."""

from helpers.defects.engine import ENGINE_DEFECTS
from helpers.defects.files import FILE_DEFECTS
from helpers.defects.kinds import Defect
from helpers.defects.writer import WRITER_DEFECTS

DEFECTS: tuple[Defect, ...] = (*WRITER_DEFECTS, *FILE_DEFECTS, *ENGINE_DEFECTS)
BY_NAME = {defect.name: defect for defect in DEFECTS}

__all__ = ["BY_NAME", "DEFECTS", "ENGINE_DEFECTS", "FILE_DEFECTS", "WRITER_DEFECTS", "Defect"]
