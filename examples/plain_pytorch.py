"""Adapters in a Transformer that is no Hugging Face model: one example input is enough."""

import torch
from torch import nn

import inlay


def main() -> None:
    """Teach a frozen random encoder to tell rising from falling sequences."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, num_layers=3, enable_nested_tensor=False)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)

    inlay.attach(model, example=(torch.randn(2, 9, 32),))
    for site in model.adapters.sites:
        print(f"{site.name:14} {site.module}")

    head = nn.Linear(32, 2)
    model.adapters.add(
        "trend", inlay.Bottleneck(reduction=2), at="attention, ffn", layers="upper", head=head
    )
    model.adapters.train("trend")
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=5e-3)
    direction = torch.randn(32)
    for step in range(60):
        labels = torch.randint(0, 2, (64,))
        ramp = torch.linspace(-1, 1, 9) * (labels * 2.0 - 1).unsqueeze(1)
        rows = ramp.unsqueeze(-1) * direction + 0.5 * torch.randn(64, 9, 32)
        logits = head(model(rows)[:, -1])
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step:2}  loss {loss.item():.3f}")
    accuracy = (logits.argmax(-1) == labels).float().mean().item()
    print(f"accuracy {accuracy:.2f}")


if __name__ == "__main__":
    main()
