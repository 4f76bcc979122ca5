"""endpoints.json: where a cluster is reached, and how to log in. Secrets by reference only."""

from __future__ import annotations

from pydantic import Field

from armillary.models.parts import Part


class Endpoint(Part):
    """One address that people or programs use."""

    name: str = Field(description="What it is, as `status` and `open` call it: `hub`.")
    url: str = Field(description="Where it is: `https://hub.local.armillary.internal/`.")
    login: str | None = Field(default=None, description="Who to log in as.")
    secret_ref: str | None = Field(
        default=None,
        description="Where the password is, never itself: `secrets.yml#jupyterhub.users.ada`.",
    )
    description: str = Field(default="", description="A line for people.")


class Endpoints(Part):
    """All addresses of a cluster. `model_dump_json` and `model_validate_json` are its file."""

    cluster: str
    endpoints: list[Endpoint] = Field(default_factory=list)

    def get(self, name: str) -> Endpoint | None:
        """Return the endpoint called `name`, if there is one."""
        return next((each for each in self.endpoints if each.name == name), None)
