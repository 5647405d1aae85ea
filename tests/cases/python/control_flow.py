async def __lmql_main__(__lmql__):
    global file, m, X, letter, error
    with open(path) as file, await __lmql__.call(manager()) as m:
        await __lmql__.value(f'{file}')
    while True:
        X = await __lmql__.hole(0, ())
        match X:
            case 'a' | 'b' as letter if await __lmql__.call(check(letter)):
                break
            case _:
                continue
    else:
        await __lmql__.text('never')
    try:
        await __lmql__.value(f'{1 / 0}')
    except (ZeroDivisionError, await __lmql__.call(errors())) as error:
        await __lmql__.value(f'{error!s}')
    else:
        pass
    finally:
        if X:
            await __lmql__.text('yes')
            print(X)
        else:
            await __lmql__.text('no')
    assert X, await __lmql__.call(message())
    __lmql__.result(X if X else None)
    return
