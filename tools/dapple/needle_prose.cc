#include "needle_prose.h"

#include <algorithm>
#include <span>

namespace dapple::tool {
namespace {

using Words = std::span<const std::string_view>;

struct Name {
  std::string_view name;
  bool woman;
};
constexpr Name kNames[] = {
    {"Agnes", true},     {"Martin", false},  {"Clara", true},
    {"Tobias", false},   {"Ingrid", true},   {"Felix", false},
    {"Harriet", true},   {"Conrad", false},  {"Beatrice", true},
    {"Oscar", false},    {"Matilda", true},  {"Gregory", false},
    {"Rosalind", true},  {"Ambrose", false}, {"Edith", true},
    {"Julian", false},   {"Winifred", true}, {"Barnaby", false},
    {"Helena", true},    {"Leopold", false}, {"Sylvia", true},
    {"Rupert", false},   {"Philippa", true}, {"Walter", false},
    {"Constance", true}, {"Edmund", false},  {"Lydia", true},
    {"Alban", false},    {"Dorothea", true}, {"Simeon", false},
};

// Made up, so that they say nothing about a real place.
constexpr std::string_view kTowns[] = {
    "Thornwick",       "Ashmere",         "Lower Penhallow", "Wexcombe",
    "Saltmarsh Ferry", "Hollinbrook",     "Oldcastle",       "Marrowdale",
    "Ferncliff",       "Stannery Bridge", "Greyford",        "Alderhope",
    "Quillstead",      "Brindle",         "Upper Tarn",      "Eastlow",
    "Carrow Hill",     "Winterbeck",      "Lambsgate",       "Orrin's Mill",
};
constexpr std::string_view kTrades[] = {
    "baker",      "clockmaker", "carpenter", "ferryman",  "bookbinder",
    "gardener",   "glazier",    "cooper",    "weaver",    "schoolmaster",
    "apothecary", "beekeeper",  "mason",     "saddler",   "surveyor",
    "printer",    "miller",     "potter",    "innkeeper", "shipwright",
};
constexpr std::string_view kPlaces[] = {
    "the market square",    "the old harbour",        "the mill by the river",
    "the churchyard",       "the upper orchard",      "the village hall",
    "the stone bridge",     "the lending library",    "the railway yard",
    "the walled garden",    "the chapel on the hill", "the fish market",
    "the edge of the wood", "the schoolhouse",        "the corner shop",
    "the town archive",     "the lime kiln",          "the boat shed",
    "the post office",      "the far meadow",
};
constexpr std::string_view kThings[] = {
    "lantern",          "ledger",
    "copper kettle",    "ladder",
    "painted chest",    "bundle of letters",
    "walking stick",    "brass bell",
    "wooden clock",     "map",
    "basket of apples", "length of rope",
    "silver spoon",     "leather case",
    "fiddle",           "weather vane",
    "jar of honey",     "wheelbarrow",
    "music box",        "old umbrella",
    "roll of canvas",   "pair of spectacles",
    "notebook",         "stone jug",
};
constexpr std::string_view kAdjectives[] = {
    "quiet",    "narrow",   "heavy",   "plain",     "careful",
    "cheerful", "damp",     "bright",  "weathered", "crooked",
    "modest",   "generous", "dusty",   "gentle",    "stubborn",
    "pale",     "familiar", "curious", "sturdy",    "faded",
};
constexpr std::string_view kSeasons[] = {
    "spring", "early summer", "late summer", "autumn", "winter", "harvest time",
};
constexpr std::string_view kTimes[] = {
    "in the early morning",
    "before breakfast",
    "towards evening",
    "on market days",
    "after the first frost",
    "on rainy afternoons",
    "when the shops had closed",
    "at the end of the week",
    "on the eve of the fair",
    "once the tide had turned",
    "while the others were asleep",
    "during the long holidays",
};
constexpr std::string_view kWeather[] = {
    "a light rain had begun to fall",
    "the wind came steadily from the west",
    "mist lay over the fields",
    "the sun stood low above the roofs",
    "snow had covered the lanes",
    "the air smelled of cut hay",
    "clouds were gathering behind the hills",
    "the river ran high and brown",
    "not a leaf was stirring",
    "the first stars had come out",
};
constexpr std::string_view kPast[] = {
    "repaired the fence",
    "counted the day's takings",
    "wrote a long letter home",
    "swept the yard",
    "sorted the seed potatoes",
    "polished the brass",
    "copied the accounts twice",
    "watched the boats come in",
    "carried water to the horses",
    "mended the torn sail",
    "sharpened every blade in the shed",
    "read aloud from the newspaper",
    "planted a row of beans",
    "argued about the price of timber",
    "lit the lamps one by one",
    "walked the whole length of the wall",
    "hung the washing out to dry",
    "packed the crockery in straw",
    "measured the doorway again",
    "sang an old song",
};
constexpr std::string_view kVerbs[] = {
    "repair the roof",
    "learn the violin",
    "sell the second boat",
    "keep a diary",
    "rent a room by the sea",
    "plant a hedge of holly",
    "write to the council",
    "visit the old quarry",
    "open a reading room",
    "build a better stove",
    "teach the children to swim",
    "collect the names of birds",
    "give up the night shift",
    "buy back the orchard",
    "paint the front door green",
    "mend the weir",
};
constexpr std::string_view kPeople[] = {
    "the neighbours",
    "the children",
    "the older fishermen",
    "the travellers",
    "most of the guests",
    "the apprentices",
    "the members of the choir",
    "the people of the lower town",
    "the carters",
    "the two sisters",
    "the visitors from the coast",
    "the shopkeepers",
};
constexpr std::string_view kBeliefs[] = {
    "patience was worth more than talent",
    "a good tool should outlast its owner",
    "nothing was ever truly lost in a small town",
    "bread tasted better when it was shared",
    "the sea gave back whatever it took",
    "old maps were more honest than new ones",
    "a promise made in public had to be kept",
    "the best ideas came to people with busy hands",
    "a garden showed the character of whoever kept it",
    "there was no wrong season for a long walk",
    "an honest answer could wait until the morning",
    "silence was a kind of agreement",
};
constexpr std::string_view kFood[] = {
    "barley soup",           "fresh bread and cheese",
    "apple dumplings",       "smoked herring",
    "a plum tart",           "pea porridge",
    "cold mutton pie",       "roasted chestnuts",
    "oat cakes with butter", "a pot of strong tea",
};
constexpr std::string_view kMaterials[] = {
    "oak",       "slate",
    "brick",     "granite",
    "elm",       "whitewashed stone",
    "cast iron", "pine",
    "sandstone", "hand-cut flint",
};
constexpr std::string_view kAdverbs[] = {
    "slowly",     "without hurry",   "with great care",    "rather proudly",
    "in silence", "almost absently", "with a short laugh", "as if by habit",
    "patiently",  "in good humour",
};
constexpr std::string_view kLinks[] = {
    "For a while",         "In those days",       "As a rule",
    "Not long afterwards", "More often than not", "To everyone's surprise",
    "By all accounts",     "From time to time",   "In the end",
    "All the same",
};

constexpr std::string_view kJudgements[] = {"brave",    "foolish", "kind",
                                            "sensible", "odd",     "generous"};
constexpr std::string_view kWeatherNouns[] = {"the snow", "the frost",
                                              "the storms", "the floods"};

struct List {
  std::string_view slot;
  Words words;
};
constexpr List kLists[] = {
    {"place", kPlaces},
    {"thing", kThings},
    {"adj", kAdjectives},
    {"season", kSeasons},
    {"time", kTimes},
    {"weather", kWeather},
    {"past", kPast},
    {"verb", kVerbs},
    {"people", kPeople},
    {"belief", kBeliefs},
    {"food", kFood},
    {"material", kMaterials},
    {"adverb", kAdverbs},
    {"link", kLinks},
    {"town2", kTowns},
    {"judged", kJudgements},
    {"weather_noun", kWeatherNouns},
};

// {P} the person, {he} {his} {him} for the person; {O} {ohe} {ohis} the other;
// {town} {trade} the paragraph's; other slots: lists. A leading capital in
// the slot's name capitalises, "a_" before it adds the article.
constexpr std::string_view kOpenings[] = {
    "{P} had been the {trade} of {town} for longer than anyone could remember.",
    "In {season} {town} was a {adj} place, and {weather}.",
    "There was {a_trade1} in {town} called {P}, who lived near {place}.",
    "When {P} first came to {town}, {weather}.",
    "The {trade} of {town} was called {P}, and {his} house was built of "
    "{material}.",
    "Nobody in {town} knew {place} better than {P} did.",
    "It was in {season} that {P} and {O} began to {verb}.",
    "{Time}, {P} could be found at {place}.",
    "The road from {town2} to {town} passed {place} and went on into the "
    "hills.",
    "The story that {people} of {town} liked best was about {P} and "
    "{a_thing}.",
};
constexpr std::string_view kPatterns[] = {
    "{link} {he} {past} and {past}.",
    "{P} believed that {belief}.",
    "{O} did not agree, and said so {adverb}.",
    "{Time}, {people} came to {place} and asked about the {thing}.",
    "{He} kept {a_adj} {thing} on the shelf and {a_thing} behind the door.",
    "It had once belonged to {a_trade} from {town2}.",
    "The walls were of {material}, the floor was of {material}, and the "
    "windows looked out on {place}.",
    "{O} {past} while {P} {past}.",
    "{People} thought it {judged} of {him} to {verb}.",
    "{Weather}, and for an hour nobody spoke.",
    "They ate {food} at noon, and {food} when the work was done.",
    "{P} had always meant to {verb}, but something {adj} had come between.",
    "\"We could {verb},\" said {O}, \"if only the weather held.\"",
    "{He} answered {adverb} that {belief}.",
    "Between {place} and {place} there ran {a_adj} path which {people} used "
    "{time}.",
    "{Link}, {people} would gather near {place} to talk about the harvest.",
    "{He} had learned from {O} how to {verb}, and in return {he} gave {ohim} "
    "{a_thing}.",
    "The {thing} was {adj}, but it served its purpose.",
    "It was often said in {town} that {belief}.",
    "If {weather_noun} came early, {people} stayed at home and mended their "
    "nets.",
    "{Link}, {O} {past}, which took the whole of the morning.",
    "{People} remembered the year in which {P} decided to {verb}.",
    "{P} never ran out of {food}, even in {season}.",
    "{O} laughed and {past}.",
    "Some said that {belief}; others were less certain.",
    "On the way to {place} {he} met {a_trade} who carried {a_adj} {thing}.",
    "{Time}, when {weather}, {he} {past}.",
    "It took {him} most of {season} to {verb}.",
    "{O}, who had come over from {town2}, brought {a_thing} and {food}.",
    "Neither {P} nor {O} wanted to {verb}, so the matter was left alone.",
    "{His} father had been {a_trade}, and {his} grandfather {a_trade} as well.",
    "The gate beside {place} stood open, and {weather}.",
    "Every {trade} in {town2} owned {a_thing} like that one.",
    "{He} put the {thing} down {adverb} and {past}.",
    "\"It is only {a_thing},\" {he} told {people}, \"and {a_adj} one.\"",
    "Years later {O} still spoke of {town} and of the {adj} light over "
    "{place}.",
};
std::string_view Pick(NeedleRandom* random, Words words) {
  return words[random->Below(words.size())];
}

bool Vowel(char c) {
  return std::string_view("aeiouAEIOU").find(c) != std::string_view::npos;
}

std::string WithArticle(std::string_view word) {
  // Words of the lists only: "honest", "hour" and "useful" are not among them.
  return std::string(Vowel(word[0]) ? "an " : "a ") + std::string(word);
}

void Capitalise(std::string* text) {
  if (!text->empty() && (*text)[0] >= 'a' && (*text)[0] <= 'z')
    (*text)[0] = static_cast<char>((*text)[0] - 'a' + 'A');
}

}  // namespace

NeedleProse::NeedleProse(uint64_t seed) : random_(seed) {
  recent_.fill(std::size(kPatterns));
}

NeedleProse::Person NeedleProse::PickPerson() {
  const Name& name = kNames[random_.Below(std::size(kNames))];
  return {name.name, name.woman};
}

void NeedleProse::BeginParagraph() {
  left_ = 4 + random_.Below(6);
  first_ = true;
  person_ = PickPerson();
  do {
    other_ = PickPerson();
  } while (other_.name == person_.name);
  town_ = Pick(&random_, kTowns);
  trade_ = Pick(&random_, kTrades);
}

std::string NeedleProse::Fill(std::string_view slot) {
  if (slot == "P") return std::string(person_.name);
  if (slot == "O") return std::string(other_.name);
  if (slot == "he") return person_.woman ? "she" : "he";
  if (slot == "his") return person_.woman ? "her" : "his";
  if (slot == "him") return person_.woman ? "her" : "him";
  if (slot == "ohim") return other_.woman ? "her" : "him";
  if (slot == "town") return std::string(town_);
  if (slot == "trade") return std::string(trade_);
  if (slot == "a_trade1") return WithArticle(trade_);
  if (slot == "a_trade") return WithArticle(Pick(&random_, kTrades));
  const bool article = slot.substr(0, 2) == "a_";
  const std::string_view name = article ? slot.substr(2) : slot;
  for (const List& list : kLists) {
    if (list.slot != name) continue;
    const std::string_view word = Pick(&random_, list.words);
    return article ? WithArticle(word) : std::string(word);
  }
  return std::string(slot);  // a pattern's mistake; the tests look for braces
}

std::string NeedleProse::Expand(std::string_view pattern) {
  std::string text;
  while (!pattern.empty()) {
    const size_t open = pattern.find('{');
    text += pattern.substr(0, open);
    if (open == std::string_view::npos) break;
    const size_t close = pattern.find('}', open);
    std::string slot(pattern.substr(open + 1, close - open - 1));
    const bool capital = slot.size() > 1 && slot[0] >= 'A' && slot[0] <= 'Z';
    if (capital) slot[0] = static_cast<char>(slot[0] - 'A' + 'a');
    // "swept the yard and swept the yard": another word where there is one.
    std::string fill = Fill(slot);
    for (int i = 0; i < 4 && text.find(fill) != std::string::npos; ++i)
      fill = Fill(slot);
    if (capital) Capitalise(&fill);
    text += fill;
    pattern.remove_prefix(close + 1);
  }
  Capitalise(&text);
  return text;
}

std::string NeedleProse::NextSentence() {
  if (left_ == 0) BeginParagraph();
  --left_;
  if (first_) {
    first_ = false;
    return Expand(kOpenings[random_.Below(std::size(kOpenings))]);
  }
  size_t pattern = 0;
  do {
    pattern = random_.Below(std::size(kPatterns));
  } while (std::find(recent_.begin(), recent_.end(), pattern) != recent_.end());
  recent_[written_++ % recent_.size()] = pattern;
  return Expand(kPatterns[pattern]);
}

}  // namespace dapple::tool
