"""Two written talks with known topics. The first was used to choose constants; the second only to measure."""

from typing import Final

type Talk = tuple[str, ...]
"""The topics of a talk in order; a line is a sentence."""

KITCHEN: Final[Talk] = (
    """Good evening and welcome to our little cooking course.
Tonight we begin with bread, and bread begins with the starter.
A sourdough starter is only flour and water in which wild yeast lives.
Feed it with fresh flour every morning, and it will double within four hours.
When a spoonful of starter floats on water, it is ready for the dough.
Mix five hundred grams of flour with the starter and three hundred grams of water.
The dough will be sticky, and that is as it should be.
Fold it every half hour, and let it rise overnight in a cool place.
In the morning you bake the loaf in a very hot oven, with steam.""",
    """Now let us talk about knives, because a blunt knife is the most dangerous thing in a kitchen.
You need only three of them: a chef's knife, a paring knife and a bread knife.
Hold the blade between thumb and finger, not the handle alone.
The other hand is a claw, so that the knuckles guide the blade.
Sharpen the edge on a whetstone once a month, at an angle of fifteen degrees.
A honing steel does not sharpen, it only straightens the edge.
Never put a good knife into the dishwasher, the heat ruins the blade.
Cut on wood or plastic, never on glass or stone.""",
    """The third part of the evening belongs to soup.
Every soup starts with a stock of bones and vegetables.
Roast the bones first, and the stock becomes brown and strong.
Carrots, onions and celery go into the pot an hour before the end.
Let it simmer and never boil, otherwise the stock turns cloudy.
Skim the foam from the surface with a ladle.
Strain the stock through a cloth, and season it with salt only at the end.
A spoon of miso gives a vegetable soup the depth that bones would give.""",
    """Before the break, a word about the garden behind the house, where our herbs grow.
Basil wants sun, warm nights and a pot that drains well.
Mint takes over every bed, so plant it in a bucket that you bury.
Rosemary survives the winter if its roots stay dry.
Water the plants in the early morning, never at noon.
Cut chives close to the ground, and they grow again within two weeks.
Slugs love young parsley, so put a ring of sand around it.
Compost from the kitchen feeds all the herb beds in spring.""",
    """And finally the part that everybody is waiting for, chocolate.
Good chocolate snaps when you break it, because its cocoa butter has the right crystals.
To get them, you temper the chocolate: melt it, cool it and warm it again.
Melt two thirds of it to forty five degrees over a water bath.
Stir in the last third, which cools the mass to twenty seven degrees.
Then warm it to thirty one degrees, and it is ready for dipping.
Not a drop of water may come into the bowl, or the chocolate seizes.
Fill the moulds, tap out the bubbles of air, and let the pralines set for an hour.
A pinch of sea salt on top makes the cocoa taste sweeter.""",
)

COUNCIL: Final[Talk] = (
    """Good morning, everybody, and thank you for coming to the meeting of the council.
The first item on the agenda is the bridge over the river at Mill Street.
Engineers inspected the bridge in March and found cracks in two of the pillars.
Lorries of more than seven tons may not cross it any more.
A repair of the pillars would cost four hundred thousand and last for ten years.
A new bridge would cost two million, and the traffic would be diverted for a year.
The engineers recommend the repair, provided that the work begins before winter.
All those in favour of repairing the bridge, please raise your hands.""",
    """Then we come to the school, where the number of pupils has grown by a fifth.
Two classes are taught in containers in the yard, which the parents don't like.
The head teacher asks for three more classrooms and a larger canteen.
Children now eat their lunch in two shifts, and the second has twenty minutes.
We could rent rooms in the old library until the new building is ready.
The ministry pays for half of a new school building, if we apply by June.
Mrs Okafor will write the application together with the teachers.
Parents will be told at the next school evening.""",
    """The next subject is rubbish, and how it is collected.
From January on, food waste must be collected separately from other waste.
Every household gets a brown bin with a lid that locks against rats.
The bins for paper will be emptied every second week only.
The contract with the waste company ends in December, and the price will rise.
Last year eleven tons of garbage were dumped in the forest illegally.
We propose cameras at the car parks and a fine of a thousand for dumping.
A recycling yard that opens on Saturdays would help, too.""",
    """Let us turn to the swimming pool, which has been closed since the summer.
The pump that cleans the water broke, and spare parts are not made any more.
A solar heater on the roof would bring the costs of heating down by a third.
The swimming club has two hundred members who train in another town.
Lifeguards are hard to find, so we would have to pay them more.
If tickets cost one euro more, the pool still loses money every year.
The club offers to run the pool at weekends with volunteers.
We will decide about the pool in the autumn, when the offers for a new pump are there.""",
    """The last item is the festival in August.
A stage for the bands will stand in the market square from Friday to Sunday.
Music must end at eleven on Friday and at midnight on Saturday.
The fire brigade wants a lane for its engines that is kept free.
Forty stalls will sell food and drinks, ten more than last year.
Neighbours get free tickets as an apology for the noise.
The fireworks are replaced by a show of drones, which doesn't frighten the animals.
Volunteers for the festival can sign the list at the door.
With that I close the meeting, and I wish you all a good way home.""",
)
