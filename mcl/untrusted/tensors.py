"""Read tensors from received files. Nothing that the file holds is run."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from mcl.errors import UserError
from mcl.untrusted.limits import MAX_DEPTH, MAX_NETWORK, MAX_STATE_NODES
from mcl.untrusted.regular_files import open_file
from mcl.untrusted.text import shorten


def load_state(file: IO[bytes], name: str, allowed: Sequence[Any] = ()) -> Any:
    """Return tensors and plain values from a file of ``torch.save``, on the CPU.

    Args:
        file: its content.
        name: what messages call it.
        allowed: classes that it may hold besides tensors and plain values.

    Raises:
        UserError: It holds something else, is damaged, or would grow when it is read.
    """
    try:
        _refuse_compressed(file)
        with torch.serialization.safe_globals(list(allowed)):
            state = torch.load(file, map_location="cpu", weights_only=True)
        _check(state)
    except Exception as error:  # the zip reader and the unpickler raise many kinds
        raise UserError(
            f"{name} is refused: it is damaged, or holds something other than tensors and plain values, which could run"
            f" code when read ({type(error).__name__})."
        ) from error
    return state


def load_state_file(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """Return what `load_state` does, from a path; also raises OSError if the file cannot be opened."""
    with open_file(path, MAX_NETWORK) as file:
        return load_state(file, str(path), allowed)


def load_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a safetensors file.

    Raises:
        UserError: It cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        open_file(path, MAX_NETWORK).close()
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
            return dict(file.metadata() or {}), state
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {shorten(error)}") from error


def load_onnx(path: Path, options: Any) -> tuple[dict[str, str], Any]:
    """Return metadata and onnxruntime's session of an ONNX file.

    Refused are weights in other files, functions of the file's own and control flow, which could run forever.

    Raises:
        UserError: It cannot be read.
    """
    import onnx
    import onnxruntime

    try:
        with open_file(path, MAX_NETWORK) as file:
            content = file.read()
        model = onnx.load_model_from_string(content)
        _check_graph(model)
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except UserError:
        raise
    except Exception as error:  # protobuf and onnxruntime raise their own kinds
        raise UserError(f"{path} cannot be read as an ONNX model: {shorten(' '.join(str(error).split()))}") from error
    return {entry.key: entry.value for entry in model.metadata_props}, session


def _refuse_compressed(file: IO[bytes]) -> None:
    """Raise ValueError for a zip archive with compressed or repeated members, which ``torch.save`` does not write."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        names = {member.filename for member in members}
        if len(names) < len(members) or any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("compressed or repeated members")
    file.seek(0)


def _check(state: Any) -> None:
    """Raise ValueError for values that are nested too deeply, too many, or tensors larger than their storage."""
    nodes = [(state, 0)]
    count = 0
    while nodes:
        node, depth = nodes.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_STATE_NODES:
            raise ValueError("nested too deeply, or too many values")
        if isinstance(node, Mapping):
            nodes += [(child, depth + 1) for pair in node.items() for child in pair]
        elif isinstance(node, list | tuple | set | frozenset):
            nodes += [(child, depth + 1) for child in node]
        elif isinstance(node, Tensor):
            dense = node.layout is torch.strided and node.device.type == "cpu"
            if not dense or node.numel() * node.element_size() > node.untyped_storage().nbytes():
                raise ValueError("a tensor that is larger than its storage")


def _check_graph(model: Any) -> None:
    """Raise ValueError for parts of an ONNX model that `load_onnx` refuses."""
    from onnx import TensorProto
    from onnx.external_data_helper import uses_external_data

    if model.functions:
        raise ValueError("it holds functions of its own")
    tensors: list[TensorProto] = list(model.graph.initializer)
    if model.graph.sparse_initializer:
        raise ValueError("it holds sparse tensors")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise ValueError(f"it holds control flow ({shorten(node.op_type)})")
            tensors += [attribute.t, *attribute.tensors] if attribute.HasField("t") else list(attribute.tensors)
    if any(map(uses_external_data, tensors)):
        raise ValueError("its weights are in another file")
