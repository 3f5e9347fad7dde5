"""Models held outside the process that uses them: `pack` makes one data, `attach` rebuilds it without copying."""

from hotloop.gpu_runtime.user_env.vault.attaching import attach
from hotloop.gpu_runtime.user_env.vault.packing import CannotPack, Packed, pack
from hotloop.gpu_runtime.user_env.vault.reducers import CannotAttach

__all__ = ["CannotAttach", "CannotPack", "Packed", "attach", "pack"]
