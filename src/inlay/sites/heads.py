"""Find the head of a Hugging Face task class: the modules that a pretrained base does not have."""

from torch import nn


def own_heads(model: nn.Module) -> tuple[str, ...]:
    """Name the children that hold a task's own weights: `classifier`, `score`, `qa_outputs`.

    They are the children with parameters beside the bare base. A language model's output
    embeddings are pretrained and belong to the base.

    Args:
        model: Any model; one without a bare base inside has no head.

    Returns:
        Paths of direct children, in order.
    """
    base = getattr(model, "base_model", None)
    if base is None or base is model:
        return ()
    embeddings = getattr(model, "get_output_embeddings", lambda: None)()
    pretrained = {id(p) for p in base.parameters()}
    if embeddings is not None:
        pretrained |= {id(p) for p in embeddings.parameters()}
    names = []
    for name, child in model.named_children():
        if child is base or any(module is base for module in child.modules()):
            continue
        parameters = [id(parameter) for parameter in child.parameters()]
        if parameters and not any(parameter in pretrained for parameter in parameters):
            names.append(name)
    return tuple(names)
