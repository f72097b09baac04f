"""The stranger's pieces against the vectors of other programs and the examples of docs/protocol.md."""

from stranger import selfcheck

selfcheck.main()
