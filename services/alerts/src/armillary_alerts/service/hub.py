"""Who asks: told by JupyterHub, which knows its users and their tokens.

The work is `jupyterhub.services.auth`'s. A token counts only with the scope `access:services!service=<this service>`: without that
check, a token made for anything else at the hub, such as another service's, would open this one too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from jupyterhub.services.auth import HubOAuth
from jupyterhub.utils import url_path_join
from tornado.web import HTTPError

#: A token or a right that was taken away works so much longer, in seconds.
REMEMBERED = 30


class HubAway(RuntimeError):
    """The hub does not answer."""


@dataclass(frozen=True)
class User:
    """Somebody who signed in at the hub."""

    name: str
    admin: bool


class Hub:
    """The hub, seen from one of its services."""

    def __init__(
        self,
        *,
        api_url: str,
        api_token: str,
        service: str = "alerts",
        prefix: str,
        hub_prefix: str = "/hub/",
    ) -> None:
        """Describe where the hub is and what this service is to it.

        Args:
            api_url: of the hub's API, such as http://hub.jupyterhub.svc:8081/hub/api.
            api_token: this service's own, which is also its OAuth secret.
            service: the service's name at the hub.
            prefix: the path that browsers find it at, such as /services/alerts/.
            hub_prefix: the path that browsers find the hub at.
        """
        self.prefix = prefix
        self.scope = f"access:services!service={service}"
        self._auth = HubOAuth(
            api_url=api_url,
            api_token=api_token,
            base_url=prefix,
            hub_prefix=hub_prefix,
            oauth_client_id=f"service-{service}",
            oauth_redirect_uri=url_path_join(prefix, "oauth_callback"),
            access_scopes={self.scope},
            cache_max_age=REMEMBERED,
        )

    async def user(self, token: str) -> User | None:
        """Return whose token this is; None where the hub knows none or it does not open this service.

        Raises:
            HubAway: the hub does not answer, or says something else.
        """
        found = await self._ask(self._auth.user_for_token(token, sync=False))
        if (
            found is None
            or found.get("kind") != "user"
            or not self._auth.check_scopes(self._auth.access_scopes, found)
        ):
            return None
        return User(name=found["name"], admin=await self._is_admin(found["name"]))

    def sign_in_url(self, state: str) -> str:
        """Return where a browser signs in; `state` comes back with it."""
        query = {
            "client_id": self._auth.oauth_client_id,
            "redirect_uri": self._auth.oauth_redirect_uri,
            "response_type": "code",
            "state": state,
        }
        return f"{self._auth.oauth_authorization_url}?{urlencode(query)}"

    async def token(self, code: str) -> str:
        """Return the token that a browser's code stands for.

        Raises:
            HubAway: the hub does not take the code.
        """
        return str(await self._ask(self._auth.token_for_code(code, sync=False)))

    async def _is_admin(self, name: str) -> bool:
        """Ask with this service's own token: a user's need not tell. Needs the scope `read:roles:users`."""
        asked = self._auth._check_hub_authorization(
            url=url_path_join(self._auth.api_url, "users", quote(name, safe="")),
            api_token=self._auth.api_token,
            cache_key=f"admin:{name}",
        )
        return bool((await self._ask(asked) or {}).get("admin"))

    async def _ask(self, question: Any) -> Any:
        try:
            return await question
        except HTTPError as error:
            raise HubAway(
                f"JupyterHub does not answer as it should: {error.log_message or error}"
            ) from error
