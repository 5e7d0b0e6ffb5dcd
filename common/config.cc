#include "common/config.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <memory>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/errors.h"
#include "common/io/file.h"

namespace pagoda {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using ParseInfoTree = google::protobuf::TextFormat::ParseInfoTree;

constexpr absl::string_view kExtension = ".textproto";
constexpr int kOnly = -1;  // Protobuf's index for a field that is not repeated.

// The text between two quotes, from the n-th pair on (n from 0); empty when there is none.
std::string QuotedPart(absl::string_view text, int n) {
  for (int i = 0; i < n; ++i) {
    for (int quote = 0; quote < 2; ++quote) {
      const size_t found = text.find('"');
      if (found == absl::string_view::npos) return "";
      text.remove_prefix(found + 1);
    }
  }
  const size_t begin = text.find('"');
  if (begin == absl::string_view::npos) return "";
  const size_t end = text.find('"', begin + 1);
  if (end == absl::string_view::npos) return "";
  return std::string(text.substr(begin + 1, end - begin - 1));
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

// The values of all enumerations that are a field called `field`, wherever in the configuration:
// Protobuf does not say which message it was in.
void AddEnumValues(const Descriptor& type, absl::string_view field,
                   std::vector<std::string>* names) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& candidate = *type.field(i);
    if (candidate.message_type() != nullptr) {
      AddEnumValues(*candidate.message_type(), field, names);
    } else if (candidate.enum_type() != nullptr && candidate.name() == field) {
      const EnumDescriptor& values = *candidate.enum_type();
      for (int v = 0; v < values.value_count(); ++v) names->push_back(values.value(v)->name());
    }
  }
}

// Protobuf's message, and what it leaves out: the near names. It knows the message's or the field's
// name only.
std::string Explained(const std::string& message) {
  if (absl::StrContains(message, "has no field named")) {
    const std::string type_name = QuotedPart(message, 0), field = QuotedPart(message, 1);
    const Descriptor* type = Config::descriptor()->file()->pool()->FindMessageTypeByName(type_name);
    if (type == nullptr) return message;
    return absl::StrCat(type->name(), " has no field \"", field, "\"",
                        NearestHint(field, FieldNames(*type)));
  }
  if (absl::StartsWith(message, "Unknown enumeration value")) {
    const std::string value = QuotedPart(message, 0), field = QuotedPart(message, 1);
    std::vector<std::string> names;
    AddEnumValues(*Config::descriptor(), field, &names);
    if (names.empty()) return message;
    return absl::StrCat(field, " has no value \"", value, "\"", NearestHint(value, names));
  }
  if (absl::EndsWith(message, "specified multiple times.")) {
    return absl::StrCat(message, " Write what they say into one.");
  }
  if (absl::EndsWith(message, "got: ")) {
    return absl::StrCat(message, "the end of the text; is a brace or a quote left open?");
  }
  return message;
}

// Keeps the first error; those after it are often its consequences.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(absl::string_view where) : where_(where) {}
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!text_.empty()) return;
    text_ = absl::StrCat(where_, ":", line + 1, ":", column + 1, ": ", Explained(message));
  }
  const std::string& text() const { return text_; }

 private:
  const std::string where_;
  std::string text_;
};

// The `name` field by which elements of `field` merge, or nullptr.
const FieldDescriptor* NameField(const FieldDescriptor& field) {
  if (!field.is_repeated() || field.message_type() == nullptr) return nullptr;
  const FieldDescriptor* name = field.message_type()->FindFieldByName("name");
  const bool is_text = name != nullptr && name->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  return is_text ? name : nullptr;
}

void MergeMessage(const Message& layer, Message* base);

// The element of *base's `field` with this name, added when there is none.
Message* FindOrAdd(const FieldDescriptor& field, const FieldDescriptor& name_field,
                   const std::string& name, Message* base) {
  const Reflection& reflection = *base->GetReflection();
  for (int i = 0; i < reflection.FieldSize(*base, &field); ++i) {
    Message* element = reflection.MutableRepeatedMessage(base, &field, i);
    if (element->GetReflection()->GetString(*element, &name_field) == name) return element;
  }
  return reflection.AddMessage(base, &field);
}

