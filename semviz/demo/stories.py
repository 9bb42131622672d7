"""Short stories, written as plots.

A plot is a list of steps, and a step is a choice of sentences; an empty sentence skips the step. `Scene.tell`
picks and fills them, so the sentences of one plot share their people, things and places.
"""

from __future__ import annotations

from semviz.demo.world import Scene

__all__ = ["PLOTS", "story"]

Plot = list[tuple[str, ...]]

OPENINGS: Plot = [
    (
        "one {time} {name} was in the {place} .",
        "it was a {weather} {day} in {month} .",
        "on {day} {name} woke up early .",
        "once there was a {trade} called {name} .",
        "{name} is a {trade} and works in the {work} .",
        "last {season} {name} lived near the {place} .",
        "",
    )
]

LOST: Plot = [
    (
        "{name} had a {colour} {thing} .",
        "{name} had got a {thing} from {his} {family} .",
        "{name} loved {his} {thing} .",
    ),
    ("one day {he} could not find it .", "but on {day} the {thing} was gone .", "then {he} lost the {thing} ."),
    ("{name} was {sad} .", "{he} began to cry .", "nobody knew where the {thing} was .", ""),
    ("{he} looked in the {place2} , but it was not there .", "first {he} looked in the {place2} and in the {place3} ."),
    ("{he} asked {name2} for help .", "{name2} said : let us look in the {place} .", "{name2} came to help {him} ."),
    ("at last they found the {thing} in the {place} .", "{name2} found the {thing} in the {place} ."),
    ("{name} was {happy} again .", "{name} thanked {name2} .", "{name} smiled and said : thank you , {name2} !"),
]
GIFT: Plot = [
    (
        "it was the birthday of {name2} .",
        "{name2} had a birthday on {day} .",
        "{name} wanted to give {name2} a present .",
    ),
    (
        "{name} went to the shop and bought a {thing} .",
        "{name} made a {thing} of {material} .",
        "{name} found a {colour} {thing} .",
    ),
    ("{he} paid {number} coins for it .", "it was {very} {good} .", ""),
    ("then {name} gave the {thing} to {name2} .", "{name2} got the {thing} from {name} ."),
    ("now {name2} has the {thing} .", "{name2} put the {thing} in the {place} .", ""),
    ("{name2} was {happy} .", "{name2} laughed and danced .", "{name2} said : what a {good} {thing} !"),
    ("they ate {food} and drank {drink} together .", "in the evening they sang a song .", ""),
]
WEATHER: Plot = [
    ("on {day} it was {weather} .", "in the {time} it was {weather} .", "the {time} was {weather} ."),
    (
        "{name} wanted to {pastime} .",
        "so {name} and {name2} went out to {pastime} .",
        "{name} likes to {pastime} when it is {weather} .",
    ),
    ("{he} took a {thing} and {his} {clothes} .", "{he} called {his} {petof} .", ""),
    ("they met at the {place} .", "{name2} came to the {place} too .", "{he} went to the {place} by {vehicle} ."),
    ("they saw a {animal} near the {den} .", "there was a {animal} , and it ran to the {den} .", ""),
    ("in the evening they went home .", "it was a {good} day .", "{name} came home late and was tired ."),
]
TRIP: Plot = [
    ("{name} and {name2} travelled to the {place} by {vehicle} .", "{name} went to the {place} with {his} {family} ."),
    ("the way was {size} .", "the {vehicle} was slow , so they came late .", "it took {number} hours .", ""),
    (
        "near the {place} they saw a {colour} {animal} .",
        "they sat under a {plant} and ate {food} .",
        "they slept in a {good} {lodging} .",
    ),
    (
        "{name2} took a picture of the {animal} .",
        "{name} bought a {thing} there .",
        "they met the {job} of the {place} .",
    ),
    (
        "although it was {weather} , they stayed {number} days .",
        "they stayed until {day} .",
        "it was {weather} , but they did not go home .",
    ),
    (
        "then they went back by {vehicle} .",
        "{name} wrote a letter to {name3} about it .",
        "they will come again in {month} .",
    ),
]
COOKING: Plot = [
    ("{name} was hungry .", "{name} wanted to cook for {name2} .", "{name2} came to visit {name} ."),
    (
        "{he} took {food} , {food2} and {food3} from the cellar .",
        "{he} had some {food} and a lot of {food2} .",
        "{he} bought {number} {counted} at the market .",
    ),
    ("{he} cut the {food} with a knife .", "{he} put it in a pot .", "{he} made a {dish} in the kitchen ."),
    (
        "the {dish} was {very} {good} .",
        "the {dish} was {good} , and {name2} ate all of it .",
        "{name2} tasted the {dish} and was {happy} .",
    ),
    (
        "after that {name2} washed the plates .",
        "they drank {drink} and talked .",
        "{name} was tired and slept well .",
        "",
    ),
]
FAILURE: Plot = [
    (
        "{name} made a {dish} for {name2} .",
        "{name2} went to the inn and asked for a {dish} .",
        "{name} sold a {dish} to {name2} .",
    ),
    ("it smelled {bad} .", "the {dish} was {very} {bad} .", "the {dish} was too old and tasted {bad} ."),
    ("{name2} was {sad} and did not eat it .", "{name2} gave it to the {pet} .", "{name2} threw it away ."),
    ("{name} said : i am sorry .", "{name} felt {sad} .", "so they ate {food} and {food2} .", ""),
    ("then {name} made a new one .", "they went home {sad} .", "the next day {name} tried again ."),
]
RACE: Plot = [
    ("there was a race from the {place} to the {place2} .", "{name} , {name2} and {name3} ran to the {place} ."),
    ("{name} was fast , but {name2} was slow .", "{name} trained every {time} .", "{name2} had a {bad} shoe ."),
    ("{name} won and {name2} was the {ordinal} .", "{name} came first and {name3} came last ."),
    ("{name} got a {thing} .", "everybody cheered .", "the {job} gave {name} a {thing} ."),
    (
        "{name} was {happy} and {name2} was {sad} .",
        "{name2} was {sad} because {he2} had lost .",
        "{name} was {happy} because {he} had won .",
    ),
]
ILLNESS: Plot = [
    ("{name} was ill .", "{name} hurt {his} {body} .", "the {body} of {name} hurt ."),
    (
        "{he} could not work in the {work} .",
        "{he} stayed in bed for {number} days .",
        "{his} {family} called the doctor .",
    ),
    ("{name2} brought {him} {drink} and {food} .", "the nurse gave {him} {drink} .", "{he} slept the whole {time} ."),
    ("on {day} {he} was well again .", "soon {he} was strong again .", "after {number} days {he} could walk ."),
    ("{name} was {happy} .", "{he} thanked the doctor .", "{he} went to the {place} to see {name3} ."),
]
QUARREL: Plot = [
    ("{name} and {name2} were friends .", "{name} and {name2} worked together in the {place} ."),
    (
        "{name} broke the {thing} of {name2} .",
        "{name2} took the {thing} of {name} and did not ask .",
        "{name} said that {name2} was {bad} .",
    ),
    ("so {name2} was {sad} .", "they did not talk for {number} days .", "{name2} shouted and went away ."),
    (
        "then {name} came with a {thing2} and said : i am sorry .",
        "{name3} said : you are both wrong .",
        "{name} repaired the {thing} .",
    ),
    ("{name2} smiled .", "they were friends again .", "{name2} forgave {him} and they ate {food} ."),
]
FABLE: Plot = [
    (
        "a {animal} lived in the {den} .",
        "once a {colour} {animal} lived near the {den} .",
        "there was an old {animal} in the {den} .",
    ),
    (
        "it met a {animal2} .",
        "one {time} a {animal2} came from the {den2} .",
        "its friend was a {animal2} from the {den2} .",
    ),
    (
        "the {animal} was {size} and the {animal2} was {good} .",
        "the {animal2} was hungry and wanted {food} .",
        "the {animal} said : i am {state} , i want to {need} .",
    ),
    (
        "the {animal2} said : come with me to the {den2} .",
        "they found {food} in the {place} .",
        "a {job} saw them and ran away .",
    ),
    (
        "so they ate it together .",
        "the {animal} followed the {animal2} .",
        "then the {animal} went home to the {den} .",
    ),
    ("they never met again .", "since then they are friends .", "the {animal2} was {happy} .", ""),
]
WORK: Plot = [
    ("{name} is a {trade} .", "{name} worked as a {trade} in the {work} .", "the {trade} {name} lives in the {home} ."),
    ("every {time} {he} goes to the {work} .", "{he} starts at {number} and comes home in the evening ."),
    ("{he} works with {name2} , the {trade2} .", "{his} {family} is a {job2} .", "{he} has {number} coins a day ."),
    (
        "on {day} {he} rests and plays the {music} .",
        "in the evening {he} eats {favourite} .",
        "{his} {petof} waits for {him} .",
    ),
    ("{he} is {happy} with the work .", "the work is hard but {good} .", "{he} thinks that the work is {bad} ."),
]
BELIEF: Plot = [
    ("{name} put the {thing} in the {place} .", "{name} left the {thing} in the {place} and went away ."),
    ("{name2} came and took it to the {place2} .", "then {name2} brought the {thing} to the {place2} ."),
    (
        "{name} thinks that the {thing} is in the {place} , but {he} is wrong .",
        "{name} believes that it is still in the {place} .",
    ),
    (
        "it is in the {place2} .",
        "{name2} knows that it is in the {place2} .",
        "nobody told {him} that it is in the {place2} .",
    ),
    ("{name} looked in the {place} and did not find it .", "{name} asked : where is my {thing} ?", ""),
    (
        "{name2} said : it is in the {place2} .",
        "{name2} lied and said that {name3} had it .",
        "{name2} brought it back .",
    ),
]
NEED: Plot = [
    ("{name} was {state} , so {he} wanted to {need} .", "{name} wanted to {need} because {he} was {state} ."),
    (
        "{he} went from the {place} to the {place2} .",
        "{he} went to {name2} in the {place} .",
        "{he} took {his} {thing} .",
    ),
    (
        "{name2} was {state2} and wanted to {need2} .",
        "there {he} met {name2} , who was {state2} .",
        "{name2} was not {state} .",
    ),
    (
        "so they went to the {place3} together .",
        "{name2} gave {him} the {thing} and {he} thanked {him2} .",
        "they waited until {time} .",
    ),
    ("then {he} was not {state} any more .", "in the end both were {happy} .", "after that {name} went home ."),
]
ERRAND: Plot = [
    (
        "{name} carried the {thing} to the {place} .",
        "{name} took the {thing} and went to the {place} .",
        "{name} brought the {thing} to {name2} in the {place} .",
    ),
    (
        "{he} dropped it there .",
        "there {he} gave it to {name2} .",
        "{he} left it in the {place} and moved on to the {place3} .",
    ),
    ("{name2} got the {thing} and travelled to the {place2} .", "then {name2} carried it to the {place2} ."),
    (
        "so the {thing} is in the {place2} now .",
        "now the {thing} is not in the {place} but in the {place2} .",
        "{name2} put it on the floor of the {place2} .",
    ),
    (
        "{name} is still in the {place} .",
        "{name2} was {happy} with the {thing} .",
        "{name} asked for it , but it was not there any more .",
        "",
    ),
]

PLOTS: dict[str, Plot] = {
    "lost": LOST, "gift": GIFT, "weather": WEATHER, "trip": TRIP, "cooking": COOKING, "failure": FAILURE,
    "race": RACE, "illness": ILLNESS, "quarrel": QUARREL, "fable": FABLE, "work": WORK, "belief": BELIEF,
    "need": NEED, "errand": ERRAND,
}  # fmt: skip

_ALL = tuple(PLOTS.values())


def story(scene: Scene) -> str:
    """Tell one story: an opening and a plot; three in ten continue with a second plot about the same people."""
    rng = scene.rng
    text = scene.tell(OPENINGS + rng.choice(_ALL))
    if rng.random() < 0.3:
        text += " " + scene.tell(rng.choice(_ALL))
    return text
