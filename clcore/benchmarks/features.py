"""A frozen, pretrained backbone before the stream: every image goes through it once, and the stream is its feature vectors.

With features of a network trained on ImageNet, what is learned continually is a small head on top, and whole sweeps over Split
CIFAR-100 take seconds. The backbone is any classifier of torchvision without its last layer. Images are stretched to the size
that its weights expect, bilinearly and without the centre crop of ImageNet's protocol: these data sets have nothing to spare at
the edges. Pretraining has seen classes like those of the stream, so figures do not compare with those of networks that start
from nothing.

Features are computed once per data set, backbone and weights, and kept in the data directory, in float16: half the bytes, and
a relative error of 5·10⁻⁴ at the most.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clcore.benchmarks import downloads
from clcore.benchmarks.sources import Source, SourceFacts
from clcore.errors import DataError, RequestError

# A choice for forms: small and large, convolutions and transformers. Every other name of torchvision's classifiers works too.
SUGGESTED = (
    "none", "resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "regnet_y_400mf", "swin_t",
    "vit_b_16", "vit_b_32",
)  # fmt: skip
_VERSION = b"1"  # of how features are computed; a new one leaves old files alone
_TOGETHER = {"cpu": 64, "cuda": 256, "mps": 64}  # images in a forward pass


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision by name, and where its weights come from: "default", or a file.

    `size` is the side of the images it sees, in pixels; None: what the default weights expect.
    """

    name: str
    weights: str = "default"
    size: int | None = None

    def __post_init__(self) -> None:
        """Raises RequestError when torchvision has no such classifier."""
        from torchvision import models

        known = models.list_models(module=models)
        if self.name not in known:
            close = get_close_matches(self.name, known, n=3)
            raise RequestError(
                f"features = {self.name} is not allowed: torchvision has no such classifier; "
                + (f"did you mean {' or '.join(close)}? " if close else "")
                + "Choose none, or a name from its list of classification models, such as resnet18."
            )

    @cached_property
    def _published(self):
        """What torchvision publishes of the default weights: address, size of images, mean and deviation."""
        from torchvision import models

        return models.get_model_weights(self.name).DEFAULT

    @property
    def side(self) -> int:
        return self.size or self._published.transforms().crop_size[0]

    @cached_property
    def width(self) -> int:
        """Features of an image."""
        try:
            with torch.device("meta"):  # nothing is allocated or drawn
                return self._bare()[2]
        except NotImplementedError:  # some constructors compute with their weights
            return self._bare()[2]

    def _bare(self) -> tuple[nn.Module, str, int]:
        """The network without its last layer, that layer's name, and how many numbers enter it. Weights are arbitrary."""
        from torchvision import models

        unset = {"init_weights": False} if self.name in ("googlenet", "inception_v3") else {}
        with torch.random.fork_rng(devices=[]):  # its constructor draws from the global generator
            network = models.get_model(self.name, weights=None, **unset)
        layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
        if not layers:  # SqueezeNet classifies with a convolution
            network.classifier = nn.AdaptiveAvgPool2d(1)
            return network, "classifier", 512
        width = network.get_submodule(layers[-1]).in_features
        network.set_submodule(layers[-1], nn.Identity())
        return network, layers[-1], width

    def file(self, data_dir: Path, progress: Callable[[str, float | None], None]) -> Path:
        """The file of the weights, downloaded where it is missing. Raises DataError."""
        if self.weights != "default":
            file = Path(self.weights).expanduser()
            if not file.is_file():
                raise DataError(
                    f"weights = {self.weights} is not a file: give the path of a state dict of torchvision's {self.name} "
                    "(.pth), or default."
                )
            return file
        url = self._published.url
        name = url.rpartition("/")[2]
        usual = Path(torch.hub.get_dir()) / "checkpoints" / name
        target = usual if usual.is_file() else data_dir / "weights" / name
        digest = re.search(r"-([0-9a-f]{8,})\.pth$", name)
        with downloads.stored(f"The weights of {self.name}", target.parent):
            return downloads.obtained(
                f"{self.name}'s file of weights", target, f"sha256:{digest[1] if digest else ''}", [url], progress,
                otherwise=f"put {name} there, or give weights = FILE with a state dict of torchvision's {self.name}",
            )  # fmt: skip

    def network(self, file: Path) -> nn.Module:
        """The network with the weights in `file`, ready to compute features. Raises DataError."""
        network, head, _ = self._bare()
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            for wrapper in ("state_dict", "model"):
                state = state.get(wrapper, state) if isinstance(state, dict) else state
            kept = {k: v for k, v in state.items() if not k.startswith(f"{head}.")}  # another number of classes is no matter
            network.load_state_dict(kept)
        except (RuntimeError, pickle.UnpicklingError, AttributeError, TypeError, EOFError, LookupError, ValueError) as error:
            why = " ".join(str(error).split())[:160]
            raise DataError(f"{file} does not hold weights of torchvision's {self.name} ({why}); give another file.") from error
        return network.eval().requires_grad_(False)

    def seen(self, images: Tensor) -> Tensor:
        """Images (n, 1 or 3, h, w) in bytes as the network is shown them: (n, 3, side, side)."""
        x = images.float().div(255).expand(-1, 3, -1, -1)
        if x.shape[-2:] != (self.side, self.side):
            smaller = self.side < min(x.shape[-2:])
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", antialias=smaller)
        preset = self._published.transforms()
        mean, spread = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in (preset.mean, preset.std))
        return (x - mean) / spread


