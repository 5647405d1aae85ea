"""Short texts as training text: reviews, packing lists, greetings, records, dates, stories, chats.

Each public function takes the random generator and returns one document.
"""

from __future__ import annotations

import json
from random import Random

from lmqlc.backends.demo import words

Turns = tuple[tuple[str, str], ...]
_TABLES = {"positive": words.TOPICS_GOOD, "negative": words.TOPICS_BAD, "neutral": words.TOPICS_PLAIN}
_VERDICTS = {"positive": ("good", "happy"), "negative": ("bad", "unhappy"), "neutral": ("average", "undecided")}


def _verb(topic: str, rng: Random) -> str:
    plural = topic == "staff" and rng.random() < 0.5
    return rng.choice(("were", "are")) if plural else rng.choice(("was", "was", "is"))


def _claim(rng: Random, sentiment: str) -> str:
    topic, praise = rng.choice(list(_TABLES[sentiment].items()))
    start = rng.choice(("The", "The", "The", "This", "Our")) if topic != "staff" else "The"
    first = f"{start} {topic} {_verb(topic, rng)} {rng.choice(praise)}"
    if rng.random() < 0.4:
        other, more = rng.choice(list(_TABLES[sentiment].items()))
        first += f" and the {other} {_verb(other, rng)} {rng.choice(more)}"
    return first + rng.choice((".", ".", ".", "!"))


