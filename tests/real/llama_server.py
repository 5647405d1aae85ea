"""llama.cpp's own server with float32 keys and values: `python llama_server.py FILE.gguf PORT`, in an environment with `xllamacpp`."""

import sys
import time

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
params.n_ctx, params.n_parallel = 8192, 2
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(params)
while True:
    time.sleep(60)
