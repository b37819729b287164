"""Files written all or nothing: tensors with facts as one safetensors file, and plain bytes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

__all__ = ["read", "write", "write_bytes"]


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    """SHA-256 of the facts and of every tensor's name, dtype, shape and bytes."""
    sha = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def write(path: str | Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write tensors and facts (as JSON in the header) to one safetensors file, all or nothing.

    The bytes go to a file beside `path`, reach the disk, and then take its name in one step: a
    process killed at any moment, or a full disk, leaves the old file whole.

    Raises
    ------
    OSError
        If the folder cannot be written or the disk is full.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    text = json.dumps(facts)
    metadata = {"vaekit": text, "sha256": _digest(tensors, text)}
    write_bytes(path, safetensors.torch.save(tensors, metadata))


def read(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors, on the CPU, and the facts that `write` put into `path`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, was tampered with, or was not written by `write`.
    """
    content = Path(path).read_bytes()
    try:
        tensors = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        whole = metadata["sha256"] == _digest(tensors, metadata["vaekit"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is truncated or no vaekit checkpoint ({error})") from error
    if not whole:
        raise ValueError(f"{path} was changed after it was written: its SHA-256 does not match")
    return tensors, json.loads(metadata["vaekit"])


def write_bytes(path: str | Path, content: bytes) -> None:
    """Put `content` at `path` in one step, or raise OSError and leave what was there.

    A process killed on the way leaves its unfinished file, `.name.PID.tmp`, beside it.
    """
    path = Path(path)
    # of this process alone: two may write one path, and the last one wins
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:  # the folder itself is not there
            pass
        raise OSError(f"could not write {path} ({error.strerror}): nothing was changed") from error
