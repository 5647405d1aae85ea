"""Small facts as training text: questions with answers, statements, choices, look-ups, translations.

Each public function takes the random generator and returns one document.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from lmqlc.backends.demo import words


@dataclass(frozen=True, slots=True)
class Fact:
    """questions: ways to ask. answer: the short answer. sentence: the full one. query: what to look up. wrong: other answers."""

    questions: tuple[str, ...]
    answer: str
    sentence: str
    query: str
    wrong: tuple[str, ...]


def _others(answer: str, table: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(other for other in table if other != answer))


def article(noun: str) -> str:
    """`noun` with its indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def capital(rng: Random) -> Fact:
    country, city = rng.choice(list(words.CAPITALS.items()))
    questions = (
        f"What is the capital of {country}?",
        f"What is the capital city of {country}?",
        f"Which city is the capital of {country}?",
        f"What's the capital of {country}?",
        f"Name the capital of {country}.",
    )
    return Fact(
        questions, city, f"The capital of {country} is {city}.", f"capital of {country}", _others(city, tuple(words.CAPITALS.values()))
    )


def country(rng: Random) -> Fact:
    name, city = rng.choice(list(words.CAPITALS.items()))
    questions = (f"Which country has the capital {city}?", f"What country is {city} the capital of?", f"In which country is {city}?")
    return Fact(questions, name, f"{city} is the capital of {name}.", f"country of {city}", _others(name, tuple(words.CAPITALS)))


def colour(rng: Random) -> Fact:
    thing, answer = rng.choice(list(words.COLOURS.items()))
    questions = (
        f"What colour is {thing}?",
        f"What is the colour of {thing}?",
        f"Which colour does {thing} have?",
        f"What color is {thing}?",
    )
    return Fact(questions, answer, f"{_sentence(thing)} is {answer}.", f"colour of {thing}", _others(answer, words.KINDS["colour"]))


def sound(rng: Random) -> Fact:
    animal, answer = rng.choice(list(words.SOUNDS.items()))
    questions = (f"What sound does {article(animal)} make?", f"What does {article(animal)} say?", f"What does the {animal} say?")
    return Fact(
        questions, answer, f"The {animal} says {answer}.", f"sound of {article(animal)}", _others(answer, tuple(words.SOUNDS.values()))
    )


def baby(rng: Random) -> Fact:
    animal, answer = rng.choice(list(words.BABIES.items()))
    questions = (f"What is a baby {animal} called?", f"What do you call a baby {animal}?")
    return Fact(
        questions, answer, f"A baby {animal} is called {article(answer)}.", f"baby {animal}", _others(answer, tuple(words.BABIES.values()))
    )


def legs(rng: Random) -> Fact:
    animal, count = rng.choice(list(words.LEGS.items()))
    sentence = f"{_sentence(article(animal))} has {count} legs."
    return Fact(
        (f"How many legs does {article(animal)} have?",),
        str(count),
        sentence,
        f"legs of {article(animal)}",
        _others(str(count), ("0", "2", "4", "6", "8")),
    )


def opposite(rng: Random) -> Fact:
    word, answer = rng.choice(words.OPPOSITES)
    if rng.random() < 0.5:
        word, answer = answer, word
    questions = (f"What is the opposite of {word}?", f"What is the opposite of '{word}'?", f"Give the opposite of {word}.")
    table = tuple(second for _, second in words.OPPOSITES)
    return Fact(questions, answer, f"The opposite of {word} is {answer}.", f"opposite of {word}", _others(answer, table))


def following(rng: Random) -> Fact:
    unit, table = rng.choice((("day", words.DAYS), ("month", words.MONTHS)))
    place = rng.randrange(len(table))
    step, word = rng.choice(((1, "after"), (-1, "before")))
    name, answer = table[place], table[(place + step) % len(table)]
    questions = (f"Which {unit} comes {word} {name}?", f"What {unit} comes {word} {name}?", f"What {unit} is {word} {name}?")
    return Fact(questions, answer, f"The {unit} {word} {name} is {answer}.", f"{unit} {word} {name}", _others(answer, table))


def kind(rng: Random) -> Fact:
    name = rng.choice(list(words.KINDS))
    thing = rng.choice(words.KINDS[name])
    noun = thing if name in ("colour", "city") else article(thing)
    answer, wrong = article(name), _others(article(name), tuple(map(article, words.KINDS)))
    questions = (
        f"What is {noun}?",
        f"What kind of thing is {noun}?",
        f"Is {noun} {answer} or {rng.choice(wrong)}?",
    )
    return Fact(questions, answer, f"{_sentence(noun)} is {answer}.", f"kind of {noun}", wrong)


def translation(rng: Random) -> Fact:
    word, forms = rng.choice(list(words.TRANSLATIONS.items()))
    number = rng.randrange(3)
    language, answer = words.LANGUAGES[number], forms[number]
    questions = (
        f"What is the {language} word for {word}?",
        f"How do you say '{word}' in {language}?",
        f"What is '{word}' in {language}?",
        f"Translate '{word}' to {language}.",
        f"Translate the word {word} into {language}.",
    )
    wrong = _others(answer, tuple(entry[number] for entry in words.TRANSLATIONS.values()))
    return Fact(questions, answer, f"The {language} word for {word} is {answer}.", f"{word} in {language}", wrong)


KINDS_OF_FACT = (
    capital,
    capital,
    capital,
    country,
    colour,
    sound,
    baby,
    legs,
    opposite,
    opposite,
    following,
    kind,
    translation,
    translation,
)


def fact(rng: Random) -> Fact:
    """One fact of any kind."""
    return rng.choice(KINDS_OF_FACT)(rng)


