"""The sandbox's root folder, and the container image made of it.

Invariant: what is built is named by the digest of everything it was built from; building twice
gives the first result again, at once.
"""

from actors.sandbox.image.rootfs import RootFolder, build_root

__all__ = ["RootFolder", "build_root"]
