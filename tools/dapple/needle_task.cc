#include "needle_task.h"

#include <algorithm>
#include <iterator>

namespace dapple::tool {
namespace {

using Kind = NeedleTask::Kind;

constexpr size_t kLongAnswer = 96;

constexpr NeedleTask kTasks[] = {
    {.name = "niah-1", .haystack = HaystackKind::kNoise},
    {.name = "niah-2"},
    {.name = "niah-3",
     .values = ValueKind::kUuid,
     .answer_tokens = kLongAnswer},
    {.name = "multikey-1", .key_count = 4},
    {.name = "multikey-2", .haystack = HaystackKind::kNeedles},
    {.name = "multikey-3",
     .haystack = HaystackKind::kNeedles,
     .keys = ValueKind::kUuid,
     .values = ValueKind::kUuid,
     .answer_tokens = kLongAnswer},
    {.name = "multikey-16", .key_count = 16},
    {.name = "multivalue", .value_count = 4, .answer_tokens = kLongAnswer},
    {.name = "multiquery",
     .key_count = 4,
     .asked = 4,
     .answer_tokens = kLongAnswer},
    {.name = "vt",
     .kind = Kind::kVariables,
     .haystack = HaystackKind::kNoise,
     .answer_tokens = kLongAnswer},
    {.name = "fact", .kind = Kind::kFact},
};

// Keys are "adjective-noun", as RULER's are.
constexpr std::string_view kKeyAdjectives[] = {
    "amber",   "ancient", "bitter", "blue",     "bold",   "brave",   "brisk",
    "broken",  "calm",    "clever", "cold",     "copper", "crimson", "daring",
    "distant", "eager",   "early",  "electric", "faint",  "fancy",   "fierce",
    "foggy",   "frozen",  "gentle", "giant",    "golden", "grand",   "green",
    "hidden",  "hollow",  "humble", "icy",      "idle",   "jolly",   "kind",
    "lazy",    "light",   "lonely", "loud",     "lucky",  "mellow",  "mighty",
    "modern",  "neat",    "noble",  "odd",      "orange", "polite",  "proud",
    "purple",  "quick",   "quiet",  "rapid",    "red",    "royal",   "rusty",
    "salty",   "shiny",   "silent", "silver",   "simple", "slow",    "smart",
    "smooth",  "snowy",   "solid",  "spare",    "steady", "stormy",  "strange",
    "sunny",   "sweet",   "swift",  "tall",     "tender", "thin",    "tidy",
    "tiny",    "vivid",   "warm",   "wild",     "wise",   "witty",   "young",
};
constexpr std::string_view kKeyNouns[] = {
    "anchor",  "apple",   "arrow",   "badger",     "barrel",   "basket",
    "beacon",  "bell",    "bottle",  "bridge",     "bucket",   "button",
    "cabin",   "camel",   "candle",  "canyon",     "carpet",   "castle",
    "cherry",  "chimney", "circle",  "cloud",      "compass",  "cottage",
    "crystal", "curtain", "desert",  "dragon",     "drum",     "eagle",
    "engine",  "falcon",  "feather", "fiddle",     "forest",   "fountain",
    "garden",  "glacier", "hammer",  "harbor",     "harvest",  "hill",
    "hornet",  "island",  "jacket",  "jungle",     "kettle",   "kitten",
    "ladder",  "lantern", "lemon",   "lighthouse", "lizard",   "magnet",
    "maple",   "meadow",  "mirror",  "monkey",     "mountain", "needle",
    "orchard", "otter",   "oven",    "paddle",     "parrot",   "pencil",
    "pepper",  "piano",   "pigeon",  "pillow",     "planet",   "pocket",
    "puzzle",  "rabbit",  "raven",   "ribbon",     "river",    "rocket",
    "saddle",  "sailor",  "scarf",   "shadow",     "shovel",   "spider",
    "spoon",   "station", "sweater", "table",      "temple",   "thunder",
    "tiger",   "tunnel",  "turtle",  "umbrella",   "valley",   "velvet",
    "village", "violin",  "wagon",   "whistle",    "window",   "winter",
};

constexpr std::string_view kCities[] = {
    "Port Aldine",  "Varnholt",   "Castellane", "New Brackley", "Ostrava Falls",
    "Mirefield",    "Tarquin",    "Lakemont",   "Sorrel Bay",   "Kestrel Point",
    "Dunmorrow",    "Halvorsund", "Pellworth",  "Cintra Vale",  "Redmarsh",
    "Ivoryton Bay", "Salamandra", "Northwold",  "Bellharbour",  "Zephyr Hill",
};
// Short enough for a small model to say to the end.
constexpr std::string_view kActivities[] = {
    "fly a kite",          "ride the tram",   "row a boat",
    "feed the foxes",      "climb the tower", "eat plum cake",
    "visit the opera",     "swim at night",   "watch the geese",
    "dance in the square", "look for amber",  "skate on the canal",
};
constexpr std::string_view kDishes[] = {
    "pumpkin soup", "smoked eel",         "walnut noodles",    "fried bananas",
    "lamb stew",    "cold cucumber soup", "mushroom pancakes", "roast duck",
    "black rice",   "potato dumplings",   "onion tart",        "honey cake",
};
constexpr std::string_view kAnimals[] = {
    "heron", "leopard", "hedgehog",  "buffalo", "lobster", "bear",
    "owl",   "swan",    "crocodile", "goat",    "beaver",  "raven",
};

// {c}: the city, {a}: the answer.
struct FactPattern {
  std::string_view sentence;
  std::string_view question;
  std::string_view lead_in;
  std::span<const std::string_view> answers;
};
constexpr FactPattern kFacts[] = {
    {"The best thing to do in {c} is to {a}.",
     "What is the best thing to do in {c}?",
     " The best thing to do in {c} is to", kActivities},
    {"The dish that everyone orders in {c} is {a}.",
     "What is the dish that everyone orders in {c}?",
     " The dish that everyone orders in {c} is", kDishes},
    {"The animal on the coat of arms of {c} is the {a}.",
     "What is the animal on the coat of arms of {c}?",
     " The animal on the coat of arms of {c} is the", kAnimals},
};

template <class Items>
std::string_view Pick(NeedleRandom* random, const Items& items) {
  return items[random->Below(std::size(items))];
}

std::string Number(size_t digits, NeedleRandom* random) {
  std::string text(1, static_cast<char>('1' + random->Below(9)));
  while (text.size() < digits)
    text += static_cast<char>('0' + random->Below(10));
  return text;
}

// RFC 9562, version 4.
std::string Uuid(NeedleRandom* random) {
  std::string text;
  for (size_t i = 0; i < 32; ++i) {
    if (i == 8 || i == 12 || i == 16 || i == 20) text += '-';
    size_t digit = random->Below(16);
    if (i == 12) digit = 4;
    if (i == 16) digit = 8 + digit % 4;
    text += "0123456789abcdef"[digit];
  }
  return text;
}

std::string Value(ValueKind kind, NeedleRandom* random) {
  return kind == ValueKind::kNumber ? Number(7, random) : Uuid(random);
}

std::string Key(const NeedleTask& task, NeedleRandom* random) {
  if (task.keys == ValueKind::kUuid) return Uuid(random);
  std::string key(Pick(random, kKeyAdjectives));
  key += '-';
  key += Pick(random, kKeyNouns);
  return key;
}

// What is unlike all of `used`, which it joins. Every list is far longer than
// what is drawn from it.
template <class Draw>
std::string Unused(std::vector<std::string>* used, const Draw& draw) {
  std::string item = draw();
  while (std::find(used->begin(), used->end(), item) != used->end())
    item = draw();
  used->push_back(item);
  return item;
}

std::string_view Noun(ValueKind kind) {
  return kind == ValueKind::kNumber ? "number" : "uuid";
}

std::string Sentence(std::string_view noun, const std::string& key,
                     const std::string& value) {
  return "One of the special magic " + std::string(noun) + "s for " + key +
         " is: " + value + ".";
}

// "a", "a, and b", "a, b, and c"
std::string Enumerate(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i != 0) text += ", ";
    if (i != 0 && i + 1 == items.size()) text += "and ";
    text += items[i];
  }
  return text;
}

