"""The plainest composition that does the same."""

from inlay.compose.average import Average
from inlay.compose.nodes import AbstractNode, Composition
from inlay.compose.parallel import Parallel
from inlay.compose.stack import Stack


def simplify(composition: Composition) -> Composition:
    """Return the plainest composition with the same outputs.

    A stack, average or parallel of one is that one; the base inside a stack changes nothing.

    Example:
        >>> simplify(Stack(Average("a", "a")))
        'a'
    """
    if not isinstance(composition, AbstractNode):
        return composition
    children = [simplify(child) for child in composition.children]
    if isinstance(composition, Stack):
        children = [child for child in children if child is not None]
        if not children:
            return None
    node = composition.with_children(children)
    alone = isinstance(node, Stack | Average | Parallel) and len(node.children) == 1
    return node.children[0] if alone else node
