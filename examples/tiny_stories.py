"""Short English stories from a small grammar.

A story is an opening followed by one of a few plots. A plot is a list of sentences, a sentence a choice of templates,
and every template draws on one set of slots per story, so that names, pronouns and objects agree from start to end.
Only the standard library is needed.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

Template = str
Sentence = Sequence[Template]
Plot = Sequence[Sentence]

GIRLS = ("Lily", "Mia", "Ruby", "Nora", "Bella", "Daisy", "Ella", "Rosie", "Luna", "Poppy")
BOYS = ("Ben", "Max", "Tom", "Leo", "Sam", "Oscar", "Finn", "Toby", "Jack", "Milo")
ANIMALS = (
    "fox",
    "rabbit",
    "bear",
    "owl",
    "mouse",
    "duck",
    "frog",
    "hedgehog",
    "squirrel",
    "turtle",
    "cat",
    "dog",
    "pony",
    "otter",
)
TRAITS = ("little", "brave", "kind", "clever", "shy", "curious", "gentle", "cheerful", "quiet", "young")
HOMES = (
    "near a quiet river",
    "at the edge of a green forest",
    "on a small farm",
    "beside a blue lake",
    "in a sunny valley",
    "under an old oak tree",
    "close to the sea",
    "in a little village",
)
TIMES = (
    "One sunny morning",
    "One cold evening",
    "One day",
    "One warm afternoon",
    "Early one morning",
    "On the first day of spring",
    "On a windy day",
)
SPOTS = (
    "under the bench",
    "behind the barn",
    "in the tall grass",
    "beside the well",
    "between the rocks",
    "near the gate",
    "inside a hollow log",
    "behind the roses",
)
COLORS = ("red", "blue", "green", "yellow", "golden", "silver")
TOYS = ("kite", "ball", "hat", "button", "bell", "scarf", "drum", "whistle")
FOODS = ("apples", "berries", "nuts", "cookies", "carrots", "pears", "plums", "muffins", "cherries")
CONTAINERS = ("a basket of", "a bag of", "a bowl of", "a big pile of")
SEATS = ("by the water", "in the shade", "on a fallen log", "on the soft grass", "on top of the hill")
SHELTERS = ("into the old barn", "into a small cave", "under a wide bridge", "under a big tree")
WORRIES = ("cold and wet", "scared of the thunder", "far from home", "all alone")
PASTIMES = ("told jokes", "sang songs", "shared a warm blanket", "told each other stories", "played a guessing game")
SKILLS = (
    "whistle",
    "dance",
    "ride a bike",
    "skip stones",
    "paint",
    "sing",
    "fly a kite",
    "play the drum",
    "bake bread",
)
LANDS = ("the woods", "the village", "the meadow", "the snow")
JOYS = ("jumped for joy", "laughed with delight", "smiled from ear to ear", "clapped and cheered")
GIFTS = (
    ("baked a honey cake", "cake"),
    ("painted a bright picture", "picture"),
    ("knitted a warm scarf", "scarf"),
    ("built a small wooden boat", "boat"),
    ("carved a tiny flute", "flute"),
)
RESCUES = (
    ("A baby bird had fallen from its nest", "bird", "put it back"),
    ("A young lamb was stuck in the mud", "lamb", "pulled it out"),
    ("A tiny kitten was stuck in a tree", "kitten", "helped it down"),
    ("A little bee was caught in a web", "bee", "set it free"),
)
TREASURES = ("a hidden waterfall", "a field of wild flowers", "a chest full of old toys", "a secret garden")

OPENING: Sentence = (
    "Once upon a time, there was {a_trait} {animal} named {name} who lived {home}.",
    "Once upon a time, {a_trait} {animal} named {name} lived {home}.",
)

PLOTS: Sequence[Plot] = (
    (
        ("{time}, {name} lost {his} {color} {toy}.", "{time}, {name} could not find {his} {color} {toy}."),
        ("{He} looked {spot} and {spot2}, but it was not there.", "{He} searched {spot}, but there was nothing."),
        ("{friend} the {animal2} came along and helped {him} look.",),
        ("Together they found the {toy} {spot3}.", "At last they saw the {toy} {spot3}."),
        ('{name} smiled and said, "Thank you, {friend}!"', "{name} was very happy and thanked {friend}."),
    ),
    (
        ("{time}, dark clouds came and it began to rain.", "{time}, there was a big storm."),
        ("{name} ran {shelter} to stay dry.",),
        ("There {he} met {friend}, {a_animal2} who was {worry}.",),
        ("They {pastime} until the rain stopped.", "They {pastime} and waited for the sun."),
        ("After that day, {name} and {friend} were the best of friends.", "That is how {name} made a new friend."),
    ),
    (
        ("{time}, {name} found {container} {food} {spot}.",),
        (
            "{He} wanted to eat them all, but then {he} saw {friend} the {animal2}, who looked very hungry.",
            "Just then {friend} the {animal2} came by and looked very hungry.",
        ),
        ('"Would you like some?" asked {name}.', '"Please have some," said {name}.'),
        ("They sat down {seat} and ate the {food} together.",),
        ("The {food} tasted even better because they shared them.", "From then on, they shared everything."),
    ),
    (
        ("{name} wanted to learn how to {skill}.", "More than anything, {name} wanted to {skill}."),
        ("At first it was very hard, and {he} wanted to give up.", "It was not easy, and {he} felt sad."),
        ('But {friend} the {animal2} said, "Try again, and I will help you."',),
        ("{name} practiced every day {seat}.",),
        ("In the end, {he} could {skill} better than anyone else.", "Soon {he} could {skill} very well."),
    ),
    (
        ("{time}, {friend} the {animal2} had a birthday.",),
        ("{name} wanted to make something special, so {he} {made}.",),
        ("{He} carried the {gift} carefully through {land}.",),
        ("When {friend} saw the {gift}, {he2} {joy}.",),
        ("It was the best birthday ever.", "Everyone danced until the stars came out."),
    ),
    (
        ("{time}, {name} heard a small cry.", "{time}, {name} heard someone call for help."),
        ("{victim_trouble}!",),
        ("{name} was afraid, but {he} wanted to help.",),
        ("{He} called {friend} the {animal2}, and together they {remedy}.",),
        ("The {victim} was safe, and {name} felt very proud.", "The {victim} was safe at last."),
    ),
    (
        ("{time}, {name} and {friend} the {animal2} found an old map {spot}.",),
        ("The map showed a long path through {land}.",),
        ("They walked and walked, and they {pastime} on the way.",),
        ("At the end of the path, there was {treasure}!", "At last they found {treasure}."),
        ("They went home tired but happy.", "They promised to come back soon."),
    ),
)


@dataclass(frozen=True)
class Story:
    """A story's text and the animal it is about."""

    text: str
    animal: str


