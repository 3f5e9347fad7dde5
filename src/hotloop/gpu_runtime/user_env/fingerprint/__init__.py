"""What a loaded model depended on: `record` writes it down while it loads, `first_difference` checks it later."""

from hotloop.gpu_runtime.user_env.fingerprint.compare import first_difference, warm_up
from hotloop.gpu_runtime.user_env.fingerprint.record import Record, Recording, record
from hotloop.gpu_runtime.user_env.fingerprint.values import digest

__all__ = ["Record", "Recording", "digest", "first_difference", "record", "warm_up"]
