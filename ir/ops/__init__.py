"""The ops, one class each; importing this package imports all its modules, which fills the registry."""

from __future__ import annotations

import importlib
import pkgutil

# Float ops are also names of this package, `ops.Conv`; integer ops are only in `npu`.
from .activation import *
from .conv import *
from .elementwise import *
from .logic import *
from .norm import *
from .pool import *
from .quant import *
from .recurrent import *
from .reduce import *
from .resize import *
from .sample import *
from .scatter import *
from .shape import *

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
