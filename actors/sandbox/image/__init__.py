"""The sandbox's root folder, and the container image made of it.

Invariant: the result is named by the digest of everything it is built from. A second build returns
the first result at once.
"""

from actors.sandbox.image.rootfs import RootFolder, build_root

__all__ = ["RootFolder", "build_root"]
