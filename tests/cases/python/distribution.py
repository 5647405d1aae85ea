async def __lmql_main__(__lmql__):
    global SENTIMENT
    await __lmql__.text('Review: ')
    await __lmql__.value(f'{review}')
    await __lmql__.text('\nIt is ')
    SENTIMENT = await __lmql__.distribution(0, ['good', 'bad'], (), None, ())
