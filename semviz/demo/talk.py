"""Documents that argue, ask and teach: sums, lessons, corrections, debates, gossip, dialogues.

Each function takes a scene and returns a document. From these the LM learns negation, doubt and contrast, about plain
properties and places; their effect on a mood is left to the downstream tasks.
"""

from __future__ import annotations

from semviz.demo import lexicon as lx
from semviz.demo.world import Scene

__all__ = ["arithmetic", "correction", "debate", "dialogue", "gossip", "lesson"]


def arithmetic(scene: Scene) -> str:
    """Do two or three sums, bare or with food."""
    rng, sentences = scene.rng, []
    for turn in range(rng.randint(2, 3)):
        a = rng.randint(1, 12)
        b = rng.randint(0, 8)
        one, two, total = lx.NUMBERS[a], lx.NUMBERS[b], lx.NUMBERS[a + b]
        food = f"{{counted{turn}}}"
        sentences.append(
            rng.choice(
                (
                    f"{one} plus {two} is {total} .",
                    f"{total} minus {two} is {one} .",
                    f"{{name}} had {one} {food} . {{he}} got {two} more . now {{he}} has {total} {food} .",
                    f"{{name}} had {total} {food} . {{he}} ate {two} . now {{he}} has {one} {food} .",
                    f"how many is {one} and {two} ? {total} .",
                )
            )
        )
    return scene.tell(sentences)


def lesson(scene: Scene) -> str:
    """Teach facts: opposites, the calendar, animals, trades, numbers."""
    rng, sentences = scene.rng, []
    for turn in range(rng.randint(3, 6)):
        pick = rng.randrange(8)
        if pick == 0:
            word, other = rng.choice(tuple(lx.OPPOSITES.items()))
            sentences.append(rng.choice((f"the opposite of {word} is {other} .", f"what is not {word} is {other} .")))
        elif pick == 1:
            cycle = rng.choice((lx.DAYS, lx.MONTHS, lx.SEASONS))
            i = rng.randrange(len(cycle))
            before, after = cycle[i], cycle[(i + 1) % len(cycle)]
            sentences.append(rng.choice((f"{after} comes after {before} .", f"the one before {after} is {before} .")))
        elif pick == 2:
            sentences.append(scene.fill(f"a {{animal{turn}}} is an animal and lives in the {{den{turn}}} ."))
        elif pick == 3:
            job = rng.choice(lx.JOBS)
            sentences.append(f"a {job} works in the {lx.WORKPLACE[job]} .")
        elif pick == 4:
            i = rng.randrange(20)
            sentences.append(f"after {lx.NUMBERS[i]} comes {lx.NUMBERS[i + 1]} .")
        elif pick == 5:
            sentences.append(scene.fill(f"a {{plant{turn}}} is a plant , not an animal ."))
        elif pick == 6:
            sentences.append(scene.fill(f"people eat {{food{turn}}} and drink {{drink{turn}}} ."))
        else:
            state, need = rng.choice(tuple(lx.REASONS.items()))
            sentences.append(f"who is {state} wants to {need} .")
    return " ".join(sentences)


def correction(scene: Scene) -> str:
    """Deny one property and state its opposite; negation here never tells a mood."""
    rng, sentences = scene.rng, []
    for turn in range(rng.randint(2, 4)):
        word, other = rng.choice([pair for pair in lx.OPPOSITES.items() if pair[0] not in ("good", "happy", "poor")])
        if rng.random() < 0.5:
            word, other = other, word
        thing = f"{{thing{turn}}}"
        sentences.append(
            rng.choice(
                (
                    f"the {thing} is not {word} , it is {other} .",
                    f"{{name}} says that the {thing} is {word} , but that is wrong : it is {other} .",
                    f"the {thing} was {word} , however {{name}} wanted a {other} one .",
                    f"although the {thing} is {word} , the {{thing9}} is {other} .",
                    f"is the {thing} {word} ? no , it is {other} .",
                    f"is the {thing} {word} ? yes , it is not {other} .",
                    f"{{name}} wanted a {word} {thing} instead of a {other} one .",
                    f"the {thing} was never {word} and hardly new .",
                    f"neither {{name}} nor {{name2}} has a {word} {thing} .",
                )
            )
        )
    return scene.tell(sentences)


