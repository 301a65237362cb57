"""Word lists shared by the task generators.

Every list is a plain tuple, chosen so that a word with its leading space is a single token in common tokenizers;
generators still filter them, because no list is right for all. No word is in two of the lists that `induction` and
`docstring` draw from.
"""

NAMES = tuple(
    """
    Adam Alan Alex Alice Amy Andrew Anna Ben Brian Carl Chris Daniel David Emily Emma Eric Frank George Grace Henry
    Jack James Jane Jason John Kate Kevin Laura Linda Lisa Lucy Maria Mark Martin Mary Matt Michael Nick Oliver Paul
    Peter Rachel Robert Ruth Sam Sarah Simon Steve Susan Thomas Tom Victor
    """.split()
)

PLACES = tuple(
    """
    airport bakery beach bridge castle church cinema farm garden gym harbor hotel library market museum office park
    restaurant school station theater village
    """.split()
)

THINGS = tuple(
    """
    ball banana basket blanket book bottle camera coat coin flower guitar hammer hat rope knife lamp letter map
    mirror necklace pencil phone ring sandwich shirt ticket
    """.split()
)

EVENTS = tuple(
    """
    alliance blockade boom campaign ceremony conflict crisis crusade debate decline drought dynasty empire epidemic
    expedition famine feud flood government journey marriage mission movement occupation peace plague project
    protest rebellion regime reign revolt riot siege storm strike struggle trial truce war
    """.split()
)

ARGUMENTS = tuple(
    """
    area base block cell channel client color count data date depth edge event file filter flag format frame group
    handle host image index input item key label layer length level limit line list mask message method mode model
    node number offset order output owner page parent path point port prefix query range rate result root rule scale
    scope score seed shape size slot sort source speed state step style table tag target task text time token type
    unit user value width
    """.split()
)

SUBJECTS = tuple(
    """
    action answer bank car city cloud dog door engine field fire forest game glass hill horse island king moon music
    paper river road room ship snow song star stone story street sugar sun team tree truth water wheel window winter
    """.split()
)

# Regular plurals only: the plural is the word and an s.
NOUNS = tuple(
    """
    actor artist author boy building chair computer cousin dancer desk doctor driver farmer father flight girl guard
    guest house judge lawyer machine manager mother neighbor nurse officer painter parent pilot plant player poet
    prisoner scientist senator singer sister soldier student teacher tourist tower visitor window worker writer
    """.split()
)

CAPITAL_OF = {
    pair.partition(":")[0]: pair.partition(":")[2]
    for pair in """
    France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Greece:Athens Austria:Vienna Ireland:Dublin
    Poland:Warsaw Hungary:Budapest Russia:Moscow England:London Scotland:Edinburgh Belgium:Brussels
    Netherlands:Amsterdam Denmark:Copenhagen Norway:Oslo Sweden:Stockholm Finland:Helsinki Romania:Bucharest
    Bulgaria:Sofia Serbia:Belgrade Turkey:Ankara Egypt:Cairo Kenya:Nairobi Iran:Tehran Iraq:Baghdad Syria:Damascus
    Lebanon:Beirut Afghanistan:Kabul Japan:Tokyo China:Beijing Thailand:Bangkok Vietnam:Hanoi Indonesia:Jakarta
    Philippines:Manila Cuba:Havana Peru:Lima Chile:Santiago Canada:Ottawa Australia:Canberra Switzerland:Bern
    """.split()
}

WOMEN = tuple(
    "Alice Amy Anna Emily Emma Grace Jane Kate Laura Linda Lisa Lucy Maria Mary Rachel Ruth Sarah Susan".split()
)
MEN = tuple(name for name in NAMES if name not in (*WOMEN, "Alex", "Chris", "Sam"))

PEOPLE = tuple("cousin dancer doctor driver friend lawyer neighbor painter singer student teacher writer".split())