def facts_of(backbone: Backbone, images: SourceFacts) -> SourceFacts:
    """What is known of the features of a data set."""
    return replace(images, shape=(backbone.width,), bytes_per_number=2)


def featured(
    source: Source, backbone: Backbone, data_dir: Path, device: torch.device,
    progress: Callable[[str, float | None], None],
) -> Source:  # fmt: skip
    """The features of a data set in place of its images, which stay on the CPU as `pictures`. Raises DataError."""
    file = backbone.file(data_dir, progress)
    place = data_dir / "features" / f"{backbone.name}-{_digest(source.data, backbone, file)}.npy"
    found = _kept(place, (len(source.data), backbone.width))
    if found is None:
        found = _computed(source.data, backbone, backbone.network(file), device, progress)
        with downloads.stored(f"The features of {backbone.name}", place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            with downloads.taking_the_place_of(place) as target:
                np.save(target, found.numpy())
    return replace(source, data=found, scale=1.0, shift=0.0, parts=backbone.width, pictures=source.data)


@torch.inference_mode()
def _computed(
    images: Tensor, backbone: Backbone, network: nn.Module, device: torch.device,
    progress: Callable[[str, float | None], None],
) -> Tensor:  # fmt: skip
    """(N, width) in float16."""
    network = network.to(device)
    found = torch.empty(len(images), backbone.width, dtype=torch.float16)
    for start in range(0, len(images), _TOGETHER[device.type]):
        progress(f"Computing features of {backbone.name}: {start:,} of {len(images):,} images", start / len(images))
        part = slice(start, start + _TOGETHER[device.type])
        found[part] = network(backbone.seen(images[part].to(device))).flatten(1).to("cpu", torch.float16)
    if not bool(torch.isfinite(found).all()):
        raise DataError(f"{backbone.name} with weights = {backbone.weights} gives features that are not finite numbers.")
    return found.clone()  # outside of inference mode


def _kept(place: Path, shape: tuple[int, int]) -> Tensor | None:
    """The features in a file, if it is there and whole."""
    try:
        found = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(found) if found.shape == shape and found.dtype == np.float16 else None


def _digest(images: Tensor, backbone: Backbone, file: Path) -> str:
    """Tells the images, the backbone, its weights and the way of computing apart from all others."""
    digest = hashlib.sha256(_VERSION + f"/{backbone.name}/{backbone.side}/{tuple(images.shape)}/".encode())
    with open(file, "rb") as content:
        digest.update(hashlib.file_digest(content, "sha256").digest())
    digest.update(images.contiguous().numpy())
    return digest.hexdigest()[:20]
