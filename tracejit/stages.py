"""The stages of a jitted function: jit(f).trace(*args) -> Traced, .lower() -> Lowered, .compile() -> Compiled."""
from tracejit.absent import getter
from tracejit.runtime.dispatch import Jitted
from tracejit.runtime.stages import ArgInfo as ArgInfo
from tracejit.runtime.stages import Compiled as Compiled
from tracejit.runtime.stages import Lowered as Lowered
from tracejit.runtime.stages import MemoryAnalysis as MemoryAnalysis
from tracejit.runtime.stages import Traced as Traced

Wrapped = Jitted
CompilerOptions = dict[str, str | bool]
__getattr__ = getter(__name__)
