"""Answer Terraform's calls. Every failure becomes a diagnostic: none leaves as an exception."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterable
from typing import Any

from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

from armillary.incus_provider.api import DEFAULT_SOCKET, Incus, IncusError
from armillary.incus_provider.instance import Instance
from armillary.incus_provider.network import Network
from armillary.incus_provider.resource import MARK, Resource, ResourceError, Session
from armillary.incus_provider.schema import (
    STRING,
    UNKNOWN,
    Attribute,
    Schema,
    State,
    decode,
    encode,
    is_known,
)
from armillary.incus_provider.storage_volume import StorageVolume

RESOURCES: dict[str, Resource] = {
    "incus_instance": Instance(),
    "incus_network": Network(),
    "incus_storage_volume": StorageVolume(),
}

PROVIDER = Schema(
    {
        "cluster": Attribute(STRING, "Cluster whose mark everything made bears.", required=True),
        "address": Attribute(STRING, f"Socket of Incus, {DEFAULT_SOCKET} if left out."),
    }
)


def _error(summary: str, detail: str = "", attribute: str | None = None) -> pb.Diagnostic:
    path = None
    if attribute:
        path = pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=attribute)])
    return pb.Diagnostic(
        severity=pb.Diagnostic.ERROR, summary=summary, detail=detail, attribute=path
    )


def _diagnostic(error: Exception, doing: str) -> pb.Diagnostic:
    if isinstance(error, _Left):
        return error.diagnostic()
    if isinstance(error, ResourceError):
        return _error(error.summary, error.detail, error.attribute)
    if isinstance(error, IncusError):
        return _error(f"Incus could not {doing}", str(error))
    trace = "".join(traceback.format_exception(error))
    return _error(f"The provider failed to {doing}", f"This is a mistake in Armillary.\n{trace}")


def _diagnostics(errors: Iterable[ResourceError]) -> list[pb.Diagnostic]:
    return [_error(e.summary, e.detail, e.attribute) for e in errors]


class _Left(Exception):
    """An object was not deleted, for it bears no mark of ours any more. Only a warning."""

    def diagnostic(self) -> pb.Diagnostic:
        return pb.Diagnostic(
            severity=pb.Diagnostic.WARNING,
            summary=f"The {self} was left as it is",
            detail=f"It does not bear this cluster's {MARK}: somebody took it over.",
        )


class Service(rpc.ProviderServicer):  # type: ignore[misc]
    """Terraform's plugin protocol, version 6."""

    def __init__(self) -> None:
        self._session: Session | None = None
        # Terraform's stop may come before the provider is configured.
        self._stopping = threading.Event()

    def GetMetadata(self, request: Any, context: Any) -> Any:
        return pb.GetMetadata.Response(
            server_capabilities=self._capabilities(),
            resources=[pb.GetMetadata.ResourceMetadata(type_name=name) for name in RESOURCES],
        )

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return pb.GetProviderSchema.Response(
            provider=PROVIDER.to_pb(),
            resource_schemas={name: r.schema.to_pb() for name, r in RESOURCES.items()},
            server_capabilities=self._capabilities(),
        )

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        config = decode(request.config)
        errors = []
        if config["cluster"] == "":
            errors.append(_error("cluster must not be empty", "", "cluster"))
        return pb.ValidateProviderConfig.Response(diagnostics=errors)

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        config = decode(request.config)
        if not is_known(config):
            unknown = _error("cluster and address of the provider must be known when planning")
            return pb.ConfigureProvider.Response(diagnostics=[unknown])
        incus = Incus(config["address"] or DEFAULT_SOCKET)
        try:
            incus.get("/1.0")
        except IncusError as error:
            return pb.ConfigureProvider.Response(diagnostics=[_diagnostic(error, "be reached")])
        self._session = Session(incus, config["cluster"], self._stopping)
        return pb.ConfigureProvider.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:
        # Calls under way go on to their end, which is near; only waiting is cut short.
        self._stopping.set()
        return pb.StopProvider.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        errors = RESOURCES[request.type_name].validate(decode(request.config))
        return pb.ValidateResourceConfig.Response(diagnostics=_diagnostics(errors))

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        state = json.loads(request.raw_state.json)
        return pb.UpgradeResourceState.Response(upgraded_state=encode(state))

    def ReadResource(self, request: Any, context: Any) -> Any:
        resource, state = RESOURCES[request.type_name], decode(request.current_state)
        try:
            now = resource.read(self._configured(), state)
            return pb.ReadResource.Response(new_state=encode(now), private=request.private)
        except Exception as error:
            diagnostic = _diagnostic(error, f"read the {resource.label(state)}")
            return pb.ReadResource.Response(
                new_state=request.current_state, diagnostics=[diagnostic]
            )

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        resource = RESOURCES[request.type_name]
        prior, proposed = (
            decode(request.prior_state),
            decode(request.proposed_new_state),
        )
        try:
            planned, replaced = self._plan(resource, prior, proposed, decode(request.config))
        except Exception as error:
            diagnostic = _diagnostic(error, f"plan the {resource.label(prior or proposed)}")
            return pb.PlanResourceChange.Response(diagnostics=[diagnostic])
        return pb.PlanResourceChange.Response(
            planned_state=encode(planned),
            requires_replace=[
                pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=name)])
                for name in replaced
            ],
        )

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        resource = RESOURCES[request.type_name]
        prior, planned = decode(request.prior_state), decode(request.planned_state)
        new_state, error = self._apply(resource, prior, planned)
        diagnostics = []
        if error is not None:
            verb = "make" if prior is None else "delete" if planned is None else "change"
            diagnostics.append(_diagnostic(error, f"{verb} the {resource.label(planned or prior)}"))
        return pb.ApplyResourceChange.Response(new_state=encode(new_state), diagnostics=diagnostics)

    def ImportResourceState(self, request: Any, context: Any) -> Any:
        resource = RESOURCES[request.type_name]
        try:
            session = self._configured()
            state = resource.import_state(request.id)
            found = resource.find(session, state)
            if found is None:
                raise ResourceError(f"There is no {resource.label(state)}")
            resource.require_own(session, state, found)
        except Exception as error:
            diagnostic = _diagnostic(error, f"import {request.id}")
            return pb.ImportResourceState.Response(diagnostics=[diagnostic])
        imported = pb.ImportResourceState.ImportedResource(
            type_name=request.type_name, state=encode(state)
        )
        return pb.ImportResourceState.Response(imported_resources=[imported])

    @staticmethod
    def _capabilities() -> Any:
        return pb.ServerCapabilities(get_provider_schema_optional=True)

    def _configured(self) -> Session:
        if self._session is None:
            raise ResourceError("The provider is not configured")
        return self._session

    def _plan(
        self,
        resource: Resource,
        prior: State | None,
        proposed: State | None,
        config: State | None,
    ) -> tuple[State | None, list[str]]:
        """Return the planned state and the attributes that force a replacement."""
        if proposed is None or config is None:
            return None, []
        planned = dict(proposed)
        for name, attribute in resource.schema.attributes.items():
            if attribute.default is not None and config[name] is None:
                planned[name] = attribute.default
        computed = [name for name, a in resource.schema.attributes.items() if a.computed]
        if prior is None:
            planned.update(dict.fromkeys(computed, UNKNOWN))
            self._check_free(resource, planned)
            return planned, []
        replaced = resource.replacements(self._configured(), prior, planned)
        if replaced:
            planned.update(dict.fromkeys(computed, UNKNOWN))
        else:
            for error in resource.check_update(prior, planned):
                raise error
            planned.update(dict.fromkeys(resource.unsettled(prior, planned), UNKNOWN))
        return planned, replaced

    def _check_free(self, resource: Resource, planned: State) -> None:
        """Refuse, at plan time already, a name that another owner's object has."""
        if planned["name"] is UNKNOWN or planned.get("pool") is UNKNOWN:
            return
        found = resource.find(self._configured(), planned)
        if found is not None:
            resource.require_own(self._configured(), planned, found)

    def _apply(
        self, resource: Resource, prior: State | None, planned: State | None
    ) -> tuple[State | None, Exception | None]:
        """Return the state after a change, and what went wrong."""
        try:
            session = self._configured()
            if prior is not None and planned is not None:
                return resource.update(session, prior, planned), None
            if planned is not None:
                created = resource.create(session, planned)
                return created.state, created.error
            if prior is not None and not resource.delete(session, prior):
                return None, _Left(resource.label(prior))
            return None, None
        except Exception as error:
            return prior, error
