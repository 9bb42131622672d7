"""The words of the demo world, sorted by their role in a sentence.

Everything here is a tuple of lower-case words: one word is one token. There are no phrases such as
"cherry pie", which would be two tokens. The order of the tuples matters, because
the generator draws from them by index: changing it changes the corpus.
"""

from __future__ import annotations

__all__ = ["CLASSES", "words"]


def words(text: str) -> tuple[str, ...]:
    """Split a block of text into its words."""
    return tuple(text.split())


# People, in three parts. The TASK and TEST names never act in a story, a review, an episode or a question of the
# pretraining corpus; only portraits and lists mention them, so that their embeddings are trained. TASK names
# appear in both splits of the tasks, TEST names in the test split only. (A lily is a plant and a trumpet an instrument
# as well: these two words occur elsewhere in the corpus, in their other meaning.)
WOMEN = words("""anna bella clara dora emma flora greta helen irma julia kate laura mary nina olga paula rosa sara
    tina vera""")
MEN = words("""adam ben carl david emil frank george henry ivan jack karl leo martin noah oscar paul robert simon
    tom victor""")
TASK_WOMEN = words("wanda zoe lily ella")
TASK_MEN = words("peter felix max otto")
TEST_WOMEN = words("iris ruth nora gina")
TEST_MEN = words("hugo arthur walter louis")

# Things one can carry, in the same three parts as the names.
THINGS = words("""lamp ball book key cup plate spoon knife fork basket bag box rope hammer saw nail brush bucket
    broom candle clock coin comb doll drum flute fiddle hat coat scarf glove boot shoe sock ring letter map
    pen pencil paper picture pillow blanket towel mirror needle thread button ribbon bottle jar pot pan kettle
    bowl tray stool umbrella whistle bell kite stamp ticket""")
TASK_THINGS = words("lantern ladder purse wallet vase bracelet trumpet shovel")
TEST_THINGS = words("telescope violin helmet compass crown necklace puzzle magnet")

PLACES = words("""kitchen garden barn cellar attic bedroom hall yard stable mill school church market shop bakery
    library museum station harbour bridge tower castle park forest field meadow hill valley river lake beach
    island village town farm inn bank hospital office theatre square street cave well""")
# The places that `where` asks about; otherwise they are ordinary places.
ANSWER_PLACES = words("kitchen garden barn school market park")

ANIMALS = words("""dog cat horse cow pig sheep goat hen duck goose rabbit mouse fox wolf bear deer owl crow eagle
    swan frog snake fish bee ant spider hedgehog squirrel donkey turtle lion tiger elephant monkey parrot pony
    lamb otter""")
PETS = words("dog cat rabbit mouse parrot pony turtle duck goat lamb")
FOODS = words("""bread soup cheese cake pie apple pear plum cherry egg butter honey jam rice beans potato carrot
    onion cabbage mushroom fish meat sausage ham porridge pancake salad salt sugar nuts grapes lemon""")
COUNTED = words("""apples pears plums cherries eggs buns nuts lemons carrots onions potatoes mushrooms cookies oranges
    coins stones shells flowers""")
DISHES = words("soup bread cheese cake pie jam porridge pancake salad sausage ham stew")
DRINKS = words("milk water tea coffee juice wine beer cider")
ENTERTAINMENTS = words("song play film story concert dance game poem")
LODGINGS = words("room bed house hotel cottage cabin")
SERVICES = words("waiter guide driver teacher nurse cook")

JOBS = words("""baker farmer teacher doctor nurse smith miller fisher hunter tailor cook painter singer writer
    driver sailor soldier judge lawyer gardener builder barber butcher porter clerk shepherd carpenter mayor
    pilot poet""")
# Where a person with this job works; a fact of the world that every document respects.
WORKPLACE = {
    "baker": "bakery", "farmer": "farm", "teacher": "school", "doctor": "hospital", "nurse": "hospital",
    "smith": "yard", "miller": "mill", "fisher": "harbour", "hunter": "forest", "tailor": "shop", "cook": "inn",
    "painter": "museum", "singer": "theatre", "writer": "library", "driver": "station", "sailor": "harbour",
    "soldier": "castle", "judge": "office", "lawyer": "office", "gardener": "park", "builder": "bridge",
    "barber": "shop", "butcher": "market", "porter": "station", "clerk": "bank", "shepherd": "meadow",
    "carpenter": "yard", "mayor": "town", "pilot": "island", "poet": "garden",
}  # fmt: skip
HABITAT = {
    "dog": "yard", "cat": "kitchen", "horse": "stable", "cow": "meadow", "pig": "farm", "sheep": "hill",
    "goat": "hill", "hen": "barn", "duck": "lake", "goose": "lake", "rabbit": "field", "mouse": "cellar",
    "fox": "forest", "wolf": "forest", "bear": "cave", "deer": "forest", "owl": "tower", "crow": "field",
    "eagle": "valley", "swan": "lake", "frog": "well", "snake": "cave", "fish": "river", "bee": "garden",
    "ant": "garden", "spider": "attic", "hedgehog": "garden", "squirrel": "park", "donkey": "stable",
    "turtle": "beach", "lion": "valley", "tiger": "forest", "elephant": "valley", "monkey": "island",
    "parrot": "island", "pony": "stable", "lamb": "meadow", "otter": "river",
}  # fmt: skip

