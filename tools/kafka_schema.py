"""Reads the schema text of agent/kafka/schema/ into Api, Message, Struct and Field objects.

The text, by indentation:

    # a comment
    api 1 Fetch versions 0-18 flexible 12+ offered 4-18      the API's key, name, versions that can be read and
    request                                                  written, first flexible version (compact lengths and
        max_wait_ms    int32                                 tags), versions a server advertises
        session_epoch  int32 7+ ignorable = -1
        topics         [Topic]                               an array of a struct, whose fields follow
            name       string 0-12 ignorable
            partitions [int32]
        forgotten      [Topic] 7+                            the same struct again: by name only
    response
        ...
    message RequestHeader versions 0-2 flexible 2+           a message that belongs to no API

A field is: name, type, then in this order and all optional
    7+  0-12  3         the versions that have it (default: all; inside a struct the struct's own count too)
    tag N               a tagged field
    plain               a string whose length takes two bytes even in flexible versions
    ignorable           a value may be dropped silently when a version lacks the field
    = value             its default; otherwise 0, false, empty
Types: bool int8 int16 uint16 int32 int64 float64 uuid string bytes records record_slices, a struct's name (capital first
letter), any of them in [] for an array. A ? after the type: may be null; ?7+: may be null from version 7 on.
"""
import re

OPEN = 32767
SCALARS = ("bool", "int8", "int16", "uint16", "int32", "int64", "float64", "uuid", "string", "bytes", "records",
           "record_slices")
NUMBERS = ("bool", "int8", "int16", "uint16", "int32", "int64", "float64")
NEVER = (OPEN, OPEN)
FIELD = re.compile(r"(?P<name>[a-z][a-z0-9_]*)\s+(?P<type>\[?\w+\]?)(?P<null>\?(?P<nullable>[\d+-]*))?"
                   r"(?:\s+(?P<versions>\d+(?:\+|-\d+)?))?(?:\s+tag (?P<tag>\d+))?(?P<plain>\s+plain)?"
                   r"(?P<ignorable>\s+ignorable)?(?:\s+= (?P<default>\S+))?")
HEADING = re.compile(r"(?:api (?P<key>\d+)|message) (?P<name>\w+) versions (?P<versions>[\d-]+)"
                     r"(?: flexible (?P<flexible>\d+)\+)?(?: offered (?P<offered>[\d-]+))?")


class SchemaError(Exception):
    pass


class Field:
    def __init__(self, name, base, array):
        self.name, self.base, self.array = name, base, array
        self.struct = None
        self.versions = self.nullable = NEVER
        self.tag = -1
        self.plain = self.ignorable = False
        self.default = None

    @property
    def indirect(self):
        return self.struct is not None and not self.array and self.nullable != NEVER


class Struct:
    def __init__(self, name):
        self.name, self.fields = name, []

    def on_wire(self):
        """Untagged fields as they come, then tagged ones by rising tag."""
        return [f for f in self.fields if f.tag < 0] + sorted((f for f in self.fields if f.tag >= 0), key=lambda f: f.tag)


class Message:
    def __init__(self, name, versions, flexible):
        self.name, self.versions, self.flexible = name, versions, flexible
        self.root = Struct("")
        self.structs = []  # inner ones, innermost first


class Api:
    def __init__(self, key, name, offered):
        self.key, self.name, self.offered = key, name, offered
        self.request = self.response = None


def parse_versions(text):
    if text.endswith("+"):
        return int(text[:-1]), OPEN
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def within(versions, outer):
    return max(versions[0], outer[0]), min(versions[1], outer[1])


