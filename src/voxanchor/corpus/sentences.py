"""Varied English sentences from a seeded grammar, so that no two synthetic utterances need share their words."""

import numpy as np


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return [phrase.strip() for phrase in text.replace("\n", " ").split("|")]


_NAMES = _words("""
Adam Alice Amir Anna Arthur Beatrice Ben Carla Chen Clara Daniel Diana Edward Elena Emma Felix Fiona George
Grace Hannah Hugo Ingrid Isaac Ivan Jasmine Joseph Julia Kamal Laura Leo Lucy Maria Martin Mei Naomi Nina Oliver Omar
Paula Peter Rachel Ravi Rosa Samuel Sofia Thomas Victor Wendy Yusuf Zoe""")
_PEOPLE = _words("""
teacher doctor farmer neighbour painter sailor student baker driver engineer gardener judge lawyer manager
musician nurse officer pilot reporter scientist shepherd singer soldier stranger tailor visitor waiter writer uncle
cousin grandmother brother captain dentist carpenter librarian""")
_THINGS = _words("""
apple basket bicycle blanket book bottle bridge bucket camera candle carpet chair clock coat computer cup
curtain diary door engine envelope feather fence flag flower garden gate guitar hammer hat helmet jacket jar kettle key
ladder lamp letter machine map mirror needle newspaper notebook orange package painting pencil photograph piano pillow
picture pocket purse radio ribbon ring rope saddle scarf shield ship shoe shovel spoon stamp suitcase table telephone
ticket towel treasure umbrella vase violin wagon wallet watch wheel whistle window zipper""")
_ADJECTIVES = _words("""
ancient beautiful blue bright broken busy careful cheap clever cold crooked curious dark deep dusty
early empty enormous faithful famous fresh gentle golden green heavy hollow honest large lazy little lonely loud lucky
narrow new nervous noisy old orange pale patient perfect polite precious proud purple quick quiet red rough rusty shiny
silent silver simple sleepy small smooth soft strange sudden sweet tall thick tiny warm weak white wide wise wooden
yellow young""")
_VERBS = _words("""
bought borrowed brought carried caught chose cleaned counted covered described discovered drew dropped
examined finished fixed followed forgot found gathered gave hid held ignored kept left lifted lost measured mentioned
moved needed noticed offered opened ordered packed painted passed placed pulled pushed reached recognised remembered
repaired returned sent shook showed sold stole took threw touched understood used visited wanted washed watched
wrapped""")
_MOTIONS = _words("""
arrived climbed disappeared drove flew hurried jumped marched paused ran rode rushed sailed slept stood
stumbled swam travelled waited walked wandered whispered worked""")
_PLACES = _phrases("""
behind the station|beside the river|near the old harbour|under the bridge|across the valley|in the kitchen
|at the market|in front of the museum|on the northern road|over the hills|through the forest|inside the cathedral
|outside the village|by the fireplace|along the beach|between two towers|next to the bakery|in the middle of the square
|above the clouds|at the edge of the desert|around the corner|below the balcony|beyond the mountains|on the island
|in the school yard|at the airport|inside the warehouse|on the third floor""")
_TIMES = _phrases("""
yesterday morning|last winter|on Thursday evening|before sunrise|after the concert|at half past seven
|during the storm|once a week|every other summer|late at night|just in time|for several hours|a few minutes ago
|in the spring of that year|on the first day of June|until the bell rang|shortly before noon|long ago
|at the beginning of August|while it was raining""")
_ADVERBS = _words("""
quietly slowly carefully suddenly happily easily usually politely secretly gladly hardly often rarely
proudly quickly again together alone almost finally""")
_LINKS = _words("and but because although so while before after until unless whenever")
_OPENERS = _phrases("""
Nobody knew that|It is true that|Everyone says that|I remember how|Do you think that|We were told that
|Perhaps|They never believed that|It seems that|Please tell me whether|She wrote that|He promised that
|The paper reported that|In the end""")
_NUMBERS = _words("""
two three four five six seven eight nine ten eleven twelve thirteen fifteen eighteen twenty thirty forty
fifty sixty ninety""")


def _pick(words: list[str], generator: np.random.Generator) -> str:
    return words[int(generator.integers(len(words)))]


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("ch", "sh", "s", "x")) else f"{noun}s"


def _thing(generator: np.random.Generator) -> str:
    adjective, noun = _pick(_ADJECTIVES, generator), _pick(_THINGS, generator)
    form = int(generator.integers(5))
    if form == 0:
        return _article(f"{adjective} {noun}")
    if form == 1:
        return f"{_pick(_NUMBERS, generator)} {adjective} {_plural(noun)}"
    if form == 2:
        return f"the {_pick(_PEOPLE, generator)}'s {noun}"
    return f"the {adjective} {noun}"


def _person(generator: np.random.Generator) -> str:
    form = int(generator.integers(3))
    if form == 0:
        return _pick(_NAMES, generator)
    if form == 1:
        return f"the {_pick(_ADJECTIVES, generator)} {_pick(_PEOPLE, generator)}"
    return f"{_pick(_NAMES, generator)} and the {_pick(_PEOPLE, generator)}"


def _clause(generator: np.random.Generator) -> str:
    words = [_person(generator)]
    if generator.random() < 0.3:
        words.append(_pick(_ADVERBS, generator))
    if generator.random() < 0.7:
        words += [_pick(_VERBS, generator), _thing(generator)]
    else:
        words.append(_pick(_MOTIONS, generator))
    if generator.random() < 0.6:
        words.append(_pick(_PLACES, generator))
    if generator.random() < 0.4:
        words.append(_pick(_TIMES, generator))
    return " ".join(words)


def sentence(generator: np.random.Generator, words: int) -> str:
    """Return an English sentence of at least ``words`` words, ending in a full stop (about one clause more at most).

    Args:
        generator: decides every word.
        words: the fewest words it may have.
    """
    text = _clause(generator)
    if generator.random() < 0.25:
        text = f"{_pick(_OPENERS, generator)} {text}"
    while len(text.split()) < words:
        text = f"{text}, {_pick(_LINKS, generator)} {_clause(generator)}"
    return f"{text[0].upper()}{text[1:]}."
