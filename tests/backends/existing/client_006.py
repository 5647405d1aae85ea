"""Run by lmql 0.0.6: a query over the legacy API. Arguments: port, model. Prints one line of JSON."""

import asyncio
import json
import sys

import lmql
import lmql.runtime.lmql_runtime as runtime
from lmql.runtime.hf_integration import transformers_model

port, name = sys.argv[1:]
model = transformers_model(f"http://localhost:{port}", name)
runtime.register_model(name, model)
runtime.register_model("*", model)


async def main():
    query = f'argmax(max_len=40)\n    "the cat[X]"\nfrom\n    "{name}"\nwhere\n    len(X) < 20'
    results = await lmql.run(query, output_writer=lmql.headless)
    print(json.dumps({"plain": results[0].variables["X"]}))


asyncio.run(main())