class Parser:
    """One file at a time; apis and messages pile up."""

    def __init__(self):
        self.apis, self.messages = [], []

    def fail(self, why):
        raise SchemaError(f"{self.path}:{self.line_number}: {why}")

    def read(self, path):
        self.path, self.api, self.message, self.stack = path, None, None, []
        with open(path, encoding="utf-8") as lines:
            for self.line_number, line in enumerate(lines, 1):
                line = line.split("#")[0].rstrip()
                if line.startswith(" "):
                    self.read_field(line)
                elif line in ("request", "response"):
                    self.begin_half(line)
                elif line:
                    self.begin_heading(line)

    def begin_heading(self, line):
        match = HEADING.fullmatch(line) or self.fail("not a heading: api KEY NAME versions A-B, or message NAME ...")
        self.heading = parse_versions(match["versions"]), int(match["flexible"] or OPEN)
        self.api = None
        if match["key"]:
            self.api = Api(int(match["key"]), match["name"], parse_versions(match["offered"] or match["versions"]))
            self.apis.append(self.api)
        else:
            self.begin_message(match["name"])

    def begin_half(self, half):
        if not self.api or getattr(self.api, half):
            self.fail(f"a {half} without an api, or its second one")
        self.begin_message(self.api.name + half.capitalize())
        setattr(self.api, half, self.message)

    def begin_message(self, name):
        self.message = Message(name, *self.heading)
        self.messages.append(self.message)
        self.stack = [(0, self.message.root)]

    def read_field(self, line):
        indent = len(line) - len(line.lstrip())
        match = FIELD.fullmatch(line.strip()) or self.fail("not a field: name type [versions] [tag N] [ignorable] [= default]")
        while self.stack and self.stack[-1][0] >= indent:
            self.stack.pop()
        if not self.stack:
            self.fail("a field outside of a message")
        struct = self.stack[-1][1]
        if struct is None:
            self.fail("fields below something that is not a new struct")
        field = self.make_field(match)
        if any(other.name == field.name for other in struct.fields):
            self.fail(f"a second field {field.name}")
        struct.fields.append(field)
        fresh = field.struct if field.struct in self.message.structs and not field.struct.fields else None
        self.stack.append((indent, fresh))

    def make_field(self, match):
        outer = self.message.versions
        array = match["type"].startswith("[")
        base = match["type"].strip("[]")
        field = Field(match["name"], base, array)
        field.versions = within(parse_versions(match["versions"]), outer) if match["versions"] else outer
        if match["null"]:
            field.nullable = within(parse_versions(match["nullable"]), outer) if match["nullable"] else field.versions
        field.tag = int(match["tag"] or -1)
        field.plain, field.ignorable, field.default = bool(match["plain"]), bool(match["ignorable"]), match["default"]
        if base[0].isupper():
            field.struct = self.struct_named(base)
        elif base not in SCALARS:
            self.fail(f"there is no type {base}")
        self.check_field(field)
        return field

    def check_field(self, field):
        nullable = field.nullable != NEVER
        if field.default == "null" and not nullable:
            self.fail("the default is null, which the type does not allow")
        if field.default not in (None, "null") and (field.array or field.base not in NUMBERS):
            self.fail("only numbers and bool have defaults other than null")
        if field.indirect and (field.nullable != field.versions or field.default != "null"):
            self.fail("a nullable struct is so in all its versions, and null by default")
        if nullable and not field.array and not field.struct and field.base in NUMBERS + ("uuid",):
            self.fail("numbers and uuids are never null")
        if field.tag >= 0 and field.versions[0] < self.message.flexible:
            self.fail("tagged before the first flexible version")

    def struct_named(self, name):
        for struct in self.message.structs:
            if struct.name == name:
                return struct
        struct = Struct(name)
        self.message.structs.append(struct)
        return struct


def read_schema(paths):
    """All APIs by rising key, and all messages, of these files."""
    parser = Parser()
    for path in paths:
        parser.read(path)
    for message in parser.messages:
        message.structs.reverse()
        for struct in message.structs + [message.root]:
            if not struct.fields and struct is not message.root:
                raise SchemaError(f"{message.name}: struct {struct.name} has no fields")
    for api in parser.apis:
        if not api.request or not api.response:
            raise SchemaError(f"{api.name}: request or response is missing")
    return sorted(parser.apis, key=lambda api: api.key), parser.messages
