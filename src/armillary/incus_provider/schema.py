"""What a resource looks like to Terraform, and how its values travel."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgpack
from tf.gen import tfplugin_pb2 as pb

STRING: Any = "string"
BOOL: Any = "bool"
STRINGS: Any = ["list", "string"]
MAP: Any = ["map", "string"]

State = dict[str, Any]


class _Unknown:
    """A value that is known only after apply."""

    def __repr__(self) -> str:
        return "(known after apply)"


UNKNOWN = _Unknown()


@dataclass(frozen=True)
class Attribute:
    """An attribute. `type` is a cty type as in Terraform's JSON (`"string"`, `["map", "string"]`).

    `default` makes an optional attribute that is left out take that value. `replaces`: a change
    makes Terraform replace the resource. `computed`: only the provider sets it.
    """

    type: Any
    description: str
    required: bool = False
    computed: bool = False
    default: Any = None
    replaces: bool = False

    def to_pb(self, name: str) -> pb.Schema.Attribute:
        """Return the attribute as the protocol has it."""
        optional = not self.required and not self.computed
        return pb.Schema.Attribute(
            name=name,
            type=json.dumps(self.type).encode(),
            description=self.description,
            required=self.required,
            optional=optional,
            computed=self.computed or (optional and self.default is not None),
        )


@dataclass(frozen=True)
class Schema:
    """Attributes, and blocks that may be repeated in any order (sets)."""

    attributes: dict[str, Attribute]
    blocks: dict[str, dict[str, Attribute]] = field(default_factory=dict)

    def to_pb(self) -> pb.Schema:
        """Return the schema as the protocol has it."""
        return pb.Schema(
            version=0,
            block=pb.Schema.Block(
                attributes=[a.to_pb(name) for name, a in self.attributes.items()],
                block_types=[
                    pb.Schema.NestedBlock(
                        type_name=name,
                        nesting=pb.Schema.NestedBlock.SET,
                        block=pb.Schema.Block(
                            attributes=[a.to_pb(key) for key, a in attributes.items()]
                        ),
                    )
                    for name, attributes in self.blocks.items()
                ],
            ),
        )

    def empty(self) -> State:
        """Return a state with every attribute null and no blocks."""
        return {**dict.fromkeys(self.attributes), **{name: [] for name in self.blocks}}


def decode(value: pb.DynamicValue) -> Any:
    """Return a value from Terraform as plain Python, with `UNKNOWN` where it is not known yet."""
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, ext_hook=lambda code, data: UNKNOWN)
    return json.loads(value.json) if value.json else None


def encode(value: Any) -> pb.DynamicValue:
    """Return a plain Python value as Terraform takes it."""
    return pb.DynamicValue(msgpack=msgpack.packb(value, default=_encode_unknown))


def _encode_unknown(value: object) -> msgpack.ExtType:
    if value is UNKNOWN:
        return msgpack.ExtType(0, b"\0")
    raise TypeError(f"{type(value).__name__} cannot be sent to Terraform")


def is_known(value: Any) -> bool:
    """Tell whether a value holds no unknown part."""
    if isinstance(value, dict):
        return all(map(is_known, value.values()))
    if isinstance(value, list):
        return all(map(is_known, value))
    return value is not UNKNOWN
