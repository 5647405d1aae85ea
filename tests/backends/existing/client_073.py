"""Run by lmql 0.7.3: queries over LMTP. Arguments: port, model. Prints one line of JSON."""

import json
import sys

import lmql

m = lmql.model(sys.argv[2], endpoint=f"localhost:{sys.argv[1]}", tokenizer=sys.argv[2])


@lmql.query(model=m, max_len=40)
def plain():
    """lmql
    "the cat[X]" where len(TOKENS(X)) < 12
    return X
    """


@lmql.query(model=m, max_len=40)
def choice():
    """lmql
    "hello [X]" where X in ["world", "cat", "mat"]
    return X
    """


@lmql.query(model=m)
def distribution():
    """lmql
    argmax
        "the [X]"
    distribution
        X in ["cat", "mat", "world"]
    """


found = distribution()
print(json.dumps({"plain": plain(), "choice": choice(), "options": getattr(found, "distribution_values", None)}))
