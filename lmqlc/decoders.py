"""What decoders of one's own are made of; `docs/decoders.md` shows one.

A decoder is an asynchronous function of a `Search`, the branches that are live at first, and keyword arguments; or a subclass of
`BaseDecoder`. It gives the finished branches that are the run's results, best first.
"""

from lmqlc.runtime.decoders.base import BaseDecoder
from lmqlc.runtime.decoders.candidates import Candidate, best, grown, likeliest
from lmqlc.runtime.search import Branch, Search

__all__ = ["BaseDecoder", "Branch", "Candidate", "Search", "best", "grown", "likeliest"]
