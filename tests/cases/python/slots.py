async def __lmql_main__(__lmql__):
    global A
    A = await __lmql__.hole(0, (await __lmql__.call(later()), (__lmql_1__ := flag), names[0] if __lmql_1__ else __lmql__.OPEN, 10 / flag, (__lmql_4__ := (await __lmql__.call(f(1)))), 0 < __lmql_4__))
