async def __lmql_main__(__lmql__):
    global asyncio, start, work, results, task, group, value, item
    import asyncio
    from asyncio import create_task as start

    async def work(x):
        return await other(x)
    results = await asyncio.gather(work(1), *(work(x) for x in range(3)))
    task = await __lmql__.call(start(work(2)))
    async with await __lmql__.call(asyncio.TaskGroup()) as group:
        await __lmql__.call(group.create_task(work(4)))
    value = await __lmql__.call(work(5))
    async for item in await __lmql__.call(stream(value)):
        await __lmql__.value(f'{item}')