void MergeByName(const Message& layer, const FieldDescriptor& field,
                 const FieldDescriptor& name_field, Message* base) {
  const Reflection& reflection = *layer.GetReflection();
  for (int i = 0; i < reflection.FieldSize(layer, &field); ++i) {
    const Message& element = reflection.GetRepeatedMessage(layer, &field, i);
    const std::string name = element.GetReflection()->GetString(element, &name_field);
    MergeMessage(element, FindOrAdd(field, name_field, name, base));
  }
}

void MergeMessage(const Message& layer, Message* base) {
  const Reflection& reflection = *layer.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(layer, &fields);
  // What Protobuf's own merge does as we want it.
  const std::unique_ptr<Message> rest(layer.New());
  rest->CopyFrom(layer);
  for (const FieldDescriptor* field : fields) {
    if (const FieldDescriptor* name_field = NameField(*field)) {
      MergeByName(layer, *field, *name_field, base);
      reflection.ClearField(rest.get(), field);
    } else if (field->is_repeated()) {
      reflection.ClearField(base, field);
    } else if (field->message_type() != nullptr) {
      MergeMessage(reflection.GetMessage(layer, field), reflection.MutableMessage(base, field));
      reflection.ClearField(rest.get(), field);
    }
  }
  base->MergeFrom(*rest);
}

// One text says everything of a name in one place: a second element of that name is a copy that was
// not renamed, and would silently change the first. `tree`: where the parts of `message` stand.
absl::Status CheckNamesOnce(const Message& message, const ParseInfoTree& tree,
                            absl::string_view where) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->message_type() == nullptr) continue;
    if (!field->is_repeated()) {
      RETURN_IF_ERROR(CheckNamesOnce(reflection.GetMessage(message, field),
                                     *tree.GetTreeForNested(field, kOnly), where));
      continue;
    }
    const FieldDescriptor* name_field = NameField(*field);
    std::set<std::string> names;
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      const Message& element = reflection.GetRepeatedMessage(message, field, i);
      const ParseInfoTree& place = *tree.GetTreeForNested(field, i);
      RETURN_IF_ERROR(CheckNamesOnce(element, place, where));
      if (name_field == nullptr || !element.GetReflection()->HasField(element, name_field))
        continue;
      const std::string name = element.GetReflection()->GetString(element, name_field);
      if (names.insert(name).second) continue;
      // The name's place, not the element's: of "task [{ ... }, { ... }]" Protobuf notes one only.
      const auto at = place.GetLocation(name_field, kOnly);
      return UsageError(absl::StrCat(where, ":", at.line + 1, ":", at.column + 1, ": ",
                                     field->name(), " \"", name,
                                     "\" stands there twice; make them one, or rename one"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Config> ParseConfig(absl::string_view text, absl::string_view where) {
  FirstError error(where);
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  ParseInfoTree tree;
  parser.WriteLocationsTo(&tree);
  Config config;
  if (!parser.ParseFromString(std::string(text), &config)) return UsageError(error.text());
  RETURN_IF_ERROR(CheckNamesOnce(config, tree, where));
  return config;
}

void MergeConfig(const Config& layer, Config* base) { MergeMessage(layer, base); }

absl::StatusOr<std::string> FindConfigFile(const std::string& config_root, const std::string& kind,
                                           const std::string& name_or_path) {
  if (name_or_path.empty()) return UsageError(absl::StrCat("empty name of ", kind));
  const bool is_path =
      absl::StrContains(name_or_path, '/') || absl::EndsWith(name_or_path, kExtension);
  if (is_path) {
    if (FileExists(name_or_path)) return name_or_path;
    return absl::NotFoundError(absl::StrCat(name_or_path, ": no such file"));
  }
  const std::string folder = JoinPath(config_root, kind);
  const std::string path = JoinPath(folder, absl::StrCat(name_or_path, kExtension));
  if (FileExists(path)) return path;
  std::vector<std::string> known;
  const absl::StatusOr<std::vector<std::string>> files = ListDirectory(folder);
  if (!files.ok()) return absl::NotFoundError(files.status().message());
  for (absl::string_view file : *files) {
    if (absl::ConsumeSuffix(&file, kExtension)) known.emplace_back(file);
  }
  std::string hint = NearestHint(name_or_path, known);
  for (const std::string& here : {name_or_path, absl::StrCat(name_or_path, kExtension)}) {
    if (FileSize(here).ok()) hint = absl::StrCat("; the file of this folder is ./", here);
  }
  return absl::NotFoundError(absl::StrCat("no \"", name_or_path, "\" in ", folder, hint));
}

}  // namespace pagoda