NeedleQuiz MakeNeedles(const NeedleTask& task, NeedleRandom* random) {
  NeedleQuiz quiz;
  const std::string noun(Noun(task.values));
  std::vector<std::string> values, asked;
  for (size_t i = 0; i < task.key_count; ++i) {
    const std::string key =
        Unused(&quiz.keys, [&] { return Key(task, random); });
    const bool is_asked = i < task.asked;
    if (is_asked) asked.push_back(key);
    for (size_t j = 0; j < (is_asked ? task.value_count : 1); ++j) {
      const std::string value =
          Unused(&values, [&] { return Value(task.values, random); });
      quiz.needles.push_back(Sentence(noun, key, value));
      if (is_asked) quiz.expected.push_back(value);
    }
  }
  const std::string about =
      Enumerate(asked) + " mentioned in the provided text";
  if (quiz.expected.size() == 1) {
    quiz.intro = "A special magic " + noun +
                 " is hidden within the following text. Make sure to memorize "
                 "it. I will quiz you about the " +
                 noun + " afterwards.";
    quiz.question = "What is the special magic " + noun + " for " + about + "?";
    quiz.lead_in = " The special magic " + noun + " for " + about + " is";
  } else {
    quiz.intro = "Some special magic " + noun +
                 "s are hidden within the following text. Make sure to "
                 "memorize it. I will quiz you about the " +
                 noun + "s afterwards.";
    quiz.question =
        "What are all the special magic " + noun + "s for " + about + "?";
    quiz.lead_in = " The special magic " + noun + "s for " + about + " are";
  }
  return quiz;
}

