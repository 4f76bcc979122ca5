"""A Terraform provider that has nothing but a schema: `python facts_provider.py FACTS OBJECTS`.

It takes resources, their attributes, defaults and what forces a replacement from a file of facts
about a real provider, and keeps the objects it makes as files, `OBJECTS/<type>/<id>.json`. So roots
written for the real one can be validated, planned, applied, changed behind Terraform's back and
destroyed with no cloud and no registry. What it cannot know is what the real provider's code checks
(that an IP version is 4 or 6, say) and what a cloud refuses.
"""

from __future__ import annotations

import json
import signal
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before slow imports, as armillary.incus_provider does it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

from armillary.incus_provider.plugin import serve
from armillary.incus_provider.schema import UNKNOWN, decode, encode

Facts = Mapping[str, Any]
Values = dict[str, Any]

NESTING = {"list": "LIST", "set": "SET", "single": "SINGLE"}
EMPTY: dict[str, Any] = {"string": "", "number": 0, "bool": False, "map": {}}
NOT_FOUND = "Your query returned no results. Please change your search criteria and try again"


class Objects:
    """What there is in the cloud that is not there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self, kind: str) -> list[Values]:
        """Return all objects of a type."""
        return [json.loads(path.read_text()) for path in sorted(self._of(kind).glob("*.json"))]

    def get(self, kind: str, name: str) -> Values | None:
        """Return an object by its id."""
        try:
            found: Values = json.loads((self._of(kind) / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        return found

    def put(self, kind: str, values: Values) -> None:
        """Make an object, or change it; `values["id"]` is its id."""
        path = self._of(kind) / f"{values['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, sort_keys=True))

    def remove(self, kind: str, name: str) -> None:
        """Delete an object, if it is there."""
        (self._of(kind) / f"{name}.json").unlink(missing_ok=True)

    def _of(self, kind: str) -> Path:
        return self._directory / kind


def _block_to_pb(block: Facts) -> pb.Schema.Block:
    return pb.Schema.Block(
        attributes=[
            pb.Schema.Attribute(
                name=name,
                type=json.dumps(attribute["type"]).encode(),
                **{
                    flag: attribute.get(flag, False)
                    for flag in ("required", "optional", "computed", "sensitive")
                },
            )
            for name, attribute in block.get("attributes", {}).items()
        ],
        block_types=[
            pb.Schema.NestedBlock(
                type_name=name,
                nesting=getattr(pb.Schema.NestedBlock, NESTING[nested["nesting_mode"]]),
                block=_block_to_pb(nested["block"]),
                min_items=nested.get("min_items", 0),
                max_items=nested.get("max_items", 0),
            )
            for name, nested in block.get("block_types", {}).items()
        ],
    )


def _schema_to_pb(facts: Facts) -> pb.Schema:
    return pb.Schema(version=facts.get("schema_version", 0), block=_block_to_pb(facts))


def _parts(nested: Facts, value: Any) -> list[Values]:
    """Return the blocks of one kind that a value has."""
    if value is None or value is UNKNOWN:
        return []
    return [value] if nested["nesting_mode"] == "single" else value


def _fill(
    block: Facts, defaults: Facts, values: Values, prior: Values | None, prefix: str = ""
) -> None:
    """Set defaults, and what only the cloud can say: as it was, or unknown where there is no prior."""
    for name, attribute in block.get("attributes", {}).items():
        if values[name] is None and f"{prefix}{name}" in defaults:
            values[name] = defaults[f"{prefix}{name}"]
        elif values[name] is None and prior is None and attribute.get("computed"):
            values[name] = UNKNOWN
    for name, nested in block.get("block_types", {}).items():
        there = _parts(nested, prior[name]) if prior else []
        for part in _parts(nested, values[name]):
            _fill(nested["block"], defaults, part, part, f"{prefix}{name}.")
            same = next((each for each in there if _agrees(part, each)), None)
            if same is None:
                _fill(nested["block"], defaults, part, None, f"{prefix}{name}.")
            else:
                part.update(same)


def _agrees(part: Values, other: Values) -> bool:
    return all(value is None or value == other[name] for name, value in part.items())


def _resolve(block: Facts, values: Values) -> None:
    """Put something in the place of what is unknown."""
    for name, attribute in block.get("attributes", {}).items():
        if values[name] is UNKNOWN:
            values[name] = _made_up(name, attribute["type"])
    for name, nested in block.get("block_types", {}).items():
        for part in _parts(nested, values[name]):
            _resolve(nested["block"], part)


def _made_up(name: str, kind: Any) -> Any:
    if name == "address":
        return f"198.51.100.{uuid.uuid4().int % 254 + 1}"
    if name == "mtu":
        return 1450
    if name in ("id", "vip_port_id", "access", "secret"):
        return str(uuid.uuid4())
    return EMPTY.get(kind if isinstance(kind, str) else kind[0], [])


def _along(value: Any, steps: list[str]) -> Iterator[Any]:
    """Yield what a path such as `network.port` leads to, in every block."""
    if isinstance(value, list):
        for each in value:
            yield from _along(each, steps)
    elif not steps:
        yield value
    elif isinstance(value, dict):
        yield from _along(value[steps[0]], steps[1:])


def _differs(path: str, prior: Values, planned: Values) -> bool:
    steps = path.split(".")
    name = steps[0]
    if len(steps) == 1 and not isinstance(planned[name], list):
        return bool(prior[name] != planned[name])
    before, after = (
        sorted(json.dumps(each, sort_keys=True, default=str) for each in _along(side, steps))
        for side in (prior, planned)
    )
    return before != after


def _error(summary: str, detail: str = "") -> pb.Diagnostic:
    return pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=summary, detail=detail)


class Service(rpc.ProviderServicer):  # type: ignore[misc]
    """Terraform's plugin protocol, version 6, by facts."""

    def __init__(self, facts: Facts, objects: Objects) -> None:
        self._facts, self._objects = facts, objects

    def GetMetadata(self, request: Any, context: Any) -> Any:
        return pb.GetMetadata.Response(
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
            resources=[
                pb.GetMetadata.ResourceMetadata(type_name=name) for name in self._facts["resources"]
            ],
            data_sources=[
                pb.GetMetadata.DataSourceMetadata(type_name=name)
                for name in self._facts["data_sources"]
            ],
        )

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return pb.GetProviderSchema.Response(
            provider=_schema_to_pb(self._facts["provider_config"]),
            resource_schemas={
                name: _schema_to_pb(facts) for name, facts in self._facts["resources"].items()
            },
            data_source_schemas={
                name: _schema_to_pb(facts) for name, facts in self._facts["data_sources"].items()
            },
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateProviderConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        return pb.ConfigureProvider.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:
        return pb.StopProvider.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateDataResourceConfig.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        state = json.loads(request.raw_state.json)
        return pb.UpgradeResourceState.Response(upgraded_state=encode(state))

    def ReadResource(self, request: Any, context: Any) -> Any:
        state = decode(request.current_state)
        found = self._objects.get(request.type_name, state["id"])
        return pb.ReadResource.Response(new_state=encode(found), private=request.private)

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        wanted = decode(request.config)
        found = [
            each
            for each in self._objects.all(request.type_name.replace("_ids_", "_"))
            if all(
                value is None or name not in each or each[name] == value
                for name, value in wanted.items()
            )
        ]
        if "_ids_" in request.type_name:
            known = {"id": "all", "ids": [each["id"] for each in found]}
        elif found:
            known = found[0]
        else:
            return pb.ReadDataSource.Response(
                diagnostics=[_error(NOT_FOUND, f"{request.type_name} {wanted.get('name')}")]
            )
        state = {
            name: known.get(name) if value is None else value for name, value in wanted.items()
        }
        return pb.ReadDataSource.Response(state=encode(state))

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        facts = self._facts["resources"][request.type_name]
        prior, planned = decode(request.prior_state), decode(request.proposed_new_state)
        if planned is None:
            return pb.PlanResourceChange.Response(planned_state=request.proposed_new_state)
        _fill(facts, facts.get("defaults", {}), planned, prior)
        replaced: list[str] = []
        if prior is not None:
            changed = (
                path.split(".")[0]
                for path in facts.get("force_new", [])
                if path.split(".")[0] in planned and _differs(path, prior, planned)
            )
            replaced = sorted(set(changed))
        if replaced:
            # The new object is another: nothing the cloud said of the old one holds for it.
            config = decode(request.config)
            for name, attribute in facts["attributes"].items():
                if attribute.get("computed") and config[name] is None:
                    planned[name] = UNKNOWN
        return pb.PlanResourceChange.Response(
            planned_state=encode(planned),
            requires_replace=[
                pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=name)])
                for name in replaced
            ],
            # As the real provider's SDK does it: defaults may stand where the root says nothing.
            legacy_type_system=True,
        )

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        kind = request.type_name
        prior, planned = decode(request.prior_state), decode(request.planned_state)
        if planned is None:
            self._objects.remove(kind, prior["id"])
            return pb.ApplyResourceChange.Response(new_state=request.planned_state)
        _resolve(self._facts["resources"][kind], planned)
        self._objects.put(kind, planned)
        return pb.ApplyResourceChange.Response(new_state=encode(planned), legacy_type_system=True)


if __name__ == "__main__":
    serve(Service(json.loads(Path(sys.argv[1]).read_text()), Objects(Path(sys.argv[2]))))