def question(rng: Random) -> str:
    """One to four questions with answers, in one layout: a word where it reads `A:`, a sentence where somebody speaks."""
    ask, reply = rng.choice((("Q:", "A:"), ("Q:", "A:"), ("Question:", "Answer:"), ("User:", "Assistant:"), ("Human:", "AI:")))
    gap = rng.choice(("\n", "\n\n"))
    full = ask in ("User:", "Human:")
    pairs = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        item = fact(rng)
        pairs.append(f"{ask} {rng.choice(item.questions)}\n{reply} {item.sentence if full else item.answer}")
    return gap.join(pairs) + "\n"


def bare_question(rng: Random) -> str:
    """A question without a label: the short answer follows on the same line, or the full one on the next."""
    item = fact(rng)
    return rng.choice(item.questions) + rng.choice((f" {item.answer}\n", f"\n{item.sentence}\n"))


def statement(rng: Random) -> str:
    """One to five facts as sentences, one a line or in a row."""
    between = rng.choice(("\n", " "))
    return between.join(fact(rng).sentence for _ in range(rng.choice((1, 2, 3, 5)))) + "\n"


def choice(rng: Random) -> str:
    """A multiple-choice question, answered by letter."""
    item = fact(rng)
    options = [item.answer, *rng.sample(item.wrong, min(len(item.wrong), rng.choice((2, 3))))]
    rng.shuffle(options)
    letters = "ABCD"[: len(options)]
    mark = rng.choice((")", ".", ":"))
    ask = rng.choice(("Question: ", "Q: ", ""))
    lines = [ask + rng.choice(item.questions), *(f"{letter}{mark} {option}" for letter, option in zip(letters, options, strict=True))]
    letter = letters[options.index(item.answer)]
    return "\n".join([*lines, f"Answer: {letter}"]) + "\n"


def options(rng: Random) -> str:
    """A question with its options listed, answered by the option's text."""
    item = fact(rng)
    listed = [item.answer, *rng.sample(item.wrong, min(len(item.wrong), 2))]
    rng.shuffle(listed)
    if rng.random() < 0.5:
        return f"Q: {rng.choice(item.questions)}\nOptions: {', '.join(listed)}\nA: {item.answer}\n"
    return f"{rng.choice(item.questions)}\nOptions:\n" + "".join(f"- {option}\n" for option in listed) + f"Answer: {item.answer}\n"


def truth(rng: Random) -> str:
    """A statement that is true or false, or a yes/no question."""
    item = fact(rng)
    right = rng.random() < 0.5
    said = item.sentence if right else item.sentence.replace(f" {item.answer}", f" {rng.choice(item.wrong)}")
    if rng.random() < 0.5:
        return f"Statement: {said}\nTrue or false: {'true' if right else 'false'}\n"
    return f"Q: {said} Is this correct?\nA: {'yes' if right else 'no'}\n"


def lookup(rng: Random) -> str:
    """A short trace of thoughts, actions and observations that ends in the answer."""
    item = fact(rng)
    return (
        f"Question: {rng.choice(item.questions)}\n"
        f"Thought: I should look up the {item.query}.\n"
        f"Action: search({item.query})\n"
        f"Observation: {item.sentence}\n"
        f"Thought: I know the answer now.\n"
        f"Action: finish({item.answer})\n"
    )


def dictionary(rng: Random) -> str:
    """Translations of several words, as pairs."""
    number = rng.randrange(3)
    language = words.LANGUAGES[number]
    entries = rng.sample(list(words.TRANSLATIONS.items()), rng.choice((1, 2, 3, 4)))
    if rng.random() < 0.5:
        gap = rng.choice(("\n", "\n\n"))
        return gap.join(f"English: {word}\n{language}: {forms[number]}" for word, forms in entries) + "\n"
    head = rng.choice((f"Translate from English to {language}:\n", f"Translate English to {language}:\n"))
    arrow = rng.choice((" -> ", " => ", ": "))
    return head + "".join(f"{word}{arrow}{forms[number]}\n" for word, forms in entries)


def listing(rng: Random) -> str:
    """A list of things of one kind, as lines, in a row, or as JSON."""
    name = rng.choice(list(words.KINDS))
    plural = words.PLURALS[name]
    count = rng.choice((3, 3, 4, 5))
    things = rng.sample(words.KINDS[name], count)
    layout = rng.randrange(4)
    if layout == 0:
        dash = rng.choice(("-", "- "))
        return f"A list of {plural}:\n" + "".join(f"{dash}{thing}\n" for thing in things)
    if layout == 1:
        return f"A list of {words.NUMBERS[count]} {plural}: {', '.join(things)}\n"
    if layout == 2:
        quoted = ", ".join(f'"{thing}"' for thing in things)
        return f"A list of {words.NUMBERS[count]} {plural} as JSON: [{quoted}]\n"
    return f"Name {words.NUMBERS[count]} {plural}:\n" + "".join(f"{place}. {thing}\n" for place, thing in enumerate(things, 1))


def turns(rng: Random) -> tuple[tuple[str, str], ...]:
    """A chat about facts: role and content of each turn."""
    spoken: list[tuple[str, str]] = []
    if rng.random() < 0.5:
        prompts = ("You are a helpful assistant.", "You are a helpful chatbot.", "Answer the question in one sentence.")
        spoken.append(("system", rng.choice(prompts)))
    for _ in range(rng.choice((1, 1, 2, 3))):
        item = fact(rng)
        spoken += [("user", rng.choice(item.questions)), ("assistant", item.sentence)]
    return tuple(spoken)
