"""The engine: native runs recorded, and masked runs walked by our own residual bookkeeping."""
