"""Safetensors files in forty lines, so that tests need numpy only: {name: array} read and written.

file = header length u64-LE | JSON header | the tensors' bytes, as common/checkpoint/safetensors.h says.
"""
import json
import struct

import numpy as np

DTYPES = {"F32": np.float32, "F64": np.float64, "U64": np.uint64, "I64": np.int64}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        arrays[name] = np.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
    return arrays


def write(path, arrays):
    header, chunks, offset = {}, [], 0
    for name, array in sorted(arrays.items()):
        chunk = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, offset + len(chunk)]}
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))
