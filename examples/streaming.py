"""Shows the events of a run as they happen: what the program writes, every token with its log-probability, and the values at the end."""

import asyncio

import lmqlc
from lmqlc.events import HoleEnd, RunEnd, TextEvent, TokenEvent

PROGRAM = """
"Q: What is the capital of {country}?\\n"
"A:[CAPITAL]" where STOPS_BEFORE(CAPITAL, "\\n")
"""


async def show(country: str) -> None:
    async for event in lmqlc.stream(PROGRAM, country=country, model="demo"):
        if isinstance(event, TextEvent):
            print(f"text   {event.text!r}")
        elif isinstance(event, TokenEvent):
            print(f"token  {event.token.text!r} {event.token.logprob:.2f}")
        elif isinstance(event, HoleEnd):
            print(f"hole   {event.hole.name} = {event.hole.text!r}, ended by {event.hole.finish_reason}")
        elif isinstance(event, RunEnd):
            print(f"end    {event.result.variables}")


if __name__ == "__main__":
    asyncio.run(show("Italy"))
