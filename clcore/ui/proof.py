"""The badge of a method that promises not to forget: what the comparison of its old outputs came to (clcore/probe.py)."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from clcore.events import Verdict
from clcore.ui.text import _, n_


def proof_badge(verdicts: Sequence[Verdict]) -> None:
    """Draws nothing before the first comparison, and for methods that promise nothing."""
    known = [v for v in verdicts if v.identical is not None]
    if not known:
        return
    if broken := [v for v in known if not v.identical]:
        first, size = min(v.changed_by for v in broken), max(v.largest_change for v in broken)
        st.badge(
            _("old outputs changed"),
            icon=":material/gpp_bad:", color="red",
            help=n_(
                "In {n} network the outputs for an old task are no longer what they were when it was learned: first while "
                "task {task} was learned, by up to {size}. This method promises that they stay: please report it.",
                "In {n} networks the outputs for an old task are no longer what they were when it was learned: first while "
                "task {task} was learned, by up to {size}. This method promises that they stay: please report it.",
                len(broken), task=first, size=f"{size:.2g}",
            ),
        )  # fmt: skip
        return
    st.badge(
        _("old outputs identical, bit for bit"), icon=":material/verified:", color="green",
        help=_(
            "After every task the network's outputs for stored examples of each earlier task were compared with those it gave "
            "when that task was learned. Not one bit differs, in {n} of {n} networks."
        ).format(n=len(known)),
    )  # fmt: skip
