"""Networks whose every tensor carries the replica axis K first. One file a network; `SUPPORT` names the shared modules."""

SUPPORT = ("base", "layers", "fully_connected", "stacking", "convolution", "norms", "pictures", "stacked", "classifier")
