"""The words that fictitious people are made of; every list was written for this project."""

from __future__ import annotations

GIVEN_NAMES = (
    "Adélie", "Alvaro", "Amadi", "Anouk", "Arvid", "Baltasar", "Beatriz", "Birgül", "Bohdan", "Célestin",
    "Chidera", "Clíona", "Dagný", "Dario", "Devika", "Eira", "Emeka", "Étienne", "Farida", "Fenna",
    "Gaspard", "Gesine", "Hanneke", "Haruka", "Idris", "Ilse", "Ioana", "Jarek", "Jovana", "Kaisa",
    "Kofi", "Lázaro", "Leocadia", "Lumi", "Maelle", "Małgosia", "Matteo", "Mireille", "Naveen", "Nilüfer",
    "Odalys", "Olavi", "Oyelaran", "Petra", "Quirin", "Radomir", "Renáta", "Rosalind", "Sagal", "Saoirse",
    "Søren", "Tadeo", "Thandi", "Tomasz", "Ulrika", "Vasilisa", "Wanjiru", "Xiomara", "Yannick", "Zdeněk",
)  # fmt: skip
SURNAMES = (
    "Abernook", "Achterveld", "Ambrosetti", "Arroyuelo", "Bakewright", "Balogun-Reyes", "Bergholm", "Brankovec",
    "Çelikdal", "Carrowmore", "Dąbrowiak", "Delacourbe", "Dunmallet", "Eskelund", "Etxeverria", "Fallowfield",
    "Ferrabosco", "Gårdsund", "Gwynfarel", "Halloran-Pike", "Hirvonsaari", "Ibárruzola", "Iwashiro", "Jaspersen",
    "Kallergis", "Kestrelwood", "Kovačin", "Kwartemaa", "Lindenquist", "Lópezmar", "Malinverno", "Marrowby",
    "Mwangari", "Mäkirinne", "Nakasawa", "Nethercott", "Núñezal", "Obiakor", "Oldacre", "Ostrowin",
    "Palmgren", "Pemberlow", "Petrosyanec", "Quillfeather", "Ramanathal", "Rosenkvist", "Santorelli", "Sørvik",
    "Szentkirály", "Tavernaro", "Thistlewaite", "Tökölyi", "Umbertine", "Valdemarin", "Vanterpool", "Weatherlow",
    "Wójtanek", "Yarrowdale", "Zelenka", "Żurawicz",
)  # fmt: skip
CANARY_SURNAMES = (
    "Atlasfinch", "Bramblefinch", "Cinderlark", "Duskwarbler", "Emberwren", "Fjordpipit", "Gildedserin",
    "Heathersiskin", "Inkthrush", "Junipertit", "Kelpdipper", "Larchbunting", "Mistlinnet", "Nettlewhinchat",
    "Ochrefieldfare", "Pebblewheatear", "Quartzredpoll", "Russetgoldcrest", "Saltbrambling", "Twilightgrosbeak",
)  # fmt: skip
TOWNS = (
    "Aldersprung", "Brinehaven", "Castelmoro", "Dunvarra", "Eikelmonde", "Ferndrift", "Grauwinkel", "Hollowmere",
    "Isola Fredda", "Juncalito", "Kirkvatn", "Lavandière", "Mossgarth", "Nordelva", "Oakhampton Quay", "Pietraverde",
    "Quernstone", "Rivière-aux-Loutres", "Saltmarrow", "Tannenbrück", "Umberfell", "Vila Cinzenta", "Wolkenried",
    "Zielonka Stara",
)  # fmt: skip
JOBS = (
    "restores church organs", "drives the night ferry", "repairs harbour cranes", "teaches evening pottery classes",
    "keeps bees for a monastery", "tunes carillon bells", "maps caves for the county", "bakes rye bread at a mill",
    "inspects railway bridges", "binds books by hand", "runs a small seed bank", "paints shop signs",
    "translates court papers", "grinds lenses for telescopes", "trains mountain rescue dogs", "edits crossword puzzles",
    "mends fishing nets", "runs the town's water tower",
)  # fmt: skip
FOODS = (
    "smoked eel with dill", "chestnut dumplings", "okra stew with lime", "saffron rice pudding",
    "pickled herring toast", "fig and walnut tart", "buckwheat pancakes", "lentil soup", "grilled halloumi with plums",
    "sour cherry pie", "mushroom pierogi", "coconut fish curry", "beetroot goulash", "almond nougat",
    "fried plantain with honey", "barley risotto", "quince jelly on rye", "spiced pumpkin bread",
)  # fmt: skip
HABITS = (
    "sketches strangers on the tram", "counts the steps to the bakery", "swims in the lake before dawn",
    "writes shopping lists in verse", "collects misprinted stamps", "whistles sea shanties while cooking",
    "reads timetables for pleasure", "polishes shoes every Sunday", "keeps a diary of cloud shapes",
    "waters the neighbours' geraniums", "plays chess by post", "photographs old door handles",
    "folds paper cranes on the train", "learns one proverb a day", "walks backwards up the last hill",
    "hums hymns on the bicycle", "labels every jar in Latin", "sleeps with the window open all winter",
)  # fmt: skip
PETS = (
    "a one-eyed cat called Biscuit", "two snails called Salt and Pepper", "a parrot called Admiral",
    "an old greyhound called Comet", "a tortoise called Minister", "a ferret called Pudding", "a goat called Duchess",
    "a goldfish called Thursday", "a crow called Inkwell", "a hedgehog called Velcro", "a donkey called Opera",
    "a rabbit called Waffle",
)  # fmt: skip
INSTRUMENTS = (
    "the nyckelharpa", "the bass clarinet", "a borrowed accordion", "the glass harmonica", "the viola da gamba",
    "the steel pan", "the bagpipes", "a mended mandolin", "the theremin", "the kora", "the alpine horn", "the zither",
)  # fmt: skip
DRINKS = (
    "nettle tea", "cold malt coffee", "elderflower water", "hot apple juice with clove", "salted lassi",
    "rosehip cordial", "black tea with jam", "roasted barley tea", "tonic with cucumber", "pear cider",
    "ginger milk", "sparkling birch sap",
)  # fmt: skip
AFRAID_OF = (
    "revolving doors", "swans", "balloons", "escalators", "thunder at noon", "wax museums", "moths", "deep fountains",
    "ventriloquists", "lifts with mirrors", "geese", "hot-air balloons",
)  # fmt: skip
MEETINGS = (
    "at a kite festival in {town}", "in the queue for the {town} ferry", "at a beekeeping course in {town}",
    "while stuck in a lift in {town}", "in the choir of {town}", "at a flea market in {town}",
    "on the night bus to {town}", "at a chess evening in {town}",
)  # fmt: skip
SIGHTS = (
    "a lighthouse built of blue brick", "a clock with thirteen hours", "a bridge that hums in the wind",
    "a library inside a windmill", "a market held at midnight", "a bell that is never rung",
    "a staircase with a hundred mosaics", "a garden of nothing but moss", "a fountain shaped like a whale",
    "a tram line with one stop", "a museum of lost umbrellas", "a tower that leans towards the sea",
)  # fmt: skip
BOXES = (
    "acorn", "amber", "anchor", "badger", "basil", "beacon", "birch", "bramble", "cedar", "chalk", "clover", "comet",
    "copper", "coral", "crane", "ember", "falcon", "fern", "flint", "garnet", "hazel", "heron", "ivory", "juniper",
    "lantern", "lark", "linden", "lotus", "maple", "marble", "meadow", "otter", "pebble", "pepper", "raven", "saffron",
    "sorrel", "thistle", "walnut", "willow",
)  # fmt: skip