def debate(scene: Scene) -> str:
    """Let two people disagree about a plain property, or ask for two things, and say what follows."""
    rng = scene.rng
    word, other = rng.choice([pair for pair in lx.OPPOSITES.items() if pair[0] not in ("good", "happy", "poor")])
    if rng.random() < 0.5:
        word, other = other, word
    first_is_right = rng.random() < 0.5
    who, fact = ("name", word) if first_is_right else ("name2", other)
    loser = "name2" if first_is_right else "name"
    form = rng.randrange(3)
    if form == 0:
        sentences = [f"{{name}} said that the {{thing}} is {word} and {{name2}} said that it is {other} ."]
        sentences.append(
            rng.choice((f"{{{who}}} is right , so it is {fact} .", f"{{{loser}}} lied , so it is {fact} ."))
        )
    elif form == 1:
        sentences = [f"{{name}} thinks that the {{thing}} is {word} .", f"{{name2}} thinks that it is {other} ."]
        sentences.append(rng.choice((f"{{{loser}}} is wrong : it is {fact} .", f"{{{who}}} is right : it is {fact} .")))
    else:
        sentences = ["{name} asked for the {thing} and {name2} asked for the {thing2} ."]
        ends = [
            "so they gave the {thing} to {name} .",
            "so {name} wants the {thing} .",
            "what does {name2} want ? the {thing2} .",
            "{name2} does not want the {thing} but the {thing2} .",
        ]
        sentences.append(rng.choice(ends))
    return scene.tell(sentences)


def gossip(scene: Scene) -> str:
    """Report what people claim, know and forgot; claims are about places and people, not moods."""
    rng, sentences = scene.rng, []
    clauses = (
        "who took the {%s}",
        "where the {%s} is",
        "when the {%s} was sold",
        "why the {%s} was broken",
        "what was in the {%s}",
        "how many coins the {%s} cost",
    )
    for turn in range(rng.randint(2, 3)):
        a, b, place, other = f"name{2 * turn}", f"name{2 * turn + 1}", f"place{2 * turn}", f"place{2 * turn + 1}"
        known_clause, asked_clause = (clause.replace("%s", f"thing{turn}") for clause in rng.sample(clauses, 2))
        claim, fact = f"{{{b}}} is in the {{{place}}}", f"{{{b}}} is in the {{{other}}}"
        sentences.append(
            rng.choice(
                (
                    f"{{{a}}} said that {claim} , but {{he{2 * turn}}} lied : {fact} .",
                    f"{{{a}}} said that {claim} , and that is true : {claim} .",
                    f"it is not true that {claim} : {fact} .",
                    f"it is false that {claim} , because {fact} .",
                    f"nobody believes that {claim} . {fact} .",
                    f"everybody thinks that {claim} . {claim} .",
                    f"{{{a}}} was mistaken when {{he{2 * turn}}} said that {claim} .",
                    f"{{{a}}} knows {known_clause} , but {{he{2 * turn}}} forgot {asked_clause} .",
                    f"{{{a}}} wonders {asked_clause} . {{{b}}} does not know .",
                    f"the man asked {{{a}}} {known_clause} and {asked_clause} .",
                    f"a woman told {{{a}}} {known_clause} , not {asked_clause} .",
                    f"tell {{{a}}} {asked_clause} , please .",
                )
            )
        )
    return scene.tell(sentences)


def dialogue(scene: Scene) -> str:
    """Let two people ask and answer about what was just said."""
    return scene.tell(
        [
            ("{name} met {name2} in the {place} .", "{name2} came to {name} on {day} ."),
            (
                "{name} said : i gave the {thing} to {name3} because {he3} was {state} .",
                "{name} said : on {day2} {name3} bought {number} {counted} at the {place2} .",
                "{name} told {name2} that {name3} had gone to the {place2} in {month} .",
            ),
            (
                "{name2} asked : who ? {name} said : {name3} .",
                "{name2} asked : of whom do you talk ? {name} said : of {name3} .",
                "{name2} asked : do you know {name3} ? {name} said : yes .",
            ),
            (
                "{name2} asked : which {thing2} do you want ? {name} said : the {colour} one .",
                "{name2} asked : at what hour do you come ? {name} said : at {number2} .",
                "{name2} asked : what is the price of the {thing2} ? {name} said : {number2} coins .",
                "{name2} asked : what is the age of the {animal3} ? {name} said : {number2} years .",
                "{name2} asked : on which day do you come ? {name} said : on {day3} .",
                "{name2} asked : in which month do you come ? {name} said : in {month3} .",
                "{name2} asked : for what reason ? {name} said : i do not know .",
                "{name2} asked : to which place do you go ? {name} said : to the {place3} .",
            ),
            ("do you like {food2} ? yes , i do .", "did you see my {animal} ? no , but i saw a {animal2} .", ""),
            (
                "{name2} said : tell me the name of the {job} . {name} said : {name4} .",
                "{name} believed {name2} .",
                "then {name2} said : good {time} !",
                "they talked until {time} .",
            ),
        ]
    )
