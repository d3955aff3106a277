"""Real class names of the field's data sets, mostly of 1 to 3 tokens."""

CIFAR100 = """apple, aquarium fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus,
butterfly, camel, can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab, crocodile,
cup, dinosaur, dolphin, elephant, flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, lawn mower,
leopard, lion, lizard, lobster, man, maple tree, motorcycle, mountain, mouse, mushroom, oak tree, orange, orchid, otter,
palm tree, pear, pickup truck, pine tree, plain, plate, poppy, porcupine, possum, rabbit, raccoon, ray, road, rocket,
rose, sea, seal, shark, shrew, skunk, skyscraper, snail, snake, spider, squirrel, streetcar, sunflower, sweet pepper,
table, tank, telephone, television, tiger, tractor, train, trout, tulip, turtle, wardrobe, whale, willow tree, wolf,
woman, worm"""
CALTECH101 = """face, accordion, airplane, anchor, ant, barrel, bass, binocular, bonsai, brain, brontosaurus, buddha,
camera, cannon, car side, ceiling fan, cellphone, cougar body, cougar face, crayfish, crocodile head, dalmatian,
dollar bill, dragonfly, electric guitar, emu, euphonium, ewer, ferry, flamingo, flamingo head, garfield, gerenuk,
gramophone, grand piano, hawksbill, headphone, hedgehog, helicopter, ibis, inline skate, joshua tree, ketch, laptop,
llama, lotus, mandolin, mayfly, menorah, metronome, minaret, nautilus, octopus, okapi, pagoda, panda, pigeon, pizza,
platypus, pyramid, revolver, rhino, rooster, saxophone, schooner, scissors, scorpion, sea horse, snoopy, soccer ball,
stapler, starfish, stegosaurus, stop sign, strawberry, trilobite, umbrella, watch, water lilly, wheelchair, wild cat,
windsor chair, wrench, yin yang"""
FOOD101 = """apple pie, baby back ribs, baklava, beef carpaccio, beef tartare, beet salad, beignets, bibimbap,
bread pudding, breakfast burrito, bruschetta, caesar salad, cannoli, caprese salad, carrot cake, ceviche, cheesecake,
cheese plate, chicken curry, chicken quesadilla, chicken wings, chocolate cake, chocolate mousse, churros, clam chowder,
club sandwich, crab cakes, creme brulee, croque madame, cup cakes, deviled eggs, donuts, dumplings, edamame,
eggs benedict, escargots, falafel, filet mignon, fish and chips, foie gras, french fries, french onion soup,
french toast, fried calamari, fried rice, frozen yogurt, garlic bread, gnocchi, greek salad, grilled cheese sandwich,
grilled salmon, guacamole, gyoza, hamburger, hot and sour soup, hot dog, huevos rancheros, hummus, ice cream, lasagna,
lobster bisque, lobster roll sandwich, macaroni and cheese, macarons, miso soup, mussels, nachos, omelette, onion rings,
oysters, pad thai, paella, pancakes, panna cotta, peking duck, pho, pork chop, poutine, prime rib, pulled pork sandwich,
ramen, ravioli, red velvet cake, risotto, samosa, sashimi, scallops, seaweed salad, shrimp and grits,
spaghetti bolognese, spaghetti carbonara, spring rolls, steak, strawberry shortcake, sushi, tacos, takoyaki, tiramisu,
tuna tartare, waffles"""
FLOWERS = """pink primrose, canterbury bells, sweet pea, english marigold, tiger lily, moon orchid, bird of paradise,
monkshood, globe thistle, snapdragon, king protea, spear thistle, yellow iris, balloon flower, giant white arum lily,
fire lily, pincushion flower, fritillary, red ginger, grape hyacinth, corn poppy, stemless gentian, artichoke,
sweet william, carnation, garden phlox, mexican aster, barbeton daisy, cyclamen, petunia"""
ADJECTIVES = ("", "small ", "old ", "white ", "wooden ")  # ImageNet's names have one or two tokens more


def names(count: int) -> list[str]:
    """The first `count` of 300 real names, then the same with an adjective; all different."""
    real = ", ".join((CIFAR100, CALTECH101, FOOD101, FLOWERS)).replace("\n", " ").split(", ")
    every = list(dict.fromkeys(adjective + name for adjective in ADJECTIVES for name in real))
    if count > len(every):
        raise ValueError(f"{count} names asked for, there are {len(every)}")
    return every[:count]
