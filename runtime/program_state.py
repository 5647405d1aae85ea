"""The name under which programs of LMQL know what decorators get as their context."""

from lmqlc.runtime.interpreter import Interpreter as ProgramState

__all__ = ["ProgramState"]
