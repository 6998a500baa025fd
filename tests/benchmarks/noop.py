"""A node without effect; the processes load it as they would any third party's."""

from __future__ import annotations

from flowkit.nodetype import Context, Next, NodeType


class NoOp(NodeType, type="NO_OP", category="ACTION", verb="no_op"):
    """Do nothing."""

    def run(self, ctx: Context) -> Next:
        """Go on."""
        return Next()
