"""The kernel that runs the pages: the Python that runs the press, and no other.

A kernel spec named ``python3`` may lie in the user's home and point at another environment; then the book
would be computed by libraries that are not the pinned ones. So the spec is made here, by ipykernel itself.
"""

from __future__ import annotations

import os
from typing import IO, Any

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager


class OwnKernel(AsyncKernelManager):
    """Start ipykernel with the interpreter of this process, its own messages going to a log file."""

    log_file: IO[str] | None = None
    environment: dict[str, str] | None = None

    @property
    def kernel_spec(self) -> KernelSpec:
        """The specification of this interpreter."""
        return KernelSpec(**get_kernel_dict())

    async def _async_pre_start_kernel(self, **options: Any) -> tuple[list[str], dict[str, Any]]:
        """Add the log file and the environment to the options of the process."""
        options["env"] = {**os.environ, **(options.get("env") or {}), **(self.environment or {})}
        if self.log_file is not None:
            options |= {"stdout": self.log_file, "stderr": self.log_file}
        return await super()._async_pre_start_kernel(**options)


def own_kernel(log_file: IO[str], environment: dict[str, str]) -> type[OwnKernel]:
    """Return the kernel manager class that writes to this log and sets these variables."""
    return type("BookKernel", (OwnKernel,), {"log_file": log_file, "environment": environment})
