"""A fork waits until no other thread compiles: its child would wait for ever for locks of imports, of LLVM and of caches."""
from __future__ import annotations

import os
import threading
from collections import Counter

PATIENCE = 30.0     # seconds, in case that a compilation waits for the thread that forks


class Compiling:
    """`with compiling:` around what must not be cut in two by a fork. Threads wait for forks only, not for each other.

    It may be nested. Whoever also takes a lock takes it inside.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.depth: Counter[int] = Counter()    # of each thread that compiles
        self.forks = 0                          # that wait
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.wait, after_in_parent=self.go_on, after_in_child=self.forget_others)

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self.changed:
            if me not in self.depth:
                self.changed.wait_for(lambda: not self.forks)
            self.depth[me] += 1

    def __exit__(self, *_: object) -> None:
        me = threading.get_ident()
        with self.changed:
            self.depth[me] -= 1
            if not self.depth[me]:
                del self.depth[me]
                self.changed.notify_all()

    def wait(self) -> None:
        """Until no other thread compiles; the lock is held until the fork is done."""
        me = {threading.get_ident()}
        self.changed.acquire()
        self.forks += 1
        self.changed.wait_for(lambda: self.depth.keys() <= me, PATIENCE)

    def go_on(self) -> None:
        self.forks -= 1
        self.changed.notify_all()
        self.changed.release()

    def forget_others(self) -> None:
        """In the child there is only the thread that forked."""
        me = threading.get_ident()
        self.depth, self.forks = Counter({me: self.depth[me]} if me in self.depth else ()), 1
        self.go_on()


compiling = Compiling()
