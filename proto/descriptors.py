#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a FileDescriptorSet into a C file for reflection: descriptors.py SET OUT.c NAME

Reads the wire format by itself, so that a build needs no protobuf runtime for Python. Field numbers
are those of google/protobuf/descriptor.proto.
"""
import sys


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data):
    """Yields (number, value) of a serialised message; value is bytes or an integer."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        elif tag & 7 in (1, 5):
            size = 8 if tag & 7 == 1 else 4
            value, at = data[at:at + size], at + size
        else:
            raise ValueError(f"wire type {tag & 7}")
        yield tag >> 3, value


def all_of(data, number):
    return [value for n, value in fields(data) if n == number]


def text(data, number):
    return "".join(v.decode() for v in all_of(data, number)[-1:])


def dotted(scope, name):
    return f"{scope}.{name}" if scope else name


def named(items, scope):
    return [dotted(scope, text(item, 1)) for item in items]


def enum_symbols(enum, scope):
    # Values stand beside their enum, not in it.
    return [dotted(scope, text(enum, 1))] + named(all_of(enum, 2), scope)


def message_symbols(message, scope):
    name = dotted(scope, text(message, 1))
    found = [name] + named(all_of(message, 2), name) + named(all_of(message, 8), name)
    for nested in all_of(message, 3):
        found += message_symbols(nested, name)
    for enum in all_of(message, 4):
        found += enum_symbols(enum, name)
    return found


def file_symbols(file):
    package = text(file, 2)
    found = []
    for message in all_of(file, 4):
        found += message_symbols(message, package)
    for enum in all_of(file, 5):
        found += enum_symbols(enum, package)
    for service in all_of(file, 6):
        name = dotted(package, text(service, 1))
        found += [name] + named(all_of(service, 2), name)
    return found


def closure(name, imports, seen):
    if name not in seen:
        seen.append(name)
        for imported in imports[name]:
            closure(imported, imports, seen)
    return seen


def c_bytes(data):
    rows = [data[i:i + 20] for i in range(0, len(data), 20)]
    return "\n".join("    " + " ".join(f"{b}," for b in row) for row in rows)


def main(set_path, out_path, c_name):
    with open(set_path, "rb") as f:
        files = all_of(f.read(), 1)
    names = [text(file, 1) for file in files]
    imports = {n: [i.decode() for i in all_of(f, 3)] for n, f in zip(names, files)}
    symbols = sorted((s.encode(), i) for i, f in enumerate(files) for s in file_symbols(f))

    out = ["/* Made by proto/descriptors.py. */", '#include "daemon/front/descriptors.h"', ""]
    for i, file in enumerate(files):
        needed = ", ".join(str(names.index(n)) for n in closure(names[i], imports, []))
        out += [f"static const uint8_t data_{i}[] = {{", c_bytes(file), "};",
                f"static const uint16_t needed_{i}[] = {{{needed}}};"]
    out.append("static const struct mm_descriptor_file files[] = {")
    out += [f'    {{"{n}", data_{i}, sizeof(data_{i}), needed_{i}, '
            f"sizeof(needed_{i}) / sizeof(needed_{i}[0])}}," for i, n in enumerate(names)]
    out += ["};", "static const struct mm_descriptor_symbol symbols[] = {"]
    out += [f'    {{"{name.decode()}", {i}}},' for name, i in symbols]
    out += ["};", f"const struct mm_descriptors {c_name} = {{",
            "    files, sizeof(files) / sizeof(files[0]),",
            "    symbols, sizeof(symbols) / sizeof(symbols[0]),", "};", ""]
    with open(out_path, "w") as f:
        f.write("\n".join(out))


main(*sys.argv[1:])
