async def __lmql_main__(__lmql__):
    await __lmql__.value('{}'.format(', '.join(names)))
    await __lmql__.text(' ')
    await __lmql__.value('{}'.format(await __lmql__.call(chr(10).join(names))))
    await __lmql__.text(' ')
    await __lmql__.value('{!r:{}}'.format('\n'.join(names), ''.join(['>', '{}'.format(width)])))
    await __lmql__.value('{!r:{}}'.format('\\'.join(names), ''.join(['>', '{}'.format(width)])))
    await __lmql__.text(' ')
    await __lmql__.value('{}'.format('\\'))
