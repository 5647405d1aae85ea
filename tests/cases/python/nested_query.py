async def __lmql_main__(__lmql__):
    global X, Y
    X = await __lmql__.hole(0, (), other('a', await __lmql__.call(inner(1))))
    await __lmql__.text(' ')
    Y = await __lmql__.hole(1, (), None, (deco(await __lmql__.call(inner(2))),))
