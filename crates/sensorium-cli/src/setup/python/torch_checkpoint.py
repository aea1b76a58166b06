"""Reads the tensors of a PyTorch checkpoint without PyTorch.

The layout is the one that torch.save wrote before PyTorch 1.6 (torch/serialization.py,
_legacy_save): five pickles (magic number, protocol, system, tensors by name, storage keys),
followed by the storages' elements in the order of the keys.
"""

import pickle
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
STORAGE_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class TensorRef(NamedTuple):
    """A pickled tensor, the arguments of torch._utils._rebuild_tensor_v2: a view of a storage."""

    storage: tuple  # ("storage", type, key, device, element count, view)
    offset: int
    shape: tuple
    strides: tuple
    requires_grad: bool
    backward_hooks: OrderedDict


class CheckpointUnpickler(pickle.Unpickler):
    """Unpickles a checkpoint's tensor references and can call nothing else."""

    def find_class(self, module, name):
        """Return this module's stand-in for a name that the pickle refers to."""
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return TensorRef
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in a checkpoint")

    def persistent_load(self, pid):
        """Keep a storage's description as it is; see TensorRef.storage."""
        return pid


def load_checkpoint(path):
    """Return the arrays of a legacy torch.save file by name."""
    with open(path, "rb") as file:
        magic, protocol, _system, tensors, keys = (
            CheckpointUnpickler(file).load() for _ in range(5)
        )
        if (magic, protocol) != (LEGACY_MAGIC, LEGACY_PROTOCOL):
            raise ValueError(f"{path} is not a legacy torch.save file")
        dtypes = {ref.storage[2]: ref.storage[1] for ref in tensors.values()}
        storages = {key: read_storage(file, dtypes[key]) for key in keys}
    return {name: resolve(ref, storages) for name, ref in tensors.items()}


def read_storage(file, dtype):
    """Read one storage: its element count as int64, then the elements."""
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


def resolve(ref, storages):
    """Return the array that a TensorRef stands for; it may be a transposed view of its storage."""
    elements = storages[ref.storage[2]]
    steps = [(count - 1) * stride for count, stride in zip(ref.shape, ref.strides, strict=True)]
    if min(ref.offset, *steps, 0) < 0 or ref.offset + sum(steps) >= len(elements):
        raise ValueError(f"a tensor of shape {ref.shape} reaches outside its storage")
    strides = [stride * elements.itemsize for stride in ref.strides]
    return as_strided(elements[ref.offset :], ref.shape, strides, writeable=False)
