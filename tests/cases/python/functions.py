async def __lmql_main__(__lmql__):
    global ask, plain, Bot, answers, total, first, lazy, later

    async def ask(question, default=await __lmql__.call(first())):
        """Ask a question."""
        await __lmql__.text('Q: ')
        await __lmql__.value(f'{question}')
        await __lmql__.text('\nA: ')
        ANSWER = await __lmql__.hole(0, (), int)
        return ANSWER

    def plain(x):
        """not a prompt {x}"""
        return ask(x)

    class Bot:
        tries: int = count()

        async def reply(self):
            self.tries += 1
            REPLY = await __lmql__.hole(1, ())
            return await __lmql__.call(super().clean(REPLY))

        def quiet(self):
            return self.reply()
    await __lmql__.value(f"{await __lmql__.call(ask('x'))}")
    answers = [await __lmql__.call(ask(q)) for q in questions]
    total = sum([await __lmql__.call(ask(q)) for q in questions if await __lmql__.call(ok(q))])
    first = next([await __lmql__.call(ask(q)) for q in questions].__iter__())
    lazy = (q for q in await __lmql__.call(questions()))
    later = lambda: ask('y')
