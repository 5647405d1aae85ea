from __future__ import annotations

async def __lmql_main__(__lmql__):
    global annotations, x, f, group, __annotations__
    __annotations__ = {}
    __lmql__.import_star('os.path', 0)
    x = 1
    __annotations__['x'] = 'int'
    __annotations__['y'] = 'str'
    obj.attr = []
    exec('z = 1', globals())
    await __lmql__.value(f"{globals()['x']}")
    await __lmql__.text(' ')
    await __lmql__.value(f'{globals()}')
    await __lmql__.text(' ')
    await __lmql__.value(f'{sorted(globals())}')
    await __lmql__.text(' ')
    await __lmql__.value(f"{eval('x', globals())}")

    def f():
        global made
        made = locals()
        x: int = made
    try:
        pass
    except* ValueError as group:
        raise
    finally:
        del x
