"""Statements as trees that know how to become smaller."""

import dataclasses

from .tables import Table


class Node:
    """Text, tables and nodes in a row. `simpler` are nodes that may stand in its place and still make a statement."""

    def __init__(self, *parts, simpler=()):
        self.parts = parts
        self.simpler = tuple(simpler)

    def text(self, name_of):
        return "".join(
            part if isinstance(part, str) else name_of(part) if isinstance(part, Table) else part.text(name_of) for part in self.parts)

    def smaller(self):
        """Yields this tree with one of its nodes made simpler, the greatest steps first."""
        yield from self.simpler
        for index, part in enumerate(self.parts):
            if isinstance(part, Node):
                for other in part.smaller():
                    yield Node(*self.parts[:index], other, *self.parts[index + 1:], simpler=self.simpler)


NOTHING = Node("")


def optional(*parts):
    """A clause that the statement also makes sense without."""
    return Node(*parts, simpler=[NOTHING])


def listed(nodes, by=", "):
    """A list of which each entry may go, but not the last."""
    nodes = [node if isinstance(node, Node) else Node(node) for node in nodes]
    parts = [part for node in nodes for part in (by, node)][1:]
    fewer = [listed(nodes[:i] + nodes[i + 1:], by) for i in range(len(nodes))] if 1 < len(nodes) <= 4 else []
    return Node(*parts, simpler=fewer)


@dataclasses.dataclass
class Query:
    node: Node
    # The rows come in the order of so many first columns.
    n_keys: int = 0
    timezone: str = "UTC"
    form: str = ""

    def sql(self, name_of):
        return self.node.text(name_of)


@dataclasses.dataclass(frozen=True)
class Ref:
    """A column under the name by which a statement can call it."""

    alias: str
    column: object

    @property
    def kind(self):
        return self.column.kind

    @property
    def sql(self):
        return f"{self.alias}.{self.column.quoted}"