def review_text(rng: Random, sentiment: str) -> str:
    """One to three sentences of one sentiment."""
    claims = [_claim(rng, sentiment) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    closing = [rng.choice(words.CLOSINGS[sentiment])] if not claims or rng.random() < 0.5 else []
    parts = claims + closing
    if rng.random() < 0.3:
        parts.reverse()
    return " ".join(parts)


def review(rng: Random) -> str:
    """A review and its sentiment, in one of many layouts."""
    sentiment = rng.choice(("positive", "negative", "neutral"))
    text = review_text(rng, sentiment)
    quote = rng.choice(("", "", '"'))
    short, mood = _VERDICTS[sentiment]
    heads = (f"Review: {quote}{text}{quote}\n", f"Review: {quote}{text}{quote}\n", f"Text: {text}\n", f"{text}\n", f"Comment: {text}\n")
    tails = (
        f"Sentiment: {sentiment}\n",
        f"Sentiment: {sentiment}\n",
        f"Sentiment: {sentiment}\n",
        f"The sentiment of this review is {sentiment}.\n",
        f"Q: Is the sentiment of this review positive, negative or neutral?\nA: {sentiment}\n",
        f"Q: What is the sentiment of this review?\nA: {sentiment}\n",
        f"Overall, the review is {sentiment}.\n",
        f"The writer is {mood}, so the sentiment is {sentiment}.\n",
        f"Analysis: The writer is {mood}. The review is {short}.\nSentiment: {sentiment}\n",
    )
    return rng.choice(heads) + rng.choice(tails)


def review_series(rng: Random) -> str:
    """Several labelled reviews in a row."""
    label = rng.choice(("Review", "Text"))
    gap = rng.choice(("", "\n"))
    picked = [rng.choice(("positive", "negative", "neutral")) for _ in range(3)]
    return gap.join(f"{label}: {review_text(rng, sentiment)}\nSentiment: {sentiment}\n" for sentiment in picked)


def write_review(rng: Random) -> str:
    """A request for a review, then the review."""
    sentiment = rng.choice(("positive", "negative", "neutral"))
    return f"Write a {sentiment} review.\n{rng.choice(('Review: ', ''))}{review_text(rng, sentiment)}\n"


def packing(rng: Random) -> str:
    """A packing list of five to eight things."""
    base = rng.choice(list(words.PACKING))
    place = rng.choice(words.PLACES.get(base, (base,)))
    heads = (
        f"A list of things to pack for {place}:",
        f"A list of things to pack for {place}:",
        f"My packing list for {place}:",
        f"My packing list for {place}:",
        f"Things to pack for {place}:",
        f"Packing list for {place}:",
        f"What to bring to {place}:" if "trip" not in place and "holiday" not in place else f"What to bring on {place}:",
        f"A list of things not to forget for {place}:",
        f"I am going to pack for {place}. I need:",
    )
    items = rng.sample(words.PACKING[base], rng.randint(5, min(8, len(words.PACKING[base]))))
    dash = rng.choice(("-", "-", "- ", "- ", "* "))
    return rng.choice(heads) + "\n" + "".join(f"{dash}{item}\n" for item in items)


def shopping(rng: Random) -> str:
    """A shopping list."""
    items = rng.sample(words.SHOPPING, rng.randint(3, 6))
    head = rng.choice(("Shopping list:", "My shopping list:", "A list of things to buy:", "Things to buy:"))
    if rng.random() < 0.3:
        return f"{head} {', '.join(items)}\n"
    dash = rng.choice(("-", "- "))
    return head + "\n" + "".join(f"{dash}{item}\n" for item in items)


def greeting(rng: Random) -> str:
    """A greeting, alone or on request."""
    name = rng.choice((words.name(rng), words.name(rng), words.name(rng), words.name(rng), "World", "there"))
    hello = rng.choice(("Hello", "Hello", "Hi"))
    mark = rng.choice(("!", "!", "."))
    layouts = (
        f"Say hi: {hello}, {name}!\n",
        f"Say hi: {hello}, World!\n",
        f"Say hello: Hello, {name}!\n",
        f"Hello, {name}{mark}\n",
        f"Hello {name}{mark}\n",
        f"Hello, my name is {words.name(rng)}{mark} Nice to meet you.\n",
        f"Greet {name}: {hello}, {name}!\n",
        f"Say hello to {name}: Hello, {name}!\n",
        f"Greet {name} in {{}}: {{}}, {name}!\n",
    )
    number = rng.randrange(3)
    return rng.choice(layouts).format(words.LANGUAGES[number], words.TRANSLATIONS["hello"][number].capitalize())


def saying(rng: Random) -> str:
    """A request to repeat words, and the words."""
    text = rng.choice(
        (rng.choice(words.SAYINGS), f"{words.name(rng)} likes {rng.choice(words.HOBBIES)}", " ".join(rng.sample(words.SHOPPING, 2)))
    )
    verb = rng.choice(("Say", "Repeat"))
    quote = rng.choice("'\"")
    return f"{verb} {quote}{text}{quote}: {text}\n"


def person(rng: Random) -> dict[str, object]:
    """A made-up person."""
    return {"name": words.name(rng), "age": rng.randint(18, 79), "job": rng.choice(words.JOBS)}


def record(rng: Random) -> str:
    """A JSON record of a person, a product or a country, with or without an introduction."""
    kind = rng.randrange(4)
    if kind < 2:
        data = person(rng)
        head = rng.choice(("A person as JSON:", "A person in JSON:", "Person:", "Describe a person as JSON:", "A JSON record of a person:"))
        if kind == 1 and rng.random() < 0.5:
            data["city"] = rng.choice(words.KINDS["city"])
            head = "A person with a city as JSON:"
    elif kind == 2:
        name, (low, high) = rng.choice(list(words.PRODUCTS.items()))
        data = {"product": name, "price": rng.randint(low, high), "in_stock": rng.random() < 0.7}
        head = rng.choice(("A product as JSON:", "A product in JSON:", "Product:"))
    else:
        country, city = rng.choice(list(words.CAPITALS.items()))
        data = {"country": country, "capital": city}
        head = rng.choice((f"{country} as JSON:", "A country as JSON:", "Country:"))
    return f"{head} " + json.dumps(data, ensure_ascii=False) + "\n"


def extraction(rng: Random) -> str:
    """A sentence about a person, and the record it makes."""
    data = person(rng)
    name, age, job = data["name"], data["age"], data["job"]
    noun = ("an " if str(job)[0] in "aeiou" else "a ") + str(job)
    texts = (
        f"{name} is {age} years old and works as {noun}.",
        f"{name} is {noun}. {name} is {age} years old.",
        f"My name is {name}. I am {age} years old and I am {noun}.",
        f"{name}, {age}, is {noun}.",
    )
    lead = rng.choice(("Text: ", "", ""))
    if rng.random() < 0.3:
        return f"{lead}{rng.choice(texts)}\nRecord:\nname: {name}\nage: {age}\njob: {job}\n"
    return f"{lead}{rng.choice(texts)}\n{rng.choice(('JSON:', 'JSON:', 'As JSON:'))} {json.dumps(data)}\n"


def date(rng: Random) -> str:
    """A date in words and in ISO form, one made from the other."""
    year, month, day = rng.randint(1950, 2035), rng.randint(1, 12), rng.randint(1, 28)
    name = words.MONTHS[month - 1]
    written = rng.choice((f"{day} {name} {year}", f"{name} {day}, {year}"))
    iso = f"{year:04}-{month:02}-{day:02}"
    layouts = (
        f"{written} as an ISO date: {iso}\n",
        f"{written} in ISO format: {iso}\n",
        f"Date: {written}\nISO: {iso}\n",
        f"The date {written} in ISO format is {iso}.\n",
        f"{written} -> {iso}\n",
        f"Q: What is {written} as an ISO date?\nA: {iso}\n",
        f"Q: What is {written} in ISO format?\nA: {iso}\n",
        f"ISO: {iso}\nDate: {written}\n",
        f"{iso} in words: {day} {name} {year}\n",
        f"Today is {written} ({iso}).\n",
    )
    return rng.choice(layouts)


def meeting(rng: Random) -> str:
    """A message with a date, and the date it names."""
    year, month, day = rng.randint(1990, 2035), rng.randint(1, 12), rng.randint(1, 28)
    event = rng.choice(("meeting", "party", "concert", "exam", "flight", "wedding"))
    name = words.MONTHS[month - 1]
    return f"Text: The {event} is on {day} {name} {year}.\nDate: {year:04}-{month:02}-{day:02}\n"


def tale(rng: Random) -> str:
    """A story of a few sentences."""
    animal, friend = rng.sample(words.KINDS["animal"], 2)
    name = words.name(rng)
    mood = rng.choice(("a little", "a brave", "a clever", "a happy", "an old"))
    home = rng.choice(("forest", "village", "garden", "city", "field"))
    found = rng.choice(("a red ball", "an old book", "a golden key", "a map", "a big apple"))
    return (
        f"Once upon a time there was {mood} {animal} called {name}. {name} lived in a {home}. "
        f"One day {name} found {found}. {name} showed it to the {friend}. "
        f"{rng.choice(('They became friends', 'They played all day', 'They were very happy'))}. The end.\n"
    )


def small_talk(rng: Random) -> Turns:
    """A chat: greeting, name, hobby, thanks."""
    name, hobby = words.name(rng), rng.choice(words.HOBBIES)
    exchanges = (
        (("Hello!", "Hi!", "Hi there!", "Hello"), ("Hello! How can I help you?", "Hi! How can I help you?")),
        ((f"Hi, my name is {name}.", f"My name is {name}."), (f"Hello, {name}! How can I help you?", f"Nice to meet you, {name}!")),
        ((f"I like {hobby}.",), (f"That is nice! I like {hobby} too.",)),
        (("Thank you!", "Thanks!", "Thank you for your help."), ("You are welcome!",)),
        (("How are you?", "How are you today?"), ("I am fine, thank you.",)),
        (("Who are you?", "What are you?"), ("I am a very small language model.",)),
        (("Goodbye!", "Bye!"), ("Goodbye! Have a nice day.",)),
    )
    picked = sorted(rng.sample(range(len(exchanges)), rng.choice((1, 2, 3))))
    spoken: list[tuple[str, str]] = [("system", "You are a helpful assistant.")] if rng.random() < 0.4 else []
    for place in picked:
        asked, said = exchanges[place]
        spoken += [("user", rng.choice(asked)), ("assistant", rng.choice(said))]
    return tuple(spoken)


def chat_lines(rng: Random) -> str:
    """The same kind of chat as lines of text."""
    names = rng.choice(({"user": "User", "assistant": "Assistant"}, {"user": "Human", "assistant": "AI"}))
    return "".join(f"{names[role]}: {said}\n" for role, said in small_talk(rng) if role != "system")
