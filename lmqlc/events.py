"""The events of a run, as `lmqlc.stream` gives them and output writers get them."""

from lmqlc.runtime.stream import Event, HoleEnd, HoleStart, OutputWriter, RunEnd, TextEvent, TokenEvent, ValueEvent
from lmqlc.runtime.streaming import Stream
from lmqlc.runtime.writers import CallbackWriter, StreamWriter

__all__ = [
    "CallbackWriter",
    "Event",
    "HoleEnd",
    "HoleStart",
    "OutputWriter",
    "RunEnd",
    "Stream",
    "StreamWriter",
    "TextEvent",
    "TokenEvent",
    "ValueEvent",
]
