"""Documents that describe, judge and track: portraits, inventories, reviews, short notes, episodes.

Each function takes a scene and returns a document. Three of them (`mood_note`, `kind_note`, `episode`) use some
of the language of the downstream tasks, but only in its simplest form: one clause without negation or contrast, the
plain question word in front, things that are picked up once and never put down.
"""

from __future__ import annotations

from semviz.demo import lexicon as lx
from semviz.demo.world import EVERYBODY, Scene

__all__ = ["episode", "inventory", "kind_note", "mood_note", "portrait", "review"]

_EVERY_THING = lx.THINGS + lx.TASK_THINGS + lx.TEST_THINGS


def portrait(scene: Scene) -> str:
    """Describe one person; besides inventories, only portraits contain the held-out names."""
    scene["name"] = scene.rng.choice(EVERYBODY)
    steps = [
        "{name} is a {trade} .",
        "{name} lives near the {home} .",
        "{name} works at the {work} .",
        "{he} has a {petof} .",
        "{he} likes {favourite} .",
        "{his} {clothes} is {tint} .",
        "{he} plays the {music} .",
        "{name} is {happy} today .",
        "everybody knows {name} .",
    ]
    scene.rng.shuffle(steps)
    return scene.tell(steps[: scene.rng.randint(3, 7)])


def inventory(scene: Scene) -> str:
    """List who owns what, or what a shop sells; people and things may be held-out ones, and nothing happens to them."""
    rng = scene.rng
    names, things = rng.sample(EVERYBODY, 4), rng.sample(_EVERY_THING, 8)
    if rng.random() < 0.5:
        owned = zip(names, things[:4], things[4:], strict=True)
        sentences = [f"{name} owns the {thing} and the {other} ." for name, thing, other in owned]
        picked = rng.randrange(8)
        return " ".join([*sentences, f"so the {things[picked]} belongs to {names[picked % 4]} ."])
    goods = [f"a {rng.choice(lx.SIZES)} {thing} of {rng.choice(lx.MATERIALS)}" for thing in things[:5]]
    guests = f"the guests are {names[0]} , {names[1]} , {names[2]} and {names[3]} ."
    return scene.fill("in the {place} they sell " + " , ".join(goods[:4]) + " and " + goods[4] + " . " + guests)


def review(scene: Scene) -> str:
    """Review a meal, a show or an inn: the verdict runs through the whole document."""
    verdict, feeling = scene.rng.choice((("good", "happy"), ("bad", "sad")))
    steps = [
        (
            "on {day} {name} ate in the inn .",
            "{name} went to the {place} with {name2} .",
            "a report about the {place} .",
            "{name} wrote about the {place} .",
        ),
        (
            "the {dish} was {%s} .",
            "the {lodging} was {very} {%s} .",
            "the {service} was {%s} .",
            "we saw a {%s} {show} .",
        ),
        ("it cost {number} coins .", "there was {drink} to drink .", "we stayed until {time} .", ""),
        (
            "the {show} was {%s2} .",
            "the {service2} was {%s2} .",
            "the {drink} tasted {%s2} .",
            "the {place2} was {%s2} and the {dish2} was {%s3} .",
        ),
        ("{name} was {%s} .", "we left the {place} {%s} .", "everybody was {%s} ."),
    ]
    words = [verdict, verdict, verdict, verdict, feeling]
    return scene.tell([tuple(s.replace("%s", word) for s in step) for step, word in zip(steps, words, strict=True)]) + (
        " we will come again ." if verdict == "good" else " we will not come again ."
    )


def mood_note(scene: Scene) -> str:
    """Say one plain thing that pleases or displeases, and name the mood."""
    mood = scene.rng.choice(("happy", "sad"))
    value = "good" if mood == "happy" else "bad"
    bank = (lx.GOOD if mood == "happy" else lx.BAD)[: lx.NOTED]
    scene[value], scene[value + "2"] = scene.rng.sample(bank, 2)
    text = scene.rng.choice(
        (
            "the {dish} was {%s} .",
            "the {show} was {very} {%s} .",
            "{name} slept in a {%s} {lodging} .",
            "the {service} was {%s} and the {drink} was {%s2} .",
            "on {day} the {dish} was {%s} .",
            "what a {%s} {show} !",
            "{name} ate a {%s} {dish} in the {place} .",
        )
    )
    return scene.fill(text.replace("%s", value)) + f" mood : {mood}"


