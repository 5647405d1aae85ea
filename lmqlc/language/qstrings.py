"""Names that programs of LMQL import from here."""

from lmqlc.runtime.decorators import Variable as TemplateVariable

__all__ = ["TemplateVariable"]
