async def __lmql_main__(__lmql__):
    global dataclass, Person, shout, A, P, R, N
    from dataclasses import dataclass

    @dataclass
    class Person:
        name: str

    def shout(value):
        return value.upper()
    A = await __lmql__.hole(0, (), str, (shout,))
    await __lmql__.text(' ')
    P = await __lmql__.hole(1, (), Person)
    await __lmql__.text(' ')
    R = await __lmql__.hole(2, (), '[a-z]+')
    await __lmql__.text(' ')
    N = await __lmql__.hole(3, (), int)
