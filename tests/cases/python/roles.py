async def __lmql_main__(__lmql__):
    global ANSWER
    await __lmql__.role('system')
    await __lmql__.text('Be kind.')
    await __lmql__.role('user')
    await __lmql__.value(f'{question}')
    await __lmql__.role('assistant')
    ANSWER = await __lmql__.hole(0, ())
    await __lmql__.role('user')
    await __lmql__.text('Why?')
