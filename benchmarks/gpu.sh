#!/usr/bin/env bash
# Ask a GPU what the vault's design takes for granted: a table of questions and answers, in ten minutes at most.
# Usage: benchmarks/gpu.sh [PYTHON]   (an interpreter with torch; the default is python3)
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-python3}"
if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "benchmarks/gpu.sh: no NVIDIA GPU on this machine; run it where 'nvidia-smi -L' lists one" >&2
  exit 1
fi
if ! "$python" -c 'import torch; raise SystemExit(not torch.version.cuda)' 2>/dev/null; then
  echo "benchmarks/gpu.sh: $python has no torch with CUDA; give an interpreter that has: benchmarks/gpu.sh PYTHON" >&2
  exit 1
fi
PYTHONPATH=src PYTORCH_NVML_BASED_CUDA_CHECK=1 timeout 600 "$python" benchmarks/gpu/questions.py
