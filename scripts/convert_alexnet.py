"""Write the weights of AlexNet's convolutions, which torchvision publishes as a pickle, as safetensors for side-tuning.

curl -O https://download.pytorch.org/models/alexnet-owt-7be5be79.pth
python scripts/convert_alexnet.py alexnet-owt-7be5be79.pth alexnet.safetensors
vlprompt few-shot ... --learners side --set side.weights=alexnet.safetensors

The file is opened with `weights_only=True`, which executes no code of the pickle.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file


def convert(source: Path, target: Path) -> int:
    """Copy the `features.*` tensors of torchvision's file, and return how many there are."""
    tensors = torch.load(source, map_location="cpu", weights_only=True)
    kept = {name: tensor.contiguous() for name, tensor in tensors.items() if name.startswith("features.")}
    save_file(kept, str(target))
    return len(kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="torchvision's alexnet-owt-7be5be79.pth")
    parser.add_argument("target", type=Path, help="the safetensors file to write")
    paths = parser.parse_args()
    print(f"{convert(paths.source, paths.target)} tensors written to {paths.target}")
