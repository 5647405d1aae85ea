async def __lmql_main__(__lmql__):
    global random, things, i, THING
    import random
    await __lmql__.text('My list:\n')
    things = []
    for i in range(3):
        await __lmql__.text('-')
        THING = await __lmql__.hole(0, ())
        await __lmql__.call(things.append(await __lmql__.call(THING.strip())))
    await __lmql__.value(f'{things[0]!r:>10}')
    await __lmql__.text(' is ')
    await __lmql__.value(f'{len(things)}')
    __lmql__.result(things)
    return
