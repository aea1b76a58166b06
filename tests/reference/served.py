"""Serves a model of `served/` on loopback in OpenAI's protocol, by llama.cpp's own HTTP server, until standard input ends.

    pip install --no-deps xllamacpp==2026.10.11549

    python served.py ../fixtures/served/llama.gguf 8080 "the API key"

It chats and embeds, and sees and hears where `senses.gguf` lies beside the model. Port 0 is a free one, an empty key asks for none.
The line `listening at http://127.0.0.1:8080` says that it answers.
"""

import os
import sys
from pathlib import Path

import xllamacpp

# Requests that are answered at the same time, each with the model's whole context; a further one waits.
AT_ONCE = 4
CONTEXT = 256
WARNINGS = 2


def asked(model: Path, port: int, key: str) -> xllamacpp.CommonParams:
    found, senses = xllamacpp.CommonParams(), model.with_name("senses.gguf")
    found.model.path = str(model)
    found.model_alias = {model.stem}
    if senses.exists():
        found.mmproj.path = str(senses)
    found.hostnames, found.port, found.api_keys = ["127.0.0.1"], port, [key] if key else []
    found.n_parallel, found.n_ctx = AT_ONCE, AT_ONCE * CONTEXT
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = 1
    found.embedding, found.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    found.offline, found.ui, found.verbosity = True, False, WARNINGS
    return found


def main() -> None:
    model, port, key = sys.argv[1:]
    server = xllamacpp.Server(asked(Path(model), int(port), key))
    print("listening at", server.listening_address, flush=True)
    sys.stdin.read()
    # A server that has hardly begun never ends in its own way.
    os._exit(0)


if __name__ == "__main__":
    main()
