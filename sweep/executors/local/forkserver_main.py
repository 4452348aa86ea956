"""The process that runs are forked from: it has imported what they need and has executed nothing.

Importing torch, and what its optimisers need, takes two seconds of a core, more than everything else around a short run. A forked
copy has done so already and is otherwise a separate process: environment, session, log, signals, exit status. Nothing may be
computed here: a pool of threads (OpenMP, autograd) does not survive a fork, and neither does CUDA.
"""

import gc
import json
import os
import socket
import sys
import time
import traceback
from typing import Any, NoReturn

import pooch  # noqa: F401
import pyarrow
import torch._dynamo  # noqa: F401 - the first optimiser imports it

import models  # noqa: F401
from sweep.config import run_spec  # noqa: F401
from sweep.core.errors import ExitCode
from sweep.run import experiment, worker  # noqa: F401
from sweep.tasks.data import sentence_pairs, token_bags, token_cache  # noqa: F401
from sweep.tasks.metrics import bleu, classification, translation  # noqa: F401


def serve(channel: socket.socket) -> None:
    """Reply to each request, a line of JSON, with the process id of the run that it started, until the other end closes.

    A request has `arguments` (of `sweep.run`), `environment` and `log`, the file that takes both output streams.
    """
    pyarrow.array([])  # imports pandas where that is installed, which takes a second
    gc.collect()
    gc.freeze()  # what is shared stays shared: no collection in a copy writes to these pages
    channel.sendall(b"ready\n")
    with channel.makefile("r", encoding="utf-8") as requests:
        for line in requests:
            try:
                reply = str(_start(json.loads(line), channel))
            except OSError as error:
                reply = f"{error.strerror}"
            channel.sendall(f"{reply}\n".encode())


def _start(request: dict[str, Any], channel: socket.socket) -> int:
    """Fork twice: the intermediate process ends at once, so that the run becomes a child of the process that requested it."""
    reader, writer = os.pipe()
    intermediate = os.fork()
    if not intermediate:
        me = os.getpid()
        try:
            child = os.fork()
        except OSError as error:
            os.write(writer, str(error.strerror).encode())
            os._exit(1)
        if child:
            os._exit(0)
        os.setsid()
        while os.getppid() == me:  # a run that asks for a signal at its parent's death means the new parent
            time.sleep(0.001)
        os.write(writer, str(os.getpid()).encode())
        os.close(reader)
        os.close(writer)
        channel.close()
        _execute(request)
    os.close(writer)
    os.waitpid(intermediate, 0)
    with os.fdopen(reader) as pipe:
        reply = pipe.read()
    if not reply.isdigit():
        raise OSError(0, reply)
    return int(reply)


def _execute(request: dict[str, Any]) -> NoReturn:
    code: int = ExitCode.FAILED
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = ["sweep.run", *request["arguments"]]
        code = worker.main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else ExitCode.FAILED
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        for output in (sys.stdout, sys.stderr):
            output.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