# Words of praise and blame. The last third of each is never used in a mood note of the pretraining corpus
# (mood notes use the first `NOTED`): reviews and stories use all of them.
GOOD = words("""good nice lovely great fine pleasant splendid charming delightful excellent perfect wonderful
    beautiful sweet fresh brilliant superb friendly kind clever pretty cosy marvellous magnificent""")
BAD = words("""bad awful nasty terrible poor horrible dreadful ugly boring dirty cruel lousy rotten sour stale
    disgusting miserable rude clumsy stupid gloomy shabby hideous ghastly""")
NOTED = 16
HAPPY = words("happy glad cheerful merry proud pleased")
SAD = words("sad unhappy upset gloomy angry sorry")

COLOURS = words("red blue green yellow white black brown grey orange purple pink golden")
MATERIALS = words("wood glass iron stone paper wool leather silver clay straw copper silk")
SIZES = words("big small long short heavy light wide narrow thick thin")
OPPOSITES = {
    "big": "small", "long": "short", "heavy": "light", "wide": "narrow", "thick": "thin", "hot": "cold", "wet": "dry",
    "old": "new", "full": "empty", "open": "closed", "clean": "dirty", "loud": "quiet", "fast": "slow",
    "strong": "weak", "rich": "poor", "early": "late", "high": "low", "hard": "soft", "bright": "dark",
    "near": "far", "right": "wrong", "good": "bad", "happy": "sad", "young": "aged", "deep": "shallow",
}  # fmt: skip
INTENSIFIERS = words("very quite really rather so truly")

DAYS = words("monday tuesday wednesday thursday friday saturday sunday")
MONTHS = words("january february march april may june july august september october november december")
SEASONS = words("spring summer autumn winter")
TIMES = words("morning noon afternoon evening night midnight dawn")
NUMBERS = words("""zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty""")
ORDINALS = words("first second third fourth fifth sixth seventh eighth ninth tenth")
WEATHER = {
    "sunny": "swim", "rainy": "read", "windy": "sail", "snowy": "ski", "foggy": "sleep", "stormy": "cook",
    "cloudy": "walk", "warm": "picnic", "frosty": "skate", "hot": "rest",
}  # fmt: skip
VEHICLES = words("train bus boat ship car cart bicycle carriage wagon truck sledge ferry")
INSTRUMENTS = words("piano flute fiddle drum trumpet guitar harp organ")
BODY = words("head arm leg hand foot back knee finger ear eye tooth neck")
CLOTHES = words("hat coat scarf glove boot shoe sock dress shirt jacket cap skirt apron belt")
PLANTS = words("rose tulip oak birch pine willow lily daisy ivy fern moss clover maple beech")
FAMILY = words("mother father sister brother aunt uncle cousin grandmother grandfather neighbour friend")
REASONS = {
    "hungry": "eat", "thirsty": "drink", "tired": "sleep", "cold": "dress", "bored": "play", "dirty": "wash",
    "lonely": "talk", "ill": "rest", "curious": "look", "late": "run",
}  # fmt: skip
STATES = tuple(REASONS)

# Word classes that a template can name; see `world.Scene.fill`.
CLASSES: dict[str, tuple[str, ...]] = {
    "place": PLACES, "animal": ANIMALS, "pet": PETS, "food": FOODS, "counted": COUNTED, "dish": DISHES, "drink": DRINKS,
    "show": ENTERTAINMENTS, "lodging": LODGINGS, "service": SERVICES, "job": JOBS, "good": GOOD, "bad": BAD,
    "happy": HAPPY, "sad": SAD, "colour": COLOURS, "material": MATERIALS, "size": SIZES, "very": INTENSIFIERS,
    "day": DAYS, "month": MONTHS, "season": SEASONS, "time": TIMES, "number": NUMBERS[2:], "ordinal": ORDINALS,
    "weather": tuple(WEATHER), "vehicle": VEHICLES, "instrument": INSTRUMENTS, "body": BODY, "clothes": CLOTHES,
    "plant": PLANTS, "family": FAMILY, "thing": THINGS, "state": STATES,
}  # fmt: skip
