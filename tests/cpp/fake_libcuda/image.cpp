#include "image.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace fake {
namespace {

std::uint64_t fnv1a(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

template <class T>
T at(std::string_view bytes, std::size_t offset) {
  T value{};
  if (offset + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

struct Section {
  std::string name;
  std::size_t offset, bytes;
};

constexpr std::size_t header_bytes = 64;  // of ELF64; its fields below are at the offsets that the format gives them
constexpr unsigned no_bits = 8;           // a section type: takes no place in the file

/// The sections of an ELF image; `end` becomes the end of all that its headers name.
std::vector<Section> sections_of(const char* image, std::size_t& end) {
  const std::string_view header(image, header_bytes);
  const auto sections_at = at<std::uint64_t>(header, 0x28);
  const std::size_t count = at<std::uint16_t>(header, 0x3c);
  const std::size_t entry_bytes = at<std::uint16_t>(header, 0x3a);
  end = std::max(
      sections_at + count * entry_bytes,
      at<std::uint64_t>(header, 0x20) + std::size_t{at<std::uint16_t>(header, 0x36)} * at<std::uint16_t>(header, 0x38));
  const auto entry = [&](std::size_t i) { return std::string_view(image + sections_at + i * entry_bytes, 64); };
  const auto names_at = at<std::uint64_t>(entry(at<std::uint16_t>(header, 0x3e)), 24);
  std::vector<Section> sections;
  for (std::size_t i = 0; i < count; ++i) {
    sections.push_back({image + names_at + at<std::uint32_t>(entry(i), 0), at<std::uint64_t>(entry(i), 24),
                        at<std::uint64_t>(entry(i), 32)});
    if (at<std::uint32_t>(entry(i), 4) != no_bits) end = std::max(end, sections.back().offset + sections.back().bytes);
  }
  return sections;
}

/// ptxas lists a kernel's parameters in its section .nv.info.NAME, as attributes of kind 0x17.
Parameters parameters_of(std::string_view attributes) {
  constexpr unsigned sized = 4;  // a format: a payload of so many bytes follows
  constexpr unsigned parameter = 0x17;
  std::map<unsigned, Parameter> by_ordinal;
  for (std::size_t i = 0; i + 4 <= attributes.size();) {
    const auto format = at<std::uint8_t>(attributes, i);
    const auto kind = at<std::uint8_t>(attributes, i + 1);
    const std::size_t bytes = format == sized ? at<std::uint16_t>(attributes, i + 2) : 0;
    if (format == sized && kind == parameter) {
      by_ordinal[at<std::uint16_t>(attributes, i + 8)] = {at<std::uint16_t>(attributes, i + 10),
                                                          at<std::uint32_t>(attributes, i + 12) >> 18 & 0x3fff};
    }
    i += 4 + bytes;
  }
  Parameters parameters;
  for (const auto& [ordinal, found] : by_ordinal) parameters.push_back(found);
  return parameters;
}

void append(Parameters& parameters, std::size_t bytes) {
  const std::size_t end = parameters.empty() ? 0 : parameters.back().offset + parameters.back().bytes;
  parameters.push_back({(end + bytes - 1) / bytes * bytes, bytes});
}

Image read_cubin(const char* image) {
  std::size_t end = 0;
  const std::vector<Section> sections = sections_of(image, end);
  Image found{std::string(image, end), 0, {}};
  constexpr std::string_view code = ".text.";
  for (const Section& section : sections) {
    if (!section.name.starts_with(code)) continue;
    const std::string entry = section.name.substr(code.size());
    const auto attributes = std::find_if(sections.begin(), sections.end(),
                                         [&](const Section& each) { return each.name == ".nv.info." + entry; });
    found.entries[entry] =
        attributes == sections.end()
            ? Parameters{}
            : parameters_of(std::string_view(found.bytes).substr(attributes->offset, attributes->bytes));
  }
  return found;
}

Image read_ptx(const std::string& text) {
  Image found{text, 0, {}};
  constexpr std::string_view marker = ".entry ";
  for (std::size_t start = text.find(marker); start != std::string::npos; start = text.find(marker, start)) {
    start += marker.size();
    const std::size_t open = std::min(text.find('(', start), text.size());
    const std::string list = text.substr(open, text.find(')', open) - open);
    Parameters parameters;
    for (std::size_t each = list.find(".param ."); each != std::string::npos; each = list.find(".param .", each + 1)) {
      append(parameters, static_cast<std::size_t>(std::stoi(list.substr(each + 9))) / 8);  // ".param .u64"
    }
    found.entries[text.substr(start, open - start)] = parameters;
  }
  return found;
}

Image read_text_form(const std::string& text) {
  Image found{text, 0, {}};
  for (std::size_t open = text.find('('); open != std::string::npos; open = text.find('(', open + 1)) {
    const std::size_t start = text.rfind(' ', open) + 1;
    Parameters parameters;
    for (const char letter : text.substr(open + 1, text.find(')', open) - open - 1)) {
      append(parameters, letter == 'i' ? 4 : 8);
    }
    found.entries[text.substr(start, open - start)] = parameters;
  }
  return found;
}

}  // namespace

std::optional<Image> read_image(const char* image) {
  std::optional<Image> found;
  if (std::memcmp(image,
                  "\x7f"
                  "ELF",
                  4) == 0) {
    found = read_cubin(image);
  } else if (const std::string text = image; text.starts_with("FAKECUBIN ")) {
    found = read_text_form(text);
  } else if (text.find(".version") != std::string::npos && text.find(".target") != std::string::npos) {
    found = read_ptx(text);
  }
  if (found) found->hash = fnv1a(found->bytes);
  return found;
}

}  // namespace fake
