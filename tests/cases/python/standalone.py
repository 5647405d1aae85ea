async def __lmql_main__(__lmql__):
    global WHO
    __lmql__.configure('argmax', {'chunk_timeout': 10.0})
    __lmql__.model(await __lmql__.call(lmql.inprocess('gpt2', cuda=True)))
    await __lmql__.text('Hello')
    WHO = await __lmql__.hole(0, ())
