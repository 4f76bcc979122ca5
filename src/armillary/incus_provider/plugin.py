"""Serve the provider to Terraform as a go-plugin: handshake, transport, and a clean end.

Sources: https://github.com/hashicorp/go-plugin/blob/main/docs/internals.md and
https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from tf.gen import grpc_controller_pb2, grpc_controller_pb2_grpc, grpc_stdio_pb2_grpc
from tf.gen import tfplugin_pb2_grpc as rpc

CORE_PROTOCOL = 1
TERRAFORM_PROTOCOL = 6
CALLS_AT_ONCE = 64
PARENT_CHECK_SECONDS = 0.25
COOKIE = "TF_PLUGIN_MAGIC_COOKIE"


class _Controller(grpc_controller_pb2_grpc.GRPCControllerServicer):  # type: ignore[misc]
    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended

    def Shutdown(self, request: Any, context: Any) -> Any:
        self._ended.set()
        return grpc_controller_pb2.Empty()


class _Stdio(grpc_stdio_pb2_grpc.GRPCStdioServicer):  # type: ignore[misc]
    def StreamStdio(self, request: Any, context: Any) -> Iterator[Any]:
        return iter(())


def serve(service: rpc.ProviderServicer) -> None:
    """Answer Terraform's calls by `service` until Terraform says so, or is no more."""
    if COOKIE not in os.environ:
        sys.exit("This program is a Terraform provider: Terraform starts it, not you.")
    if os.environ.get("PLUGIN_CLIENT_CERT"):
        # TLS between two processes of one user on a private socket guards nothing, and making a
        # certificate costs a third of the provider's start.
        sys.exit("Set TF_DISABLE_PLUGIN_TLS=1 for Terraform: this provider has no TLS.")
    parent = os.getppid()
    ended = threading.Event()
    server = grpc.server(
        ThreadPoolExecutor(CALLS_AT_ONCE),
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ],
    )
    rpc.add_ProviderServicer_to_server(service, server)
    grpc_controller_pb2_grpc.add_GRPCControllerServicer_to_server(_Controller(ended), server)
    grpc_stdio_pb2_grpc.add_GRPCStdioServicer_to_server(_Stdio(), server)
    # mkdtemp makes it 0700: who may not enter the directory cannot connect.
    directory = Path(tempfile.mkdtemp(prefix="armillary-provider-"))
    try:
        socket = directory / "plugin.sock"
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        print(f"{CORE_PROTOCOL}|{TERRAFORM_PROTOCOL}|unix|{socket}|grpc|", flush=True)
        while not ended.wait(PARENT_CHECK_SECONDS):
            if os.getppid() != parent:
                # Terraform was killed. What the cloud has begun it finishes by itself, and the next
                # run adopts it; this process must not stay behind.
                break
        server.stop(0.1).wait(1)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    # Threads of calls under way would hold up an ordinary exit.
    os._exit(0)
