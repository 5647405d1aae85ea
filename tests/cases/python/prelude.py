async def __lmql_main__(__lmql__):
    global json, size, WHO
    import json
    size = 3
    __lmql__.configure('sample', {'n': size, 'seed': await __lmql__.call(pick())})
    __lmql__.model(await __lmql__.call(model_of(size)))
    await __lmql__.text('Hello ')
    WHO = await __lmql__.hole(0, (size,))