def with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def draw_slots(rng: random.Random) -> dict[str, str]:
    """One choice for every slot that a template may name."""
    name, friend = rng.sample(GIRLS + BOYS, 2)
    animal, animal2 = rng.sample(ANIMALS, 2)
    spot, spot2, spot3 = rng.sample(SPOTS, 3)
    made, gift = rng.choice(GIFTS)
    victim_trouble, victim, remedy = rng.choice(RESCUES)
    he, his, him = ("she", "her", "her") if name in GIRLS else ("he", "his", "him")
    return {
        "name": name,
        "he": he,
        "He": he.capitalize(),
        "his": his,
        "him": him,
        "animal": animal,
        "a_trait": with_article(rng.choice(TRAITS)),
        "home": rng.choice(HOMES),
        "time": rng.choice(TIMES),
        "friend": friend,
        "he2": "she" if friend in GIRLS else "he",
        "animal2": animal2,
        "a_animal2": with_article(animal2),
        "spot": spot,
        "spot2": spot2,
        "spot3": spot3,
        "seat": rng.choice(SEATS),
        "land": rng.choice(LANDS),
        "color": rng.choice(COLORS),
        "toy": rng.choice(TOYS),
        "container": rng.choice(CONTAINERS),
        "food": rng.choice(FOODS),
        "shelter": rng.choice(SHELTERS),
        "worry": rng.choice(WORRIES),
        "pastime": rng.choice(PASTIMES),
        "skill": rng.choice(SKILLS),
        "made": made,
        "gift": gift,
        "joy": rng.choice(JOYS),
        "victim_trouble": victim_trouble,
        "victim": victim,
        "remedy": remedy,
        "treasure": rng.choice(TREASURES),
    }


def write_story(rng: random.Random) -> Story:
    slots = draw_slots(rng)
    sentences = (OPENING, *rng.choice(PLOTS))
    text = " ".join(rng.choice(sentence).format_map(slots) for sentence in sentences)
    return Story(text, slots["animal"])