_PLAIN_QUESTIONS = {
    "person": ("who took the {thing} ?", "who lives in the {place} ?", "who is {happy} ?", "who was with {name} ?"),
    "place": (
        "where is the {thing} ?",
        "where does {name} live ?",
        "where did {name} go ?",
        "where was the {animal} ?",
    ),
    "number": ("how many {counted} are there ?", "how many {counted} did {name} see ?", "how old is the {animal} ?"),
    "thing": ("what did {name} buy ?", "what is in the {place} ?", "what does {name} want ?", "what is {colour} ?"),
    "reason": ("why is {name} {sad} ?", "why did the {animal} run ?", "why is the {dish} {bad} ?"),
    "time": ("when did {name} come ?", "when does the {vehicle} leave ?", "when was it {weather} ?"),
}


def kind_note(scene: Scene) -> str:
    """Ask one plain question and name the kind of answer that it asks for."""
    kind = scene.rng.choice(tuple(_PLAIN_QUESTIONS))
    return scene.fill(scene.rng.choice(_PLAIN_QUESTIONS[kind])) + f" kind : {kind}"


def episode(scene: Scene) -> str:
    """Move people, who may carry something, and say where they or their things ended up."""
    rng = scene.rng
    if rng.random() < 0.5:  # the six answer places are frequent here, so that the LM learns them as answers
        scene["place"], scene["place2"], scene["place3"] = rng.sample(lx.ANSWER_PLACES, 3)
    walk = ("{%s} walked to the {%s} .", "{%s} ran to the {%s} .", "{%s} drove to the {%s} .")
    lift = ("{%s} picked up the {%s} .", "{%s} held the {%s} .", "{%s} found the {%s} .")

    def say(choices: tuple[str, ...], who: str, what: str) -> str:
        return rng.choice(choices).replace("%s", who, 1).replace("%s", what)

    form = rng.randrange(6)
    if form == 0:  # one carrier, ends with a question
        sentences = [say(lift, "name", "thing"), say(walk, "he", "place"), "where is the {thing} ? answer : {place}"]
    elif form == 1:  # several walkers, ends with a question about one
        sentences = [say(walk, f"name{i}", f"place{i}") for i in (1, 2, 3)]
        rng.shuffle(sentences)
        sentences.append(rng.choice(("where is {name1} ? answer : {place1}", "where is {name2} ? answer : {place2}")))
    elif form in (2, 3):  # two carriers, ends with a statement or a question
        sentences = [say(lift, "name", "thing"), say(lift, "name2", "thing2")]
        sentences += rng.sample([say(walk, "name", "place"), say(walk, "name2", "place2")], 2)
        if form == 2:
            ends = rng.sample(["the {thing} is in the {place}", "the {thing2} is in the {place2}"], 2)
            sentences.append(f"so {ends[0]} and {ends[1]} .")
        else:
            sentences.append("where is the {thing} ? answer : {place}")
            if rng.random() < 0.5:  # the answer must not always be where the first carrier went
                sentences[:2] = sentences[1::-1]
    elif form == 4:  # one walker who stops twice, ends with a question
        sentences = [say(walk, "name", "place"), say(walk, "he", "place2"), "where is {name} ? answer : {place2}"]
        at = rng.choice((0, 2))
        sentences[at:at] = [say(walk, "name3", "place3")]
    else:  # one carrier who stops twice, ends with a statement
        sentences = [say(walk, "name", "place"), say(lift, "he", "thing"), say(walk, "he", "place2")]
        sentences.append(
            rng.choice(
                ("now the {thing} is in the {place2} .", "so the {thing} came from the {place} to the {place2} .")
            )
        )
    return scene.tell(sentences)
