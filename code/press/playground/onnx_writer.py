"""A pen for ONNX graphs: operations by name, constants, and weights in a file beside them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

OPSET, IR = 18, 10  # what every runtime of the last years reads; LayerNormalization needs 17
ALIGNED = 64  # bytes: where a processor likes to begin


@dataclass
class Weights:
    """Matrices as they are stored, end to end in one file that several graphs refer to.

    ``arrays`` are float32, float16 or int8 by name; ``scales`` holds, for each int8 matrix, what
    a row is to be multiplied by.
    """

    arrays: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]
    file: str
    places: dict[bytes, int] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)

    def place(self, name: str, array: np.ndarray) -> TensorProto:
        """Return a tensor whose numbers stand in the file; equal ones stand there once."""
        raw = np.ascontiguousarray(array).tobytes()
        digest = hashlib.sha256(raw).digest()
        if digest not in self.places:
            self.data += bytes(-len(self.data) % ALIGNED)
            self.places[digest] = len(self.data)
            self.data += raw
        tensor = TensorProto(name=name, dims=array.shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        where = {"location": self.file, "offset": self.places[digest], "length": len(raw)}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor


@dataclass
class Graph:
    """A graph in the making: every method returns the name of what it has added."""

    weights: Weights
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        """Add an operation with one result, which is called ``into`` if that is given."""
        name = into or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: float | Sequence[int]) -> str:
        """Add a float32 number, a whole number (int64), or a list of those: a shape or axes."""
        name = f"constant {value!r}"
        array = np.asarray(value, np.float32 if isinstance(value, float) else np.int64)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.tensors[name] = helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)
        return name

    def parameter(self, name: str) -> str:
        """Add a weight as float32, whatever it is stored as: exactly the number in PyTorch.

        The runtime computes this once, when it loads the graph.
        """
        if name not in self.known:
            array, result = self.weights.arrays[name], name
            self.tensors[name] = self.weights.place(name, array)
            if array.dtype != np.float32:
                result = self.op("Cast", name, to=TensorProto.FLOAT)
            if name in self.weights.scales:
                column = self.weights.scales[name].reshape(-1, 1)  # one for each row
                self.tensors[f"{name} scale"] = self.weights.place(f"{name} scale", column)
                result = self.op("Mul", result, f"{name} scale")
            self.known[name] = result
        return self.known[name]

    def axis(self, x: str, number: int) -> str:
        """Add the length of an axis of ``x``."""
        return self.op("Gather", self.op("Shape", x), self.constant(number))

    def finish(self, name: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> ModelProto:
        """Return the whole; ``inputs`` and ``outputs`` are (type, shape) by name."""
        results = [helper.make_tensor_value_info(n, *what) for n, what in outputs.items()]
        arguments = [helper.make_tensor_value_info(n, *what) for n, what in inputs.items()]
        tensors = list(self.tensors.values())
        graph = helper.make_graph(self.nodes, name, arguments, results, tensors)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR, producer_name="press")
