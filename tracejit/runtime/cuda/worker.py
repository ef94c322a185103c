"""A process that compiles kernels: pickled (source, capability) pairs in, pickled Artifacts or exceptions out."""
from __future__ import annotations

import pickle
import sys
from typing import BinaryIO

from tracejit.runtime.cuda.compiler import compile_kernel


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    while True:
        try:
            source, capability = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = compile_kernel(source, capability)
        except Exception as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr     # what a library prints must not get into the answers
    serve(sys.stdin.buffer, answers)
