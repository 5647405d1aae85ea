async def __lmql_main__(__lmql__):
    global A, B
    A = await __lmql__.hole(0, (__lmql__.OPEN,))
    await __lmql__.text(' and ')
    B = await __lmql__.hole(1, (f'{A}', len(A), (__lmql_2__ := __lmql__.holds('A', 0, ()))))
