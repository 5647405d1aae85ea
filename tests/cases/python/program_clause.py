async def __lmql_main__(__lmql__):
    global A, ask, B
    __lmql__.configure('argmax', {})
    A = await __lmql__.hole(0, (options, f'{B}' if __lmql__.bound('B') else __lmql__.OPEN, __lmql__.holds('B', 0, ()) if __lmql__.bound('B') else __lmql__.OPEN))

    async def ask():
        """Ask."""
        A = await __lmql__.hole(1, ())
        return A
    B = await __lmql__.hole(2, ((__lmql_0__ := (__lmql__.holds('A', 1, (options,)) if __lmql__.bound('A') else __lmql__.OPEN)), f'{A}' if __lmql_0__ and __lmql__.bound('A') else __lmql__.OPEN))
    await __lmql__.text(': ')
    await __lmql__.value(f'{await __lmql__.call(ask())}')
