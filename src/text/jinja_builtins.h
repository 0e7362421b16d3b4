// The filters, tests and methods of chat templates, and what bounds them.
//
// All throw JinjaError. Arguments are checked: a count or type that a function
// does not take is an error that names it.
#ifndef DAPPLE_TEXT_JINJA_BUILTINS_H_
#define DAPPLE_TEXT_JINJA_BUILTINS_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace dapple {

// What a template may use up: templates come with model files and may be
// hostile. Steps are nodes evaluated; bytes are all that was ever copied.
class JinjaBudget {
 public:
  JinjaBudget(uint64_t steps, uint64_t bytes) : steps_(steps), bytes_(bytes) {}
  void Step() {
    if (steps_-- == 0) throw JinjaError{"the template runs too long"};
  }
  void Charge(uint64_t bytes) {
    if (bytes > bytes_) throw JinjaError{"the template makes too much text"};
    bytes_ -= bytes;
  }

 private:
  uint64_t steps_;
  uint64_t bytes_;
};

struct JinjaArguments {
  std::vector<JinjaValue> positional;
  std::vector<std::pair<std::string, JinjaValue>> named;

  // The argument at this place or of this name; nullptr: not given.
  const JinjaValue* Find(size_t place, std::string_view name) const;
  // Throws unless there are at most `most` positional ones, and only these
  // names.
  void Check(std::string_view function, size_t most,
             std::initializer_list<std::string_view> names = {}) const;
};

JinjaValue ApplyJinjaFilter(std::string_view name, const JinjaValue& value,
                            const JinjaArguments& arguments,
                            JinjaBudget* budget);
bool ApplyJinjaTest(std::string_view name, const JinjaValue& value,
                    const JinjaArguments& arguments, JinjaBudget* budget);
// False: a value of that type has no such method.
bool CallJinjaMethod(const JinjaValue& object, std::string_view name,
                     const JinjaArguments& arguments, JinjaBudget* budget,
                     JinjaValue* result);

// object.name: undefined where there is none; throws for undefined objects.
JinjaValue JinjaAttribute(const JinjaValue& object, std::string_view name);
// object[index]
JinjaValue JinjaItem(const JinjaValue& object, const JinjaValue& index);
// What a for loop goes over: keys of dictionaries, characters of strings.
JinjaList JinjaItems(const JinjaValue& value, JinjaBudget* budget);
// Whether `item in container`.
bool JinjaContains(const JinjaValue& container, const JinjaValue& item,
                   JinjaBudget* budget);
// Equality, charged.
bool JinjaEqual(const JinjaValue& a, const JinjaValue& b, JinjaBudget* budget);
JinjaText JinjaStr(const JinjaValue& value, JinjaBudget* budget);

// Byte offsets of characters, for Python's counting; [size] is the end.
std::vector<size_t> JinjaCharacters(std::string_view text);
// From `from` on; npos: not there. Linear in the text whatever is sought.
size_t JinjaFind(std::string_view text, std::string_view sought, size_t from);

}  // namespace dapple

#endif  // DAPPLE_TEXT_JINJA_BUILTINS_H_
