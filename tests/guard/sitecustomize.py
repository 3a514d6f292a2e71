"""Found by every child Python of a test, by PYTHONPATH."""

import uprez_guard

uprez_guard.watch_child()
