"""Writes small ONNX models without the package `onnx`: messages of Protocol Buffers, by field number."""

import struct

FLOAT, INT32, INT64, STRING, BOOL, DOUBLE = 1, 6, 7, 8, 9, 11


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    """A whole number, or bytes, text or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name, dims, values, kind=FLOAT, external=None):
    form = {FLOAT: "f", DOUBLE: "d", INT64: "q", INT32: "i"}[kind]
    out = b"".join(field(1, dim) for dim in dims) + field(2, kind) + field(8, name)
    if external:
        pair = field(1, "location") + field(2, external)
        return out + field(13, pair) + field(14, 1)
    return out + field(9, struct.pack(f"<{len(values)}{form}", *values))


def value(name, kind, dims):
    """An input or output; a dimension is a number or a name."""
    shape = b"".join(field(1, field(1, dim) if isinstance(dim, int) else field(2, dim)) for dim in dims)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))


def maps(name, key):
    """A sequence of maps from `key` to float."""
    held = field(2, field(1, field(1, FLOAT)))
    return field(1, name) + field(2, field(4, field(1, field(5, field(1, key) + held))))


def attribute(name, given):
    if isinstance(given, int):
        return field(1, name) + field(3, given) + field(20, 2)
    if isinstance(given, bytes):
        return field(1, name) + field(6, given) + field(20, 5)
    kind, number = (8, 9) if isinstance(given[0], str) else (7, 8)
    return field(1, name) + b"".join(field(number, one) for one in given) + field(20, kind)


def node(operator, inputs, outputs, domain="", **attributes):
    out = b"".join(field(1, one) for one in inputs) + b"".join(field(2, one) for one in outputs)
    out += field(4, operator) + b"".join(field(5, attribute(*pair)) for pair in attributes.items())
    return out + (field(7, domain) if domain else b"")


def graph(nodes, inputs, outputs, tensors=()):
    parts = [(1, nodes), (5, tensors), (11, inputs), (12, outputs)]
    return b"".join(field(number, one) for number, some in parts for one in some) + field(2, "test")


def model(*arguments, domains=()):
    opsets = [("", 17), ("ai.onnx.ml", 3), *((domain, 1) for domain in domains)]
    return field(1, 8) + field(7, graph(*arguments)) + b"".join(field(8, field(1, name) + field(2, number)) for name, number in opsets)


def plane(rows="n", width=3):
    """`y = x · W + b` in float: rows by `width` in, rows by 2 out."""
    weights = [0.5 * k - 1 for k in range(2 * width)]
    return model([node("MatMul", ["x", "w"], ["xw"]), node("Add", ["xw", "b"], ["y"])],
                 [value("x", FLOAT, [rows, width])], [value("y", FLOAT, [rows, 2])],
                 [tensor("w", [width, 2], weights), tensor("b", [2], [10, -10])])