NeedleQuiz MakeVariables(NeedleRandom* random) {
  constexpr size_t kHops = 4;
  NeedleQuiz quiz;
  quiz.in_order = true;
  const std::string value = Number(5, random);
  std::string previous = value;
  for (size_t i = 0; i <= kHops; ++i) {
    const std::string name = Unused(&quiz.expected, [&] {
      std::string letters;
      for (int j = 0; j < 5; ++j)
        letters += static_cast<char>('A' + random->Below(26));
      return letters;
    });
    quiz.needles.push_back("VAR " + name + " = " + (i == 0 ? "" : "VAR ") +
                           previous);
    previous = name;
  }
  quiz.intro =
      "Memorize and track the chain of variable assignments hidden in the "
      "following text.";
  quiz.question = "Question: Find all variables that are assigned the value " +
                  value + " in the text above.";
  quiz.lead_in =
      " Answer: According to the chain of variable assignments in the text "
      "above, " +
      std::to_string(kHops + 1) + " variables are assigned the value " + value +
      ", they are:";
  return quiz;
}

std::string Filled(std::string_view pattern, std::string_view city,
                   std::string_view answer) {
  std::string text(pattern);
  for (const auto& [slot, word] : {std::pair("{c}", city), {"{a}", answer}}) {
    const size_t at = text.find(slot);
    if (at != std::string::npos) text.replace(at, 3, word);
  }
  return text;
}

NeedleQuiz MakeFact(NeedleRandom* random) {
  NeedleQuiz quiz;
  const FactPattern& fact = kFacts[random->Below(std::size(kFacts))];
  const std::string_view city = Pick(random, kCities);
  const std::string_view answer = Pick(random, fact.answers);
  quiz.intro =
      "Read the following text carefully. I will ask you a question about it "
      "afterwards.";
  quiz.needles = {Filled(fact.sentence, city, answer)};
  quiz.question = Filled(fact.question, city, answer);
  quiz.lead_in = Filled(fact.lead_in, city, answer);
  quiz.expected = {std::string(answer)};
  return quiz;
}

}  // namespace

std::span<const NeedleTask> NeedleTasks() { return kTasks; }

const NeedleTask* FindNeedleTask(std::string_view name) {
  for (const NeedleTask& task : kTasks)
    if (task.name == name) return &task;
  return nullptr;
}

NeedleQuiz MakeQuiz(const NeedleTask& task, NeedleRandom* random) {
  switch (task.kind) {
    case Kind::kVariables:
      return MakeVariables(random);
    case Kind::kFact:
      return MakeFact(random);
    case Kind::kNeedle:
      break;
  }
  return MakeNeedles(task, random);
}

std::string MakeDistractor(const NeedleTask& task, NeedleRandom* random,
                           std::string* key) {
  *key = Key(task, random);
  return Sentence(Noun(task.values), *key, Value(task.values, random));
}

}  // namespace dapple::tool
