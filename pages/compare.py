"""Not a page: it only lets a fresh server find /compare.

Until `st.navigation` has run once, Streamlit looks for a requested page among `pages/*.py`, and answers "Page not found"
for one that is not there. What it finds here is the app, which then shows pages/results/compare.py.
"""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "app.py"))
